/** How our records read in COCO: numbers clamped to the picture, extras flat, nothing that a loader trips over. PURE. */
import type { Annotation, BboxXywh } from '../records/records.ts'
import { clampBbox, cornersOf, fittingSegmentation, type Segmentation } from './boxes.ts'

/** What a box needs to be exported; a run without a project has no more than this. */
export type CocoBox = Pick<Annotation, 'bboxXywh'> &
  Partial<Omit<Annotation, 'bboxXywh' | 'imageId'>> & {
    /** Instead of `categoryId`: a class by its name, made on the way when it is new. */
    categoryName?: string | null
  }

export interface CocoAnnotation {
  id: number
  image_id: number
  category_id: number
  bbox: BboxXywh
  area: number
  iscrowd: 0 | 1
  segmentation: Segmentation | []
  score?: number
  attributes: Record<string, string | number | boolean>
}

const LOADERS = new Set(['id', 'bbox', 'label', 'mask', 'confidence', 'bounding_box'])

/** Extras as flat strings and numbers. The keys id, bbox, label, mask, confidence and bounding_box belong to loaders. */
export function attributesOf(box: CocoBox): Record<string, string | number | boolean> {
  const kept = Object.entries(box.extras?.attributes ?? {}).filter(([key]) => !LOADERS.has(key))
  const attributes: Record<string, string | number | boolean> = Object.fromEntries(kept)
  const set = (key: string, value: string | number | null | undefined): void => {
    if (value !== null && value !== undefined && !Number.isNaN(value)) attributes[key] = value
  }
  set('caption', box.caption)
  set('status', box.status)
  set('provenance', box.provenance)
  set('model_caption', box.modelCaption)
  set('model_score', box.modelScore)
  set('model_hash', box.modelHash)
  const [x, y, w, h] = box.modelBboxXywh ?? []
  set('model_x', x)
  set('model_y', y)
  set('model_width', w)
  set('model_height', h)
  set('decided_at', box.decidedAt)
  set('decision_ms', box.decisionMs)
  return attributes
}

/** One COCO annotation, with the polygon it came with (or its corners where `polygons` are asked for); null when the box does not lie on the picture. */
export function cocoAnnotation(
  box: CocoBox,
  ids: { id: number; imageId: number; categoryId: number },
  size: { width: number; height: number },
  polygons = false,
): CocoAnnotation | null {
  const bbox = clampBbox(box.bboxXywh, size.width, size.height)
  if (bbox === null) return null
  const area = bbox[2] * bbox[3]
  if (!(area > 0)) return null // thinner than numbers are
  const score = box.modelScore
  return {
    id: ids.id,
    image_id: ids.imageId,
    category_id: ids.categoryId,
    bbox,
    area,
    iscrowd: box.extras?.iscrowd ?? 0,
    segmentation: fittingSegmentation(box.extras, bbox) ?? (polygons ? [cornersOf(bbox)] : []),
    ...(typeof score === 'number' && Number.isFinite(score) ? { score } : {}),
    attributes: attributesOf(box),
  }
}

/** Classes numbered 1..N without gaps, in the order of their ids; classes met on the way are added at the end. */
export class CocoCategories {
  readonly #names: string[] = []
  readonly #byName = new Map<string, number>()
  readonly #byId = new Map<number, number>()

  constructor(categories: readonly { id: number; name: string }[]) {
    for (const { id, name } of [...categories].sort((a, b) => a.id - b.id)) this.#byId.set(id, this.#number(name))
  }

  #number(name: string): number {
    const known = this.#byName.get(name)
    if (known !== undefined) return known
    this.#names.push(name)
    this.#byName.set(name, this.#names.length)
    return this.#names.length
  }

  /** The class of a box; boxes without one are `object`, so that the file always loads. */
  numberFor(box: CocoBox): number {
    const known = box.categoryId === null || box.categoryId === undefined ? undefined : this.#byId.get(box.categoryId)
    return known ?? this.#number(box.categoryName || 'object')
  }

  /** The class of a box in words, without making one; null when it has none. */
  nameOf(box: CocoBox): string | null {
    const known = box.categoryId === null || box.categoryId === undefined ? undefined : this.#byId.get(box.categoryId)
    return (known === undefined ? box.categoryName : this.#names[known - 1]) ?? null
  }

  list(): { id: number; name: string; supercategory: string }[] {
    return this.#names.map((name, index) => ({ id: index + 1, name, supercategory: '' }))
  }
}
