/** Label Studio's shapes: per cent of the image's sides, turned in pixels, their labels beside or inside them. PURE. */
import type { BboxXywh } from '../records/records.ts'
import { boundsOf, MAX_VERTICES, pairsOf, rleOfMask, type Segmentation, TURNED, turned } from './boxes.ts'
import { numberOf, type Row, textOf } from './items.ts'
import { brushBounds, readBrush } from './labelStudioBrush.ts'

/** A shape in parts of the image's sides. */
export interface Place {
  bbox: BboxXywh
  polygon: number[] | null
  /** Of a brush: run lengths of the whole picture. */
  mask?: Segmentation
  note?: string
}

/** Turned shapes are turned in pixels: per cent of two sides are no square. */
function turnedPlace(
  shape: 'rectangle' | 'ellipse',
  [cx, cy]: readonly [number, number],
  [rx, ry]: readonly [number, number],
  degrees: number,
  { width, height }: { width: number; height: number },
): Place | null {
  const { bbox, corners } = turned(shape, [cx * width, cy * height], [rx * width, ry * height], degrees)
  if (bbox === null) return null
  const part = (value: number, index: number): number => value / (index % 2 === 0 ? width : height)
  const polygon = corners?.map(part) ?? null
  return { bbox: bbox.map(part) as BboxXywh, polygon, note: polygon === null ? OF_ELLIPSES : TURNED }
}

const MAX_BRUSH = 2 ** 27

function brushPlace(bytes: readonly unknown[], size: { width: number; height: number }): Place | null {
  const { width, height } = size
  const marked = width * height > MAX_BRUSH ? null : readBrush(bytes, width * height)
  const bounds = marked === null ? null : brushBounds(marked, width)
  if (marked === null || bounds === null) return null
  const [left, top, w, h] = bounds
  const inBox = (index: number): number => (top + Math.floor(index / w)) * width + left + (index % w)
  const mask = rleOfMask(bounds, (index) => marked[inBox(index)] === 1, size)
  return {
    bbox: [left / width, top / height, w / width, h / height],
    polygon: null,
    ...(mask === null ? {} : { mask }),
  }
}

/** `size` of the picture, where the result says it. */
export function placeOf(type: string, value: Row, size: { width: number; height: number } | null): Place | null {
  if (type === 'brushlabels' || type === 'brush')
    return size === null || !Array.isArray(value.rle) ? null : brushPlace(value.rle, size)
  if (type === 'polygonlabels' || type === 'polygon') {
    const points = Array.isArray(value.points) && value.points.length <= MAX_VERTICES ? value.points : []
    const flat = points.flat().map((side) => (typeof side === 'number' ? side / 100 : Number.NaN))
    const bbox = flat.length >= 6 && flat.length % 2 === 0 ? boundsOf(pairsOf(flat)) : null
    return bbox === null ? null : { bbox, polygon: flat }
  }
  const parts = (...names: string[]): number[] => names.map((name) => (numberOf(value[name]) ?? Number.NaN) / 100)
  const degrees = (numberOf(value.rotation) ?? 0) % 360
  if (type === 'ellipselabels' || type === 'ellipse') {
    const [x, y, rx, ry] = parts('x', 'y', 'radiusX', 'radiusY') as [number, number, number, number]
    if (![x, y, rx, ry].every(Number.isFinite)) return null
    if (degrees !== 0 && size !== null) return turnedPlace('ellipse', [x, y], [rx, ry], degrees, size)
    return { bbox: [x - rx, y - ry, 2 * rx, 2 * ry], polygon: null, note: OF_ELLIPSES }
  }
  const [x, y, w, h] = parts('x', 'y', 'width', 'height') as BboxXywh
  if (![x, y, w, h].every(Number.isFinite)) return null
  if (degrees === 0) return { bbox: [x, y, w, h], polygon: null }
  if (size === null) return { bbox: [x, y, w, h], polygon: null, note: 'Boxes that are turned are taken unturned.' }
  // it is turned round its corner at the top left
  const [cos, sin] = [Math.cos((degrees * Math.PI) / 180), Math.sin((degrees * Math.PI) / 180)]
  const [halfWidth, halfHeight] = [(w * size.width) / 2, (h * size.height) / 2]
  const centre = [
    x + (halfWidth * cos - halfHeight * sin) / size.width,
    y + (halfWidth * sin + halfHeight * cos) / size.height,
  ] as const
  return turnedPlace('rectangle', centre, [w / 2, h / 2], degrees, size)
}

const OF_ELLIPSES = 'Of ellipses, the box is taken.'
export const SHAPES = new Set([
  'rectanglelabels',
  'rectangle',
  'polygonlabels',
  'polygon',
  'ellipselabels',
  'ellipse',
  'brushlabels',
  'brush',
])

/** The labels of a shape: with its own kind, or in a result of their own that has its id. */
export function labelsOf(value: Row): string[] {
  for (const name of ['rectanglelabels', 'polygonlabels', 'ellipselabels', 'brushlabels', 'labels', 'choices'])
    if (Array.isArray(value[name])) return value[name].map(textOf).filter((label) => label !== null)
  return []
}
