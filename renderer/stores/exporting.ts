/** What was chosen for an export: remembered for the next one, save what would silently leave data out or replace files. */

import { FORMAT_NAMES } from '../../db/records/formatNames.ts'
import type { FormatInfo, FormatName, Input } from '../../electron/contract/api.ts'

export interface ExportChoices {
  format: FormatName
  status: 'accepted' | 'all'
  copyImages: boolean
  keepNames: boolean
  polygons: boolean
  proposals: boolean
  zip: boolean
  split: string
  seed: string
}

/** What is asked anew every time. */
export interface ExportFilter {
  images: 'all' | 'doneOnly' | 'withBoxesOnly'
  fileName: string
  /** Empty: all classes. */
  categories: readonly string[]
  minScore: number
}

export const defaultExport: ExportChoices = {
  format: 'coco',
  status: 'accepted',
  copyImages: false,
  keepNames: false,
  polygons: false,
  proposals: false,
  zip: false,
  split: '',
  seed: 'gromatic',
}

export const noFilter: ExportFilter = { images: 'all', fileName: '', categories: [], minScore: 0 }

const STORAGE_KEY = 'gromatic.export'

/** The last choices; anything unreadable is ignored, it is only a convenience. */
export function rememberedExport(): ExportChoices {
  try {
    const stored: unknown = JSON.parse(globalThis.localStorage?.getItem(STORAGE_KEY) ?? '{}')
    if (typeof stored !== 'object' || stored === null) return defaultExport
    const given = stored as Record<string, unknown>
    const fits = Object.entries(defaultExport).filter(([key, value]) => typeof given[key] === typeof value)
    const choices = { ...defaultExport, ...Object.fromEntries(fits.map(([key]) => [key, given[key]])) } as ExportChoices
    return {
      ...choices,
      format: FORMAT_NAMES.includes(choices.format) ? choices.format : 'coco',
      status: choices.status === 'all' ? 'all' : 'accepted',
    }
  } catch {
    return defaultExport
  }
}

/** Keeps the choices for the next time. */
export function rememberExport(choices: ExportChoices): void {
  try {
    localStorage.setItem(STORAGE_KEY, JSON.stringify(choices))
  } catch {
    // a full or forbidden storage only costs the convenience
  }
}

/** `train=8, val=1` -> shares; null for what is no split, undefined for none wanted. */
export function parseSplit(text: string): Record<string, number> | null | undefined {
  if (text.trim() === '') return undefined
  const shares: Record<string, number> = {}
  for (const part of text.split(/[,;\s]+/).filter((piece) => piece !== '')) {
    const match = /^([a-z0-9_-]{1,40})=(\d+(?:\.\d+)?)$/i.exec(part)
    if (match?.[1] === undefined || Object.hasOwn(shares, match[1])) return null
    shares[match[1]] = Number(match[2])
  }
  return Object.values(shares).some((share) => share > 0) ? shares : null
}

/** Where an export of this kind would go: a folder beside the project, laid out as training code expects. */
export function suggestedPath(
  projectPath: string,
  info: Pick<FormatInfo, 'id' | 'shape' | 'extension'>,
  zip: boolean,
): string {
  const slash = projectPath.includes('\\') ? '\\' : '/'
  const base = `${projectPath.replace(/\.gromatic$/, '')}-${info.id}`
  if (zip) return `${base}.zip`
  if (info.id === 'coco') return [base, 'annotations', 'instances_train.json'].join(slash)
  return info.shape === 'folder' ? base : `${base}${info.extension}`
}

/** What the contract is asked for. */
export function exportInput(
  path: string,
  overwrite: boolean,
  choices: ExportChoices,
  { images, fileName, categories, minScore }: ExportFilter,
): Input<'transfer.export'> {
  const { format, status, copyImages, keepNames, polygons, proposals, split, seed } = choices
  const shares = parseSplit(split)
  return {
    path: path.trim(),
    format,
    status,
    copyImages,
    keepNames: copyImages && keepNames,
    polygons: polygons && format === 'coco',
    proposals,
    overwrite,
    filter: {
      ...(fileName.trim() === '' ? {} : { fileName: fileName.trim() }),
      ...(categories.length === 0 ? {} : { categories: [...categories] }),
      ...(images === 'all' ? {} : { [images]: true }),
      ...(minScore > 0 ? { minScore } : {}),
    },
    ...(shares ? { split: { shares, seed: seed.trim() || 'gromatic' } } : {}),
  }
}
