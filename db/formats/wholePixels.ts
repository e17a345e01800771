/** Boxes in whole pixels, for formats that know no parts of one. PURE. */
import type { BboxXywh } from '../records/records.ts'

/** The nearest box of whole pixels that has an area and lies on the picture. */
export function wholePixels([x, y, w, h]: BboxXywh, width: number, height: number): BboxXywh {
  const side = (start: number, length: number, limit: number): [number, number] => {
    const from = Math.min(Math.max(0, Math.round(start)), limit - 1)
    const to = Math.min(limit, Math.max(from + 1, Math.round(start + length)))
    return [from, to - from]
  }
  const [left, boxWidth] = side(x, w, width)
  const [top, boxHeight] = side(y, h, height)
  return [left, top, boxWidth, boxHeight]
}
