/** One export as people ask for it: a format, a part of the project, splits, proposals apart, and a zip around it all. */
import { existsSync } from 'node:fs'
import { mkdir, rename, rm } from 'node:fs/promises'
import { basename, dirname, extname, join } from 'node:path'
import { DbError, toDbError } from '../errors.ts'
import type { ExportSource } from '../exportSource.ts'
import type { ExportOptions, ExportReport } from '../formats/format.ts'
import { formats } from '../formats/registry.ts'
import { removeLeftovers, temporaryFor } from '../formats/temporary.ts'
import { fsyncDirectory } from '../migrations/migrate.ts'
import type { FormatName } from '../records/formatNames.ts'
import type { Annotation } from '../records/records.ts'
import { checkSplit, type ExportFilter, type ExportSplit, selectSource } from './selectSource.ts'
import { zipFolder } from './zipFolder.ts'

export interface ExportRequest extends ExportOptions {
  format: FormatName
  filter?: ExportFilter
  split?: ExportSplit | undefined
  /** Undecided proposals in a COCO results file beside the export: `<name>.proposals.json`. */
  proposals?: boolean | undefined
}

/** What was written, file by file where a split makes several. */
export interface ProjectExport extends ExportReport {
  files: string[]
}

const stemOf = (path: string): string => basename(path, extname(path))
/** `out.json` -> `out_train.json` */
export const subsetPath = (path: string, subset: string): string =>
  join(dirname(path), `${stemOf(path)}_${subset}${extname(path)}`)
const proposalsPath = (path: string): string => join(dirname(path), `${stemOf(path)}.proposals.json`)

/** Formats that tell their parts inside one folder need no second run. */
const splitsInside = (format: FormatName): boolean => formats[format].shape === 'folder' && format !== 'labelme'

/**
 * Writes an export. A path that ends in `.zip` becomes a zip of it, which appears whole or not at all.
 * @throws ALREADY_EXISTS, INVALID_INPUT, NOT_FOUND, READ_ONLY, DISK_FULL, CANCELLED, IO_FAILED
 */
export async function exportProject(source: ExportSource, request: ExportRequest): Promise<ProjectExport> {
  if (request.split !== undefined) checkSplit(request.split)
  if (!request.path.toLowerCase().endsWith('.zip')) return writeParts(source, request)
  const { path } = request
  if (existsSync(path) && !request.overwrite) throw new DbError('ALREADY_EXISTS', `${path} exists already.`)
  const staging = temporaryFor(path)
  const packed = `${staging}.zip`
  try {
    await removeLeftovers(path)
    await mkdir(staging, { recursive: true })
    const { shape, extension } = formats[request.format]
    const inside = join(staging, shape === 'folder' ? 'set' : `${stemOf(path)}${extension}`)
    const report = await writeParts(source, { ...request, path: inside, overwrite: true })
    await zipFolder(shape === 'folder' && report.files.length === 1 ? inside : staging, packed, request.signal)
    await rename(packed, path)
    fsyncDirectory(dirname(path))
    return { ...report, path, files: [path], captionsPath: null, rejectedPath: null }
  } catch (error) {
    await rm(packed, { force: true })
    throw toDbError(error, `${path} could not be written`)
  } finally {
    await rm(staging, { recursive: true, force: true })
  }
}

async function writeParts(source: ExportSource, request: ExportRequest): Promise<ProjectExport> {
  const { format, filter = {}, split = null, path } = request
  const decided = new Set(request.status === 'all' ? ['accepted', 'edited', 'proposed'] : ['accepted', 'edited'])
  const goesOut = (row: Annotation): boolean => decided.has(row.status)
  const apart = split !== null && !splitsInside(format)
  const subsets = apart ? Object.keys(split?.shares ?? {}) : [null]
  const reports: ExportReport[] = []
  for (const subset of subsets) {
    const part = selectSource(source, filter, split, subset, goesOut)
    const target = subset === null ? path : subsetPath(path, subset)
    reports.push(await formats[format].export(part, { ...request, path: target }))
  }
  if (request.proposals === true) reports.push(await writeProposals(source, request))
  const report = merged(reports, request)
  return { ...report, notes: [...report.notes, ...lostImages(source)] }
}

function lostImages({ unreadable }: ExportSource): string[] {
  if (unreadable.size === 0) return []
  const some = [...unreadable].slice(0, 20).join(', ')
  const more = unreadable.size > 20 ? ', …' : ''
  return [
    `Left out, because the project file is damaged where they are: ${unreadable.size} of its images (${some}${more}).`,
  ]
}

/** What nobody decided yet, as a model's results; images and classes are numbered as in the COCO instances file. */
function writeProposals(source: ExportSource, request: ExportRequest): Promise<ExportReport> {
  const { filter = {}, path } = request
  const proposed = (row: Annotation): boolean => row.status === 'proposed'
  const selected = selectSource(source, filter, null, null, proposed)
  const only: ExportSource = {
    ...selected,
    *items() {
      for (const item of selected.items()) yield { ...item, annotations: item.annotations.filter(proposed) }
    },
  }
  return formats['coco-results'].export(only, {
    ...request,
    path: proposalsPath(path),
    status: 'all',
    copyImages: false,
  })
}

function merged(reports: readonly ExportReport[], { path, proposals, split }: ExportRequest): ProjectExport {
  const own = proposals === true ? reports.slice(0, -1) : reports
  const [first] = own
  if (first === undefined) throw new DbError('INVALID_INPUT', 'There is nothing to export.')
  const sum = (of: 'images' | 'annotations'): number => own.reduce((total, report) => total + report[of], 0)
  const extra =
    proposals === true
      ? [`${reports.at(-1)?.annotations ?? 0} undecided boxes are in ${basename(proposalsPath(path))}.`]
      : []
  return {
    ...first,
    path: split === undefined || own.length === 1 ? first.path : path,
    images: sum('images'),
    annotations: sum('annotations'),
    categories: Math.max(...own.map(({ categories }) => categories)),
    notes: [...new Set(own.flatMap(({ notes }) => notes)), ...extra],
    files: reports.map((report) => report.path),
  }
}
