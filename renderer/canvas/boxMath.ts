/** Boxes under the hand. Pure: pixels of the upright image in, `[x, y, width, height]` inside the image out. */
import type { BboxXywh } from '../../db/records/records.ts'
import { iouXyxy } from '../../native-models/geometry/overlap.ts'
import type { Size } from './viewport.ts'

/** A box is never thinner than this, whatever the hand does. */
export const MIN_SIDE = 1

const clamp = (value: number, low: number, high: number) => Math.min(high, Math.max(low, value))

export interface Point {
  readonly x: number
  readonly y: number
}

/** The point inside the image nearest to the given one. */
export const clampPoint = (point: Point, image: Size): Point => ({
  x: clamp(point.x, 0, image.width),
  y: clamp(point.y, 0, image.height),
})

/** The box between two corners in any order, cut to the image; null when less than two pixels are left of it. */
export function boxBetween(a: Point, b: Point, image: Size): BboxXywh | null {
  const from = clampPoint(a, image)
  const to = clampPoint(b, image)
  const width = Math.abs(from.x - to.x)
  const height = Math.abs(from.y - to.y)
  if (width < 2 || height < 2) return null
  return [Math.min(from.x, to.x), Math.min(from.y, to.y), width, height]
}

/** The box cut to the image, keeping its size where a shift is enough (moving stops at the edge). */
export function moveInside([x, y, width, height]: BboxXywh, image: Size): BboxXywh {
  const w = Math.min(width, image.width)
  const h = Math.min(height, image.height)
  return [clamp(x, 0, image.width - w), clamp(y, 0, image.height - h), w, h]
}

/** The box cut to the image edge by edge (resizing stops at the edge). */
export function cutInside([x, y, width, height]: BboxXywh, image: Size): BboxXywh {
  const x1 = clamp(x, 0, image.width - MIN_SIDE)
  const y1 = clamp(y, 0, image.height - MIN_SIDE)
  const x2 = clamp(x + width, x1 + MIN_SIDE, image.width)
  const y2 = clamp(y + height, y1 + MIN_SIDE, image.height)
  return [x1, y1, x2 - x1, y2 - y1]
}

/** An arrow key on a box: moves it, grows it at its lower right (`resize`), or shrinks it at its upper left (`resizeStart`). */
export function nudge(
  box: BboxXywh,
  dx: number,
  dy: number,
  what: 'move' | 'resize' | 'resizeStart',
  image: Size,
): BboxXywh {
  const [x, y, width, height] = box
  if (what === 'move') return moveInside([x + dx, y + dy, width, height], image)
  if (what === 'resize') {
    return cutInside([x, y, Math.max(MIN_SIDE, width + dx), Math.max(MIN_SIDE, height + dy)], image)
  }
  const left = clamp(x + dx, 0, x + width - MIN_SIDE)
  const top = clamp(y + dy, 0, y + height - MIN_SIDE)
  return [left, top, x + width - left, y + height - top]
}

/** Pixels that the n-th repeat of a held arrow key moves: one at a time first, faster the longer it is held. */
export function repeatStep(repeats: number): number {
  if (repeats < 6) return 1
  if (repeats < 16) return 4
  return 12
}

/** Whether two boxes are the same to a tenth of a pixel: then there is nothing to save. */
export const sameBox = (a: BboxXywh, b: BboxXywh): boolean => a.every((value, i) => Math.abs(value - b[i]!) < 0.1)

/** Intersection over union. */
export function overlap(a: BboxXywh, b: BboxXywh): number {
  return iouXyxy([a[0], a[1], a[0] + a[2], a[1] + a[3]], [b[0], b[1], b[0] + b[2], b[1] + b[3]])
}

/** Boxes of a model's answer and regions on the image are taken for the same thing from here on. */
export const SAME_THING_IOU = 0.5
