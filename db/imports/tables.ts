/** What an import knows of the images of a file: which of the project they are, and what lies on them already. */
import type { ImportAnnotation, ImportImage, Key } from '../formats/items.ts'
import type { ProjectStore } from '../project.ts'
import type { BboxXywh, ImageRecord } from '../records/records.ts'
import { ImageMatcher } from './imageMatcher.ts'
import type { ImportChoices } from './plan.ts'

/** Boxes that are on an image, small enough to keep a million of them. */
interface Existing {
  ids: number[]
  sides: Float64Array
  categories: (number | null)[]
  captions: (string | null)[]
}

export interface PlannedImage {
  /** In the project; null while it is still to be added. */
  imageId: number | null
  /** Null: its boxes are left out. */
  size: { width: number; height: number } | null
  fileName: string
  /** To be added as a missing file. */
  added: ImageRecord | null
  existing: Existing | null
  /** Whether boxes lie on it already. */
  worked: boolean
}

const NOBODY: Existing = { ids: [], sides: new Float64Array(0), categories: [], captions: [] }
/** Boxes are the same when no side is further off than this, pixels. */
const SAME_PX = 0.01

/** A name under which a picture may come to lie in the project's folder, or why it may not. */
export function safeFileName(fileName: string): { name: string } | { reason: string } {
  const name = fileName
    .replaceAll('\\', '/')
    .replace(/^(\.\/)+/, '')
    .normalize('NFC')
    .toWellFormed()
  if (name === '' || name.length > 1000) return { reason: 'the image has no name that can be kept' }
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (/[\u0000-\u001f]/.test(name))
    return { reason: `the image name ${JSON.stringify(fileName)} holds control characters` }
  if (/^([a-z]:)?\//i.test(name) || name.split('/').some((part) => part === '..' || part === '')) {
    return { reason: `the image name ${JSON.stringify(fileName)} leads out of the folder` }
  }
  return { name }
}

type Size = { width: number; height: number }

export class ImageTable {
  readonly #store: Pick<ProjectStore, 'images' | 'annotations'>
  readonly #choices: ImportChoices
  readonly #matcher: ImageMatcher
  readonly #byKey = new Map<Key, PlannedImage>()
  readonly #takenBy = new Map<number, Key>()
  readonly #addedNames = new Set<string>()
  /** Images that other files of the set may speak of again, by their names. */
  readonly #shared = new Map<string, PlannedImage>()
  /** Names of all images that the project lacks. */
  readonly missing: string[] = []
  inFile = 0
  matched = 0
  coming = 0
  added: { image: PlannedImage; record: ImageRecord; wantedId: number | undefined }[] = []

  readonly #pictures: ReadonlyMap<string, { width: number; height: number }>

  /** `pictures` that the project is about to have, by the file's names for them. */
  constructor(
    store: Pick<ProjectStore, 'images' | 'annotations'>,
    choices: ImportChoices,
    pictures: ReadonlyMap<string, { width: number; height: number }> = new Map(),
  ) {
    this.#pictures = pictures
    this.#store = store
    this.#choices = choices
    this.#matcher = new ImageMatcher(store.images, choices.match)
  }

  get(key: Key): PlannedImage | undefined {
    return this.#byKey.get(key)
  }

  /** Takes an image of the file. Returns why it cannot be taken, or null; its boxes are left out then. */
  add(item: ImportImage): string | null {
    if (this.#byKey.has(item.key)) return `image ${item.key} is in the file twice`
    if (item.shared === true) {
      const known = this.#shared.get(item.fileName)
      if (known !== undefined) {
        this.#byKey.set(item.key, known)
        return null
      }
    }
    this.inFile++
    const planned: PlannedImage = {
      imageId: null,
      size: null,
      fileName: item.fileName,
      added: null,
      existing: null,
      worked: false,
    }
    this.#byKey.set(item.key, planned)
    if (item.shared === true) this.#shared.set(item.fileName, planned)
    const found = this.#matcher.find(item)
    if (found === null) return this.#addMissing(item, planned)
    if ('reason' in found) return found.reason
    const { id, counts, fileName } = found.image
    const other = this.#takenBy.get(id)
    if (other !== undefined) return `images ${other} and ${item.key} are both ${fileName}`
    this.#takenBy.set(id, item.key)
    const differs = this.#place(item, planned, found.image, fileName)
    if (differs !== null) return differs
    this.matched++
    planned.imageId = id
    planned.worked = counts.proposed + counts.accepted + counts.edited + counts.rejected > 0
    return null
  }

  /** Takes a picture as this image, unless the file speaks of one of another size. */
  #place(item: ImportImage, planned: PlannedImage, { width, height }: Size, fileName: string): string | null {
    if (item.width !== null && item.height !== null && (item.width !== width || item.height !== height)) {
      const turned =
        item.width === height && item.height === width ? ' (turned by its camera: its boxes are not upright)' : ''
      return `the file says ${item.width} x ${item.height} for ${fileName}, the picture is ${width} x ${height}${turned}`
    }
    planned.size = { width, height }
    return null
  }

  #addMissing(item: ImportImage, planned: PlannedImage): string | null {
    const coming = this.#pictures.get(item.fileName)
    if (coming !== undefined) {
      const differs = this.#place(item, planned, coming, item.fileName)
      if (differs === null) this.coming++
      return differs
    }
    if (this.#choices.missingImages !== 'add') {
      this.missing.push(item.fileName === '' ? `image ${item.key}` : item.fileName)
      return null
    }
    const safe = safeFileName(item.fileName)
    if ('reason' in safe) return safe.reason
    const folded = safe.name.toLowerCase()
    if (this.#addedNames.has(folded)) return `two images are called ${safe.name}, but for upper and lower case`
    if (item.width === null || item.height === null)
      return `${safe.name} is not in the project, and the file does not say how large it is`
    this.#addedNames.add(folded)
    const record: ImageRecord = {
      id: 1, // given when it is written
      fileName: safe.name,
      width: item.width,
      height: item.height,
      fileBytes: 0,
      contentSha256: item.contentSha256 ?? '0'.repeat(64),
      status: 'missing',
      done: false,
      proposedAt: null,
    }
    planned.added = record
    planned.size = { width: item.width, height: item.height }
    this.added.push({ image: planned, record, wantedId: item.id })
    return null
  }

  /** The box of the project that this one already is: its id, or null. */
  sameBox(image: PlannedImage, bbox: BboxXywh, categoryId: number | null, item: ImportAnnotation): number | null {
    const { ids, sides, categories, captions } = this.#existing(image)
    for (let index = 0; index < ids.length; index++) {
      if (categories[index] !== categoryId || captions[index] !== (item.caption || null)) continue
      const at = index * 4
      if (bbox.every((side, axis) => Math.abs(side - (sides[at + axis] as number)) <= SAME_PX))
        return ids[index] as number
    }
    return null
  }

  #existing(image: PlannedImage): Existing {
    if (!image.worked || image.imageId === null) return NOBODY
    if (image.existing === null) {
      const rows = this.#store.annotations.list(image.imageId)
      image.existing = {
        ids: rows.map(({ id }) => id),
        sides: Float64Array.from(rows.flatMap(({ bboxXywh }) => bboxXywh)),
        categories: rows.map(({ categoryId }) => categoryId),
        captions: rows.map(({ caption }) => caption),
      }
    }
    return image.existing
  }
}
