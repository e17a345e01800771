/** The model's boxes in pixels, as an evaluation wants them: not clamped to the image. PURE. */
import { iouXywh, type Xywh } from '../../../native-models/metrics/detection.ts'
import type { EvaluationImage } from './evaluationTypes.ts'

type Size = Pick<EvaluationImage, 'width' | 'height'>

export function toXywh([cx, cy, w, h]: readonly [number, number, number, number], { width, height }: Size): Xywh {
  return [(cx - w / 2) * width, (cy - h / 2) * height, w * width, h * height]
}

export function toCxcywh([x, y, w, h]: Xywh, { width, height }: Size): [number, number, number, number] {
  return [(x + w / 2) / width, (y + h / 2) / height, w / width, h / height]
}

/** The place of the box that overlaps most, and by how much; place -1 when there are none. */
export function bestOverlap(box: Xywh, others: readonly Xywh[]): { place: number; iou: number } {
  let best = { place: -1, iou: 0 }
  for (const [place, other] of others.entries()) {
    const iou = iouXywh(box, other)
    if (place === 0 || iou > best.iou) best = { place, iou }
  }
  return best
}

/** How many of `boxes` stand for a box of `truths` each at `iou` or more, taken in their order. */
export function countMatched(truths: readonly Xywh[], boxes: readonly Xywh[], iou = 0.5): number {
  const free = new Set(truths.keys())
  let matched = 0
  for (const box of boxes) {
    let best = -1
    let most = iou
    for (const place of free) {
      const overlap = iouXywh(box, truths[place]!)
      if (overlap < most) continue
      most = overlap
      best = place
    }
    if (best < 0) continue
    free.delete(best)
    matched++
  }
  return matched
}

/** Kept with a thousandth of a pixel: what is stored must give the same numbers when it is read back. */
export const rounded = (box: Xywh): Xywh => box.map((side) => Math.round(side * 1000) / 1000) as unknown as Xywh
