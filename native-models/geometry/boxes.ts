/**
 * Boxes carry their format in their type: the same four numbers mean different rectangles in each.
 * Normalised boxes are fractions of the image (0..1), pixel boxes count from the upright image's top left.
 */

declare const format: unique symbol
type Quadruple<Format extends string> = readonly [number, number, number, number] & { readonly [format]: Format }

/** [centre x, centre y, width, height], fractions 0..1: the model's own words. */
export type BoxCxcywh = Quadruple<'cxcywh'>
/** [left, top, right, bottom], fractions 0..1. */
export type BoxXyxy = Quadruple<'xyxy'>
/** [left, top, width, height], pixels of the upright image: COCO's `bbox`. */
export type BoxXywhPixels = Quadruple<'xywhPixels'>

/** Names four numbers as a normalised centre box. */
export const boxCxcywh = (cx: number, cy: number, width: number, height: number): BoxCxcywh =>
  [cx, cy, width, height] as unknown as BoxCxcywh

/** Names four numbers as a normalised corner box. */
export const boxXyxy = (x1: number, y1: number, x2: number, y2: number): BoxXyxy =>
  [x1, y1, x2, y2] as unknown as BoxXyxy

/** Names four numbers as a pixel box. */
export const boxXywhPixels = (x: number, y: number, width: number, height: number): BoxXywhPixels =>
  [x, y, width, height] as unknown as BoxXywhPixels

/** Corners of a centre box; not clamped. */
export function cxcywhToXyxy([cx, cy, width, height]: BoxCxcywh): BoxXyxy {
  return boxXyxy(cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2)
}

/** Centre form of a corner box; not clamped. */
export function xyxyToCxcywh([x1, y1, x2, y2]: BoxXyxy): BoxCxcywh {
  return boxCxcywh((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1)
}

/**
 * A model's box on an image of `imageWidth` x `imageHeight` pixels, clamped to it.
 * Null when a coordinate is not finite or less than one pixel is left in either direction.
 */
export function cxcywhToXywhPixels(box: BoxCxcywh, imageWidth: number, imageHeight: number): BoxXywhPixels | null {
  const [x1, y1, x2, y2] = cxcywhToXyxy(box)
  if (!Number.isFinite(x1 + y1 + x2 + y2)) return null
  const left = clamp(x1 * imageWidth, 0, imageWidth)
  const top = clamp(y1 * imageHeight, 0, imageHeight)
  const width = clamp(x2 * imageWidth, 0, imageWidth) - left
  const height = clamp(y2 * imageHeight, 0, imageHeight) - top
  return width >= 1 && height >= 1 ? boxXywhPixels(left, top, width, height) : null
}

/** A pixel box in the model's words; not clamped. */
export function xywhPixelsToCxcywh(
  [x, y, width, height]: BoxXywhPixels,
  imageWidth: number,
  imageHeight: number,
): BoxCxcywh {
  return boxCxcywh(
    (x + width / 2) / imageWidth,
    (y + height / 2) / imageHeight,
    width / imageWidth,
    height / imageHeight,
  )
}

function clamp(value: number, low: number, high: number): number {
  return Math.min(Math.max(value, low), high)
}
