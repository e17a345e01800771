/** What becomes of one box or sentence of a file, given what is known of its images and classes. The same in both readings. */
import { clampPolygons, placeBbox } from '../formats/boxes.ts'
import type { ImportAnnotation, ImportMessage, Key } from '../formats/items.ts'
import { formats } from '../formats/registry.ts'
import type { ProjectStore } from '../project.ts'
import { sameValue } from '../records/diff.ts'
import type { Annotation, AnnotationExtras, Message } from '../records/records.ts'
import type { CategoryMapper } from './categoryMapper.ts'
import type { ImportRequest } from './plan.ts'
import type { ImageTable, PlannedImage } from './tables.ts'

export type BoxOutcome =
  | { kind: 'row'; image: PlannedImage; row: Omit<Annotation, 'id' | 'imageId' | 'categoryId'>; cut: boolean }
  /** The project has this very box: its id. */
  | { kind: 'there'; id: number }
  | { kind: 'leftOut' }
  | { kind: 'bad'; reason: string }
  /** It cannot be said before the classes are known. */
  | { kind: 'later' }

type Size = { width: number; height: number }

/** Extras with their polygons in pixels (those of a relative box are relative too), cut at the edges of the picture as the box is. */
function onPicture(
  { extras, relative, exact }: ImportAnnotation,
  { width, height }: Size,
): AnnotationExtras | undefined {
  if (!Array.isArray(extras?.segmentation) || exact === true) return extras
  const inPixels = (polygon: number[]): number[] =>
    polygon.map((side, index) => side * (index % 2 === 0 ? width : height))
  const polygons = relative === true ? extras.segmentation.map(inPixels) : extras.segmentation
  const { segmentation: _, ...others } = extras
  const segmentation = clampPolygons(polygons, width, height)
  return segmentation.length === 0 ? others : { ...others, segmentation }
}

const MAX_CAPTION = 20_000
const bad = (reason: string): BoxOutcome => ({ kind: 'bad', reason })
const LEFT_OUT: BoxOutcome = { kind: 'leftOut' }

export class Judge {
  readonly #store: Pick<ProjectStore, 'messages'>
  readonly #request: ImportRequest
  readonly #images: ImageTable
  readonly #categories: CategoryMapper
  readonly #categoryIds: ReadonlyMap<string, number>
  readonly #messages = new Map<number, Message[]>()
  /** The whole file was read once: a class that is not known now is not in it. */
  readAll = false

  constructor(store: ProjectStore, request: ImportRequest, images: ImageTable, categories: CategoryMapper) {
    this.#store = store
    this.#request = request
    this.#images = images
    this.#categories = categories
    this.#categoryIds = new Map(store.categories.list().map(({ name, id }) => [name, id]))
  }

  /** The class's id in the project: null for none, undefined when it is still to be made or not known. */
  #categoryId(key: Key | null): number | null | undefined {
    if (key === null) return null
    const name = this.#categories.nameFor(key)
    return name === undefined || name === null ? undefined : this.#categoryIds.get(name)
  }

  box(item: ImportAnnotation): BoxOutcome {
    const image = this.#images.get(item.imageKey)
    if (image === undefined) return bad(`names image ${item.imageKey}, which is not in the file`)
    const { choices } = this.#request
    if (image.size === null || (image.worked && choices.conflicts === 'skip')) return LEFT_OUT
    if (item.categoryKey !== null && this.#categories.nameFor(item.categoryKey) === null) return LEFT_OUT
    const placed =
      item.exact === true
        ? { bbox: item.bboxXywh, cut: false }
        : placeBbox(item.bboxXywh, item.relative ?? false, image.size.width, image.size.height)
    if ('reason' in placed) return bad(placed.reason)
    const score = item.score ?? null
    if (score !== null && !(score >= 0 && score <= 1)) return bad(`the score ${score} is not between 0 and 1`)
    if ((item.caption?.length ?? 0) > MAX_CAPTION) return bad(`the caption has more than ${MAX_CAPTION} letters`)
    if (image.worked) {
      if (item.categoryKey !== null && this.#categories.nameFor(item.categoryKey) === undefined)
        return this.readAll ? bad(`names class ${item.categoryKey}, which is not in the file`) : { kind: 'later' }
      const categoryId = this.#categoryId(item.categoryKey)
      const id = categoryId === undefined ? null : this.#images.sameBox(image, placed.bbox, categoryId, item)
      if (id !== null) return { kind: 'there', id }
    }
    return { kind: 'row', image, cut: placed.cut, row: this.#row(item, placed.bbox, score, image.size) }
  }

  #row(item: ImportAnnotation, bboxXywh: Annotation['bboxXywh'], score: number | null, size: Size) {
    const { choices, format } = this.#request
    const extras = onPicture(item, size)
    const results = formats[format].reader.results === true
    const said = item.model ?? { bboxXywh: results ? bboxXywh : null, caption: null, score, hash: null }
    return {
      bboxXywh,
      caption: item.caption || null,
      provenance: format === 'everything' ? (item.provenance ?? 'import') : ('import' as const),
      status: choices.status ?? item.status ?? (results ? 'proposed' : 'accepted'),
      modelBboxXywh: said.bboxXywh,
      modelCaption: said.caption,
      modelScore: said.score,
      modelHash: said.hash,
      decidedAt: item.decided?.at ?? null,
      decisionMs: item.decided?.ms ?? null,
      ...(extras === undefined ? {} : { extras }),
    } satisfies Omit<Annotation, 'id' | 'imageId' | 'categoryId'>
  }

  /** The image a sentence goes to; null when it is left out or there already. Says why it cannot be taken. */
  message(item: ImportMessage): PlannedImage | null | { reason: string } {
    const image = this.#images.get(item.imageKey)
    if (image === undefined) return { reason: `names image ${item.imageKey}, which is not in the file` }
    if (image.size === null) return null
    if (item.message.text.length > MAX_CAPTION) return { reason: `the text has more than ${MAX_CAPTION} letters` }
    if (image.imageId === null) return image
    const said = this.#messages.get(image.imageId) ?? this.#store.messages.list(image.imageId)
    this.#messages.set(image.imageId, said)
    const { text, role, spans } = item.message
    const there = said.some((other) => other.text === text && other.role === role && sameValue(other.spans, spans))
    return there ? null : image
  }
}
