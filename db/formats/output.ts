/**
 * The frame of every exporter but COCO's own: which boxes go out, pictures copied, files written aside and put in their
 * places together, counts and notes. An exporter says only what its files hold.
 */
import { existsSync, readdirSync, statSync } from 'node:fs'
import { copyFile, mkdir, open, rmdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { DbError, throwIfAborted, toDbError } from '../errors.ts'
import type { ExportItem, ExportSource } from '../exportSource.ts'
import { PROJECT_EXTENSION } from '../project.ts'
import type { Annotation, BboxXywh } from '../records/records.ts'
import { AtomicFile } from './atomicFile.ts'
import { clampBbox } from './boxes.ts'
import type { ExportOptions, ExportReport } from './format.ts'
import { checkOwnPictures, copiesBeside, FolderInMaking, PictureNames } from './imageCopies.ts'
import { listFilesBelow } from './textFile.ts'

/** A box that goes out: clamped to the picture, with its class in words (null: it has none). */
export interface OutBox {
  row: Annotation
  bbox: BboxXywh
  className: string | null
  /** 1..N in the order of the project's classes; null without one. */
  classNumber: number | null
}

export interface OutImage {
  item: ExportItem
  /** Relative with `/`, as it is called in the export. */
  fileName: string
  boxes: OutBox[]
}

/** What a single-file exporter writes: text before, between and after the images. */
export interface FileBody {
  /** Of the file: what stands before the first image. */
  head: string
  /** The text of one image; '' for nothing. */
  image(image: OutImage): string
  tail(): string
  /** Between the texts of two images. */
  separator?: string
  /** The file itself says that its boxes fit upright pictures; else the report does. */
  saysUpright?: boolean
}

export interface FolderBody {
  /** Where copied pictures go, relative; by subset. */
  imagesFolder(item: ExportItem): string
  /** What a copied picture is best called; its own name when left out. */
  pictureName?(item: ExportItem): string
  /** Writes what belongs to one image. */
  image(image: OutImage, write: WriteText): Promise<void>
  /** Writes what belongs to all; `folder` is where it all lies until it is put in its place. */
  finish(write: WriteText, folder: string): Promise<void>
}
export type WriteText = (name: string, text: string | Uint8Array) => Promise<void>

const EXPORTED: Record<ExportOptions['status'], ReadonlySet<string>> = {
  accepted: new Set(['accepted', 'edited']),
  all: new Set(['accepted', 'edited', 'proposed']),
}
export const EXIF_NOTE = 'Boxes fit the upright picture: its EXIF orientation is applied.'
export const MARKER = 'README.txt'
const MARK = 'Written by Gromatic'

/** The number of boxes without a class, behind (or among) the project's classes 1..N. */
export function objectNumber({ categories }: ExportSource): number {
  return categories.findIndex(({ name }) => name === 'object') + 1 || categories.length + 1
}

/** Boxes of the source as they go out, and what had to be left out. */
class Selection {
  readonly #names: Map<number, { name: string; number: number }>
  readonly #wanted: ReadonlySet<string>
  images = 0
  annotations = 0
  #vanished = 0
  readonly used = new Set<string>()

  constructor(source: ExportSource, status: ExportOptions['status']) {
    this.#wanted = EXPORTED[status]
    this.#names = new Map(source.categories.map(({ id, name }, index) => [id, { name, number: index + 1 }]))
  }

  boxesOf({ image, annotations }: ExportItem): OutBox[] {
    this.images++
    const boxes: OutBox[] = []
    for (const row of annotations) {
      if (!this.#wanted.has(row.status)) continue
      const bbox = clampBbox(row.bboxXywh, image.width, image.height)
      if (bbox === null) {
        this.#vanished++
        continue
      }
      const known = row.categoryId === null ? undefined : this.#names.get(row.categoryId)
      if (known !== undefined) this.used.add(known.name)
      boxes.push({ row, bbox, className: known?.name ?? null, classNumber: known?.number ?? null })
    }
    this.annotations += boxes.length
    return boxes
  }

  notes(): string[] {
    if (this.#vanished === 0) return []
    return [
      this.#vanished === 1
        ? '1 box lies outside of the image and was left out.'
        : `${this.#vanished} boxes lie outside of the image and were left out.`,
    ]
  }
}

async function* walk(source: ExportSource, options: ExportOptions): AsyncGenerator<ExportItem> {
  let done = 0
  for (const item of source.items()) {
    throwIfAborted(options.signal, 'The export')
    yield item
    options.onProgress?.({ done: ++done, total: source.imageCount, note: item.image.fileName })
    if (done % 32 === 0) await new Promise((resume) => setImmediate(resume))
  }
  throwIfAborted(options.signal, 'The export')
}

const report = (path: string, selection: Selection, notes: readonly string[]): ExportReport => ({
  path,
  images: selection.images,
  annotations: selection.annotations,
  categories: selection.used.size,
  rejectedPath: null,
  captionsPath: null,
  notes: [...selection.notes(), ...notes],
})

/** One file, and (if asked for) the folder of its pictures beside it. @throws as {@link Format.export} */
export async function exportFile(source: ExportSource, options: ExportOptions, body: FileBody): Promise<ExportReport> {
  const { path, overwrite, copyImages, copyImage = copyFile } = options
  if (existsSync(path) && statSync(path).isDirectory()) throw new DbError('INVALID_INPUT', `${path} is a folder.`)
  if (!overwrite && existsSync(path)) throw new DbError('ALREADY_EXISTS', `${path} exists already.`)
  const copies = copyImages ? copiesBeside(path, source.imagesDir, overwrite) : null
  const selection = new Selection(source, options.status)
  const pictures = new PictureNames(source.imagesDir, copies && copyImage, options.keepNames ?? false)
  let file: AtomicFile | null = null
  try {
    await mkdir(dirname(path), { recursive: true })
    await copies?.begin()
    file = await AtomicFile.create(path)
    await file.write(body.head)
    let written = 0
    for await (const item of walk(source, options)) {
      const boxes = selection.boxesOf(item)
      const fileName = await pictures.add(item.image.fileName, copies?.temporary ?? '')
      const text = body.image({ item, fileName, boxes })
      if (text === '') continue
      await file.write(written++ === 0 ? text : `${body.separator ?? ''}${text}`)
    }
    await file.write(body.tail())
    await file.finish()
    await copies?.publish()
    await file.publish()
    return report(path, selection, body.saysUpright ? pictures.notes : [...pictures.notes, EXIF_NOTE])
  } catch (error) {
    await file?.abort()
    await copies?.abort()
    throw toDbError(error, `${path} could not be written`)
  }
}

/** A folder of files that appears whole; one of an earlier export of ours may be replaced. @throws as {@link Format.export} */
export async function exportFolder(
  source: ExportSource,
  options: ExportOptions,
  about: { name: string; loses: string },
  body: FolderBody,
): Promise<ExportReport> {
  const { path, overwrite, copyImages, copyImage = copyFile } = options
  await checkFolder(path, overwrite)
  checkOwnPictures(path, source.imagesDir)
  const folder = new FolderInMaking(path)
  const selection = new Selection(source, options.status)
  const pictures = new PictureNames(source.imagesDir, copyImages ? copyImage : null, options.keepNames ?? false)
  const made = new Set<string>()
  const written = new Set<string>()
  const write: WriteText = async (name, text) => {
    const folded = name.normalize('NFC').toLowerCase()
    if (written.has(folded))
      throw new DbError(
        'INVALID_INPUT',
        `Two pictures would share ${name} (their names differ by ending or case only): copy the images along to give them names of their own.`,
      )
    written.add(folded)
    const target = join(folder.temporary, name)
    const parent = dirname(target)
    if (!made.has(parent)) await mkdir(parent, { recursive: true })
    made.add(parent)
    await writeFile(target, text)
  }
  try {
    await mkdir(dirname(path), { recursive: true })
    await folder.begin()
    for await (const item of walk(source, options)) {
      const boxes = selection.boxesOf(item)
      const place = join(folder.temporary, body.imagesFolder(item))
      const fileName = await pictures.add(item.image.fileName, place, body.pictureName?.(item))
      await body.image({ item, fileName, boxes }, write)
    }
    await body.finish(write, folder.temporary)
    await write(MARKER, `${MARK} as ${about.name}.\n${EXIF_NOTE}\nNot in here: ${about.loses}\n`)
    throwIfAborted(options.signal, 'The export')
    await folder.publish()
    return report(path, selection, pictures.notes)
  } catch (error) {
    await folder.abort()
    throw toDbError(error, `${path} could not be written`)
  }
}

/** Only nothing, an empty folder or an earlier export of ours is replaced: never somebody's folder of photos. */
async function checkFolder(path: string, overwrite: boolean): Promise<void> {
  if (!existsSync(path)) return
  if (!statSync(path).isDirectory()) throw new DbError('ALREADY_EXISTS', `${path} is a file.`)
  if (readdirSync(path).length === 0) return await rmdir(path)
  if (!(await isOwnFolder(path))) {
    throw new DbError(
      'ALREADY_EXISTS',
      `${path} exists already and is no export of ours: choose a folder that is not there.`,
    )
  }
  if (!overwrite) throw new DbError('ALREADY_EXISTS', `${path} exists already.`)
  const [project] = listFilesBelow(path, 1, (name) => name.toLowerCase().endsWith(PROJECT_EXTENSION))
  if (project !== undefined)
    throw new DbError('ALREADY_EXISTS', `${path} holds a project (${project}): choose another folder.`)
}

/** True for a folder that an earlier export of ours made. */
export async function isOwnFolder(path: string): Promise<boolean> {
  const file = await open(join(path, MARKER)).catch(() => null)
  if (file === null) return false
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(64), 0, 64, 0)
    return buffer.toString('utf8', 0, bytesRead).startsWith(MARK)
  } catch {
    return false
  } finally {
    await file.close()
  }
}
