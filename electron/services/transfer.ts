/** In and out: the record of the work as files of other programs. */
import { existsSync, statSync } from 'node:fs'
import { basename, isAbsolute, join, resolve } from 'node:path'
import { exportProject, subsetPath } from '../../db/exports/exportProject.ts'
import { isOwnZip } from '../../db/exports/zipFolder.ts'
import { isOwnExport as isOwnFile } from '../../db/formats/coco.ts'
import { isOwnFolder } from '../../db/formats/output.ts'
import { formats, sniff } from '../../db/formats/registry.ts'
import { listFilesBelow } from '../../db/formats/textFile.ts'
import { missingImages, planImport, runImport } from '../../db/imports/importer.ts'
import type { ImportRequest } from '../../db/imports/plan.ts'
import { isZip, withUnzipped } from '../../db/imports/unzip.ts'
import { FORMAT_NAMES, type FormatName } from '../../db/records/formatNames.ts'
import type { ParsedInput, Progress } from '../contract/api.ts'
import { AppError } from '../contract/errors.ts'
import { bringImages, findImages, sizesOf } from './bringImages.ts'
import type { Handlers } from './handlers.ts'
import { colorAt } from './palette.ts'
import { copyUpright } from './pixels.ts'
import type { ProjectSession } from './projectSession.ts'

/** For a run without a project, and for scripts that write the same file again. */
export { type CocoItem, writeCoco } from '../../db/formats/coco.ts'

const isOwn = async (path: string): Promise<boolean> =>
  (await isOwnFile(path)) || (await isOwnFolder(path)) || isOwnZip(path)

/**
 * True for a file, folder or zip that an earlier export of ours made, in `parts` where it was split: a script may write
 * it again without asking. False when something of somebody else's is among them.
 */
export async function isOwnExport(path: string, parts: readonly string[] = []): Promise<boolean> {
  const there = [path, ...parts.map((part) => subsetPath(path, part))].filter((file) => existsSync(file))
  const own = await Promise.all(there.map(isOwn))
  return own.length > 0 && own.every((isOurs) => isOurs)
}

type Input = ParsedInput<'transfer.preview'>
interface Job {
  signal: AbortSignal
  progress: (progress: Progress) => void
}

const absolute = (session: ProjectSession, path: string): string =>
  isAbsolute(path) ? path : resolve(session.store().path, '..', path)

/** What a file or folder looks most like. @throws INVALID_INPUT when it looks like nothing we know */
function guess(path: string, name: string): FormatName {
  const [best] = sniff(path)
  if (best === undefined && statSync(path).isDirectory())
    throw new AppError('INVALID_INPUT', `${name} holds nothing in a format that is known here. "formats" lists them.`)
  if (best === undefined && statSync(path).size === 0) throw new AppError('INVALID_INPUT', `${name} is empty.`)
  if (best === undefined)
    throw new AppError('INVALID_INPUT', `${name} is in no format that is known here. "formats" lists them.`)
  return best.format
}

/** The request over the file, or over what its zip holds. */
async function withRequest<T>(
  session: ProjectSession,
  input: Input,
  { signal, progress }: Job,
  use: (request: ImportRequest) => Promise<T>,
): Promise<T> {
  const { path: given, format, match, missingImages, conflicts, categories, skipBad, status, instances } = input
  const path = absolute(session, given)
  const numbered = instances === undefined || instances === 'project' ? instances : absolute(session, instances)
  const choices = { match, missingImages, conflicts, categories, skipBad, status, instances: numbered }
  const formatOf = (found: string): FormatName => (format === 'auto' ? guess(found, basename(path)) : format)
  if (!isZip(path)) return use({ path, format: formatOf(path), choices })
  return withUnzipped(path, { signal, onProgress: progress }, async (folder) => {
    const found = onlyFile(folder)
    return use({ path: found, name: basename(path), format: formatOf(found), choices })
  })
}

/** A zip of a single file is that file. */
function onlyFile(folder: string): string {
  const names = listFilesBelow(folder, 2)
  return names.length === 1 && names[0] !== undefined ? join(folder, names[0]) : folder
}

/** The pictures that an import brings along, and its plan with them in place; nothing is copied yet. */
async function planWithPictures(session: ProjectSession, input: Input, request: ImportRequest, job: Job) {
  const store = session.store()
  const run = { signal: job.signal, onProgress: job.progress, palette: colorAt }
  const from = input.imagesDir ?? (input.copyImages ? request.path : null)
  if (from === null) return { plan: await planImport(store, request, run), files: [] }
  const found = findImages(absolute(session, from), await missingImages(store, request, run))
  const pictures = await sizesOf(found.files, job)
  const files = found.files.filter(({ wanted }) => pictures.has(wanted))
  return { plan: await planImport(store, request, { ...run, pictures }), files }
}

async function preview(session: ProjectSession, input: Input, job: Job) {
  return withRequest(
    session,
    input,
    job,
    async (request) => (await planWithPictures(session, input, request, job)).plan,
  )
}

async function importInto(session: ProjectSession, input: Input, job: Job) {
  const store = session.store()
  if (store.readOnly)
    throw new AppError('READ_ONLY', store.summary().warning ?? 'This project is open for reading only.')
  return withRequest(session, input, job, async (request) => {
    let copied = 0
    if (input.imagesDir !== null || input.copyImages) {
      // what is refused must be refused before a single picture is copied
      const { plan, files } = await planWithPictures(session, input, request, job)
      if (plan.refusal !== null) throw new AppError('INVALID_INPUT', `${plan.refusal}. Nothing was imported.`)
      copied = await bringImages(files, store.imagesDir, job)
      if (copied > 0) await session.scan(job.progress, job.signal)
    }
    await session.scanned()
    const run = { signal: job.signal, onProgress: job.progress, palette: colorAt }
    const { plan, revision } = await runImport(store, request, run)
    if (revision !== null) session.tellImported(revision)
    return { plan, seq: revision?.seq ?? null, copied }
  })
}

export function transferHandlers(session: ProjectSession) {
  let last: Promise<unknown> = Promise.resolve()
  let underWay = 0
  /** One import after the other: what the second finds in the project is what the first made of it. */
  const inTurn = async <T>({ signal, progress }: Job, work: () => Promise<T>): Promise<T> => {
    const mine = last.then(() => {
      if (signal.aborted) throw new AppError('CANCELLED', 'The import was stopped.')
      return work()
    })
    last = mine.catch(() => {})
    if (underWay++ > 0) progress({ done: 0, total: null, note: 'Waiting for another import' })
    return mine.finally(() => underWay--)
  }
  return {
    'transfer.formats': () =>
      FORMAT_NAMES.map((id) => {
        const { name, shape, extension, keeps, loses } = formats[id]
        return { id, name, shape, extension, keeps, loses }
      }),
    'transfer.sniff': ({ path }) =>
      isZip(resolve(path)) ? { isZip: true, candidates: [] } : { isZip: false, candidates: sniff(resolve(path)) },
    'transfer.preview': (input, job) =>
      session.whileOpen(job.signal, (signal) => preview(session, input, { ...job, signal })),
    'transfer.import': (input, job) =>
      session.whileOpen(job.signal, (signal) => {
        const open = { ...job, signal }
        return inTurn(open, () => importInto(session, input, open))
      }),
    'transfer.export': async ({ path, ...request }, { signal, progress }) => {
      if (path.trim() === '') throw new AppError('INVALID_INPUT', 'Where to? The path is empty.')
      const source = session.store().exportSource()
      try {
        const options = {
          ...request,
          path: absolute(session, path),
          signal,
          onProgress: progress,
          copyImage: copyUpright,
        }
        return await exportProject(source, options)
      } finally {
        source.close()
      }
    },
  } satisfies Partial<Handlers>
}
