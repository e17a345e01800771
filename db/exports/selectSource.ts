/** Parts of a project for an export: by filter, and split by hash so that a picture stays in its part for ever. */
import { createHash } from 'node:crypto'
import { DbError } from '../errors.ts'
import type { ExportItem, ExportSource } from '../exportSource.ts'
import type { Annotation, ImageRecord } from '../records/records.ts'
import { searchKey } from '../sortKey.ts'

export interface ExportFilter {
  /** A part of the file name, whatever its case. */
  fileName?: string | undefined
  /** Names of classes: only their boxes. */
  categories?: readonly string[] | undefined
  /** Only images that are done. */
  doneOnly?: boolean | undefined
  /** Only images that have a box which goes out. */
  withBoxesOnly?: boolean | undefined
  /** Boxes of a model with a lower score stay out; those that people made have none and stay in. */
  minScore?: number | undefined
}

export interface ExportSplit {
  /** Shares by name, in order: `{ train: 8, val: 1, test: 1 }`. */
  shares: Readonly<Record<string, number>>
  seed: string
}

const NO_HASH = '0'.repeat(64)

/** The part a picture belongs to: by its content, so that copies and renamed files stay together. */
export function subsetFor(
  image: Pick<ImageRecord, 'contentSha256' | 'fileName'>,
  { shares, seed }: ExportSplit,
): string {
  const key = image.contentSha256 === NO_HASH ? image.fileName : image.contentSha256
  const place = createHash('sha256').update(`${seed}\0${key}`).digest().readUIntBE(0, 6) / 2 ** 48
  const total = Object.values(shares).reduce((sum, share) => sum + share, 0)
  let upTo = 0
  for (const [name, share] of Object.entries(shares)) {
    upTo += share / total
    if (place < upTo) return name
  }
  return Object.keys(shares).at(-1) as string
}

/** @throws INVALID_INPUT for names that are no folder's, or shares that are none */
export function checkSplit({ shares }: ExportSplit): void {
  const entries = Object.entries(shares)
  const good = entries.every(
    ([name, share]) => /^[a-z0-9_-]{1,40}$/i.test(name) && Number.isFinite(share) && share >= 0,
  )
  if (entries.length === 0 || !good || !entries.some(([, share]) => share > 0)) {
    throw new DbError('INVALID_INPUT', 'A split is names and shares, as in train=8,val=1,test=1.')
  }
}

/** The source as the filter lets it through; with `subset` only that part, with a split alone every image says its part. */
export function selectSource(
  source: ExportSource,
  filter: ExportFilter,
  split: ExportSplit | null,
  subset: string | null,
  goesOut: (row: Annotation) => boolean,
): ExportSource {
  const needle = searchKey(filter.fileName?.trim() ?? '')
  const wanted = filter.categories === undefined ? null : new Set(filter.categories)
  const names = new Map(source.categories.map(({ id, name }) => [id, name]))
  const keeps = (row: Annotation): boolean =>
    (wanted === null || (row.categoryId !== null && wanted.has(names.get(row.categoryId) ?? ''))) &&
    (filter.minScore === undefined || row.modelScore === null || row.modelScore >= filter.minScore)
  const takes = (item: ExportItem): ExportItem | null => {
    const { image } = item
    if (needle !== '' && !searchKey(image.fileName).includes(needle)) return null
    if (filter.doneOnly === true && !image.done) return null
    const part = split === null ? null : subsetFor(image, split)
    if (subset !== null && part !== subset) return null
    const annotations = item.annotations.filter(keeps)
    if (filter.withBoxesOnly === true && !annotations.some(goesOut)) return null
    return { image, annotations, ...(part === null ? {} : { subset: part }) }
  }
  return {
    ...source,
    *items() {
      for (const item of source.items()) {
        const taken = takes(item)
        if (taken !== null) yield taken
      }
    },
  }
}
