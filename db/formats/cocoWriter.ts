/**
 * The files of one COCO export in the making. One pass over the images, each with its boxes, in constant memory: images
 * and boxes go to parts aside that are joined when the pass is over. All files are put in their places together.
 */
import { rm } from 'node:fs/promises'
import { basename, dirname, extname, join } from 'node:path'
import { AtomicFile } from './atomicFile.ts'
import type { CocoItem } from './coco.ts'
import { type CocoAnnotation, type CocoBox, CocoCategories, cocoAnnotation } from './cocoRecords.ts'

/** Who wrote a file: by this, our own exports are told from other people's. */
export const CONTRIBUTOR = 'Gromatic'

/** Whether a file begins as our own exports do. */
export function isOurs(text: string): boolean {
  const [head = ''] = text.split('\n')
  return head.startsWith('{"info":{') && head.includes(`"contributor":${JSON.stringify(CONTRIBUTOR)}`)
}

/** `out/coco.json` -> `out/coco.rejected.jsonl` */
function sibling(path: string, ending: string): string {
  return join(dirname(path), basename(path, extname(path)) + ending)
}

export const captionsPathFor = (path: string): string => sibling(path, '.captions.json')
export const rejectedPathFor = (path: string): string => sibling(path, '.rejected.jsonl')

/** The entries of a JSON array, one a line. */
class JsonList {
  count = 0
  readonly #file: AtomicFile
  constructor(file: AtomicFile) {
    this.#file = file
  }
  write(entry: object): Promise<void> {
    return this.#file.write(`${this.count++ === 0 ? '\n' : ',\n'}${JSON.stringify(entry)}`)
  }
}

/** What a relative of COCO adds to images and classes; files beside the main one are COCO's alone. */
export interface CocoDialect {
  /** No files of captions and rejected boxes beside it. */
  alone?: boolean
  image?: (row: Record<string, unknown>, item: CocoItem) => Record<string, unknown>
  annotation?: (row: CocoAnnotation, box: CocoBox) => Record<string, unknown>
  /** `images` and `instances`: in how many images the class is, and how often. */
  category?: (
    row: { id: number; name: string },
    counts: { images: number; instances: number },
  ) => Record<string, unknown>
}

const EXIF_NOTE = 'Boxes are pixels of the upright picture: its EXIF orientation is applied.'

const EXPORTED: Record<'accepted' | 'all', ReadonlySet<string>> = {
  accepted: new Set(['accepted', 'edited']),
  all: new Set(['accepted', 'edited', 'proposed']),
}

export interface Written {
  images: number
  annotations: number
  categories: number
  rejectedPath: string | null
  captionsPath: string | null
  notes: string[]
}

interface WriterInput {
  name: string
  categories?: readonly { id: number; name: string }[]
  dialect?: CocoDialect
}
interface WriterOptions {
  status: 'accepted' | 'all'
  polygons: boolean
}

const plural = (count: number, one: string, many: string): string => `${count} ${count === 1 ? one : many}`

export class CocoWriter {
  readonly #path: string
  readonly #files: AtomicFile[]
  readonly #main: AtomicFile
  readonly #captions: AtomicFile
  readonly #rejected: AtomicFile
  readonly #imageList: JsonList
  readonly #boxList: JsonList
  readonly #captionList: JsonList
  readonly #parts: { images: AtomicFile; boxes: AtomicFile }
  readonly #categories: CocoCategories
  readonly #exported: ReadonlySet<string>
  readonly #polygons: boolean
  readonly #dialect: CocoDialect | undefined
  /** By class: the last image it was on, on how many it is, and how often. */
  readonly #uses = new Map<number, { lastImage: number; images: number; instances: number }>()
  #nextId = 1
  #nextImageId = 1
  #rejectedCount = 0
  #vanished = 0
  #unnamed = 0
  #missing = 0

  private constructor(path: string, files: AtomicFile[], input: WriterInput, options: WriterOptions) {
    const [main, captions, rejected, images, boxes] = files as [
      AtomicFile,
      AtomicFile,
      AtomicFile,
      AtomicFile,
      AtomicFile,
    ]
    this.#path = path
    this.#files = files
    this.#main = main
    this.#captions = captions
    this.#rejected = rejected
    this.#parts = { images, boxes }
    this.#imageList = new JsonList(images)
    this.#boxList = new JsonList(boxes)
    this.#captionList = new JsonList(captions)
    this.#categories = new CocoCategories(input.categories ?? [])
    this.#exported = EXPORTED[options.status]
    this.#polygons = options.polygons
    this.#dialect = input.dialect
  }

  /** @throws NOT_FOUND, READ_ONLY, DISK_FULL */
  static async create(path: string, input: WriterInput, options: WriterOptions): Promise<CocoWriter> {
    const files: AtomicFile[] = []
    try {
      const parts = [sibling(path, '.images.part'), sibling(path, '.boxes.part')]
      for (const file of [path, captionsPathFor(path), rejectedPathFor(path), ...parts]) {
        files.push(await AtomicFile.create(file))
      }
      const writer = new CocoWriter(path, files, input, options)
      const info = { description: input.name, url: '', version: '1.0', contributor: CONTRIBUTOR, note: EXIF_NOTE }
      const head = `{"info":${JSON.stringify(info)},\n"licenses":[],\n`
      await writer.#main.write(`${head}"images":[`)
      await writer.#captions.write(`${head}"annotations":[`)
      return writer
    } catch (error) {
      for (const file of files) await file.abort()
      throw error
    }
  }

  /** Adds an image, under the name it has in the export, and those of its boxes that are to be exported. */
  async add(item: CocoItem, fileName: string): Promise<void> {
    const { width, height, status } = item.image
    const id = item.image.id ?? this.#nextImageId
    this.#nextImageId = Math.max(this.#nextImageId, id + 1)
    const source = fileName === item.image.fileName ? {} : { attributes: { source_file_name: item.image.fileName } }
    const row = { id, file_name: fileName, width, height, ...source }
    await this.#imageList.write(this.#dialect?.image?.(row, item) ?? row)
    if (status === 'missing') this.#missing++
    for (const box of item.annotations) await this.#addBox(box, { id, width, height }, fileName)
  }

  async #addBox(box: CocoBox, image: { id: number; width: number; height: number }, fileName: string): Promise<void> {
    const rejected = box.status === 'rejected'
    if (!rejected && box.status !== undefined && !this.#exported.has(box.status)) return
    const id = box.id ?? this.#nextId
    this.#nextId = Math.max(this.#nextId, id + 1)
    const ids = { id, imageId: image.id, categoryId: 0 }
    const annotation = cocoAnnotation(box, ids, image, this.#polygons)
    if (annotation === null) this.#vanished++
    else if (rejected && this.#dialect?.alone) return
    else if (rejected) {
      const { bbox, score, attributes } = annotation
      const line = {
        id,
        image_id: image.id,
        file_name: fileName,
        category: this.#categories.nameOf(box),
        bbox,
        score,
        attributes,
      }
      await this.#rejected.write(`${JSON.stringify(line)}\n`)
      this.#rejectedCount++
    } else {
      if (this.#categories.nameOf(box) === null) this.#unnamed++
      annotation.category_id = this.#categories.numberFor(box)
      this.#countUse(annotation.category_id, image.id)
      await this.#boxList.write(this.#dialect?.annotation?.(annotation, box) ?? annotation)
      if (box.caption && !this.#dialect?.alone)
        await this.#captionList.write({ id, image_id: image.id, caption: box.caption })
    }
  }

  #countUse(category: number, image: number): void {
    const use = this.#uses.get(category)
    if (use === undefined) this.#uses.set(category, { lastImage: image, images: 1, instances: 1 })
    else {
      use.instances++
      if (use.lastImage !== image) use.images++
      use.lastImage = image
    }
  }

  /** Joins the parts and puts every file in its place. Until the first rename nothing that was there is touched. @throws DISK_FULL, IO_FAILED */
  async publish(beforeRename: () => Promise<void>): Promise<Written> {
    await this.#main.append(this.#parts.images)
    await this.#main.write('\n],\n"annotations":[')
    await this.#main.append(this.#parts.boxes)
    const categories = this.#categories.list().map((row) => {
      const { images = 0, instances = 0 } = this.#uses.get(row.id) ?? {}
      return this.#dialect?.category?.(row, { images, instances }) ?? row
    })
    await this.#main.write(
      `\n],\n"categories":[${categories.map((category) => `\n${JSON.stringify(category)}`).join(',')}\n]}\n`,
    )
    await this.#captions.write('\n],\n"images":[')
    await this.#captions.append(this.#parts.images)
    await this.#captions.write('\n]}\n')
    for (const file of [this.#main, this.#captions, this.#rejected]) await file.finish()
    await beforeRename()
    const captionsPath = await this.#place(this.#captions, this.#captionList.count)
    const rejectedPath = await this.#place(this.#rejected, this.#rejectedCount)
    await this.#main.publish()
    await this.abort()
    return {
      images: this.#imageList.count,
      annotations: this.#boxList.count,
      categories: categories.length,
      captionsPath,
      rejectedPath,
      notes: this.#notes(),
    }
  }

  /** A file without entries is not written, and one of an earlier export would speak of boxes that are not there. */
  async #place(file: AtomicFile, count: number): Promise<string | null> {
    if (count > 0) {
      await file.publish()
      return file.path
    }
    await file.abort()
    await rm(file.path, { force: true })
    return null
  }

  #notes(): string[] {
    const notes: string[] = []
    if (this.#vanished > 0)
      notes.push(
        `${plural(this.#vanished, 'box lies', 'boxes lie')} outside of the image and ${this.#vanished === 1 ? 'was' : 'were'} left out.`,
      )
    if (this.#unnamed > 0)
      notes.push(
        `${plural(this.#unnamed, 'box has', 'boxes have')} no category and ${this.#unnamed === 1 ? 'is' : 'are'} called "object".`,
      )
    if (this.#missing > 0)
      notes.push(
        `${plural(this.#missing, 'image is', 'images are')} in the file although the picture is missing from the folder.`,
      )
    if (this.#rejectedCount > 0)
      notes.push(
        `${plural(this.#rejectedCount, 'rejected box is', 'rejected boxes are')} in ${basename(rejectedPathFor(this.#path))}.`,
      )
    return notes
  }

  /** Removes whatever is not in its place yet. Never throws. */
  async abort(): Promise<void> {
    for (const file of this.#files) await file.abort()
  }
}
