/** COCO that loads everywhere: the same writer for a project and for a run without one. The same bytes for the same records. */
import { existsSync, statSync } from 'node:fs'
import { copyFile, mkdir, open } from 'node:fs/promises'
import { dirname } from 'node:path'
import { DbError, throwIfAborted, toDbError } from '../errors.ts'
import type { ExportSource } from '../exportSource.ts'
import { readCocoFolder } from './cocoFolder.ts'
import { readCocoFile } from './cocoReader.ts'
import type { CocoBox } from './cocoRecords.ts'
import { isInstances, sniffCoco } from './cocoSniff.ts'
import { type CocoDialect, CocoWriter, captionsPathFor, isOurs, rejectedPathFor } from './cocoWriter.ts'
import type { ExportOptions, ExportReport, Format } from './format.ts'
import { copiesBeside, PictureNames } from './imageCopies.ts'

export interface CocoItem {
  /** `id` from 1; given by order when it is left out. `fileName` relative with `/`; sizes upright, pixels. */
  image: { id?: number; fileName: string; width: number; height: number; status?: 'ready' | 'missing' }
  /** A box without `status` is always exported; `id`s from 1 and unique, given by order when left out. */
  annotations: readonly CocoBox[]
}

export interface CocoInput {
  /** For `info.description`. */
  name: string
  items: Iterable<CocoItem> | AsyncIterable<CocoItem>
  /** Known classes; boxes may also name theirs by `categoryName`. */
  categories?: readonly { id: number; name: string }[]
  /** Only for progress. */
  imageCount?: number | null
  /** Where the pictures lie; needed by `copyImages`. */
  imagesDir?: string
  /** What a relative of COCO has beside it. */
  dialect?: CocoDialect
}

export type WriteCocoOptions = Partial<Omit<ExportOptions, 'path'>>

/** True when `path` is an earlier export of ours, told by its first bytes: a script may write it again without asking. */
export async function isOwnExport(path: string): Promise<boolean> {
  const file = await open(path).catch(() => null)
  if (file === null) return false
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(1024), 0, 1024, 0)
    return isOurs(buffer.toString('utf8', 0, bytesRead))
  } catch {
    return false // a folder, or not to be read: not ours to replace
  } finally {
    await file.close()
  }
}

function checkTarget(path: string, overwrite: boolean): void {
  if (existsSync(path) && statSync(path).isDirectory()) throw new DbError('INVALID_INPUT', `${path} is a folder.`)
  if (overwrite) return
  const taken = [path, captionsPathFor(path), rejectedPathFor(path)].find((target) => existsSync(target))
  if (taken !== undefined) throw new DbError('ALREADY_EXISTS', `${taken} exists already.`)
}

/**
 * Writes `path` (instances), `<stem>.captions.json` and `<stem>.rejected.jsonl` (each only when there is something to
 * say). Everything is written aside, synced and renamed: whatever happens, the old files stay whole until the new ones are.
 * @throws ALREADY_EXISTS, INVALID_INPUT, READ_ONLY, DISK_FULL, CANCELLED, IO_FAILED
 */
export async function writeCoco(path: string, input: CocoInput, options: WriteCocoOptions = {}): Promise<ExportReport> {
  const { status = 'accepted', overwrite = false, signal, onProgress, copyImage = copyFile } = options
  checkTarget(path, overwrite)
  const imagesDir = input.imagesDir ?? dirname(path)
  const copies = options.copyImages ? copiesBeside(path, imagesDir, overwrite) : null
  const pictures = new PictureNames(imagesDir, copies && copyImage, options.keepNames ?? false)
  throwIfAborted(signal, 'The export')
  let writer: CocoWriter | null = null
  try {
    await mkdir(dirname(path), { recursive: true })
    await copies?.begin()
    writer = await CocoWriter.create(path, input, { status, polygons: options.polygons ?? false })
    let done = 0
    for await (const item of input.items) {
      throwIfAborted(signal, 'The export')
      const name = await pictures.add(item.image.fileName, copies?.temporary ?? '')
      await writer.add(item, name)
      onProgress?.({ done: ++done, total: input.imageCount ?? null, note: item.image.fileName })
      // a long export leaves room for the clicks that come meanwhile
      if (done % 32 === 0) await new Promise((resume) => setImmediate(resume))
    }
    throwIfAborted(signal, 'The export')
    const written = await writer.publish(async () => copies?.publish())
    return { path, ...written, notes: [...written.notes, ...pictures.notes] }
  } catch (error) {
    await writer?.abort()
    await copies?.abort()
    throw toDbError(error, `${path} could not be written`)
  }
}

/** Exports a project. The source stays open: close it when done. @throws as {@link writeCoco} */
export function exportCoco(source: ExportSource, options: ExportOptions, dialect?: CocoDialect): Promise<ExportReport> {
  const { path, ...rest } = options
  const { name, categories, imageCount, imagesDir } = source
  const input = { name, categories, imageCount, imagesDir, items: source.items() }
  return writeCoco(path, dialect === undefined ? input : { ...input, dialect }, rest)
}

export const coco: Format = {
  name: 'COCO instances',
  shape: 'file',
  extension: '.json',
  keeps:
    'Boxes, classes, polygons and run lengths, captions, scores, verdicts, what the model said, attributes and ids.',
  loses: 'The talk, colours of classes, and who made a box. Boxes without a class become "object".',
  reader: {
    folders: true,
    sniff: (probe) => sniffCoco(probe, isInstances),
    read: (input) => (input.isFolder ? readCocoFolder(input) : readCocoFile(input)),
  },
  export: (source, options) => exportCoco(source, options),
}
