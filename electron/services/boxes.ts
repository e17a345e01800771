/** Boxes between the model (fractions, centre) and the records (pixels, corner), and when two of them are one thing. PURE. */
import type { BboxXywh } from '../../db/records/records.ts'
import { boxCxcywh, boxXywhPixels, cxcywhToXywhPixels, xywhPixelsToCxcywh } from '../../native-models/geometry/boxes.ts'
import { iouXyxy } from '../../native-models/geometry/overlap.ts'
import { AppError } from '../contract/errors.ts'

export type { BboxXywh }

export interface Size {
  width: number
  height: number
}

type Four = readonly [number, number, number, number]

/** The model's box in pixels, clamped to the image; null when it is not finite or under a pixel. */
export function toPixels([cx, cy, w, h]: Four, { width, height }: Size): BboxXywh | null {
  const box = cxcywhToXywhPixels(boxCxcywh(cx, cy, w, h), width, height)
  return box === null ? null : [box[0], box[1], box[2], box[3]]
}

/** A pixel box in the model's words. */
export function toModel([x, y, w, h]: Four, { width, height }: Size): [number, number, number, number] {
  const box = xywhPixelsToCxcywh(boxXywhPixels(x, y, w, h), width, height)
  return [box[0], box[1], box[2], box[3]]
}

/** A person's box inside the image; null when less than a pixel of it is. */
export function clampToImage([x, y, w, h]: Four, { width, height }: Size): BboxXywh | null {
  const left = Math.min(Math.max(x, 0), width)
  const top = Math.min(Math.max(y, 0), height)
  const right = Math.min(Math.max(x + w, 0), width)
  const bottom = Math.min(Math.max(y + h, 0), height)
  if (!(right - left >= 1 && bottom - top >= 1)) return null
  // Arithmetic must not move a box that was inside already.
  const inside = x >= 0 && y >= 0 && x + w <= width && y + h <= height
  return inside ? [x, y, w, h] : [left, top, right - left, bottom - top]
}

/** A person's box in the model's words, what lies outside the image cut off. @throws INVALID_INPUT when nothing is left */
export function toModelInside(box: Four, image: Size & { fileName: string }): [number, number, number, number] {
  const inside = clampToImage(box, image)
  if (inside !== null) return toModel(inside, image)
  const { fileName, width, height } = image
  const reason = `lies outside ${fileName} (${width} x ${height} pixels)`
  throw new AppError('INVALID_INPUT', `The box ${box.join(',')} ${reason}.`)
}

export const overlap = (a: Four, b: Four): number =>
  iouXyxy([a[0], a[1], a[0] + a[2], a[1] + a[3]], [b[0], b[1], b[0] + b[2], b[1] + b[3]])

/** Above this, two boxes are the same thing. */
export const SAME_REGION_IOU = 0.8

/** A score as the records want it: 0 to 1. */
export const unitScore = (score: number): number => (Number.isFinite(score) ? Math.min(1, Math.max(0, score)) : 0)
