/** Boxes of other programs: into pixels, onto the picture, out of polygons and run lengths. PURE. */
import type { AnnotationExtras, BboxXywh } from '../records/records.ts'

export const MAX_VERTICES = 10_000
export type Segmentation = NonNullable<AnnotationExtras['segmentation']>
type Rle = Exclude<Segmentation, number[][]>

/** The part of a box that lies on the picture, unrounded; null when nothing does, or when a number is none. */
export function clampBbox([x, y, w, h]: BboxXywh, width: number, height: number): BboxXywh | null {
  if (![x, y, w, h].every(Number.isFinite)) return null
  const clampSide = (start: number, length: number, limit: number): [number, number] => {
    if (start >= 0 && start + length <= limit) return [start, length] // untouched, to the last bit
    const from = Math.max(0, start)
    return [from, Math.min(limit, start + length) - from]
  }
  const [left, boxWidth] = clampSide(x, w, width)
  const [top, boxHeight] = clampSide(y, h, height)
  return boxWidth > 0 && boxHeight > 0 ? [left + 0, top + 0, boxWidth, boxHeight] : null
}

export type Placed = { bbox: BboxXywh; cut: boolean } | { reason: string }

/** The part of a box that lies on the picture; the reason when nothing does. Edges off by rounding are not called cut. */
export function placeBbox(given: BboxXywh, relative: boolean, width: number, height: number): Placed {
  const [x, y, w, h] = given
  if (![x, y, w, h].every(Number.isFinite))
    return { reason: `the box [${given.join(', ')}] has a side that is no number` }
  if (w < 0 || h < 0) return { reason: `the box [${given.join(', ')}] has a negative side` }
  if (w === 0 || h === 0) return { reason: `the box [${given.join(', ')}] has no area` }
  const pixels: BboxXywh = relative ? [x * width, y * height, w * width, h * height] : given
  const bbox = clampBbox(pixels, width, height)
  if (bbox === null) return { reason: `the box [${given.join(', ')}] lies outside of the image (${width} x ${height})` }
  const slack = 0.5
  const cut =
    pixels[0] < -slack ||
    pixels[1] < -slack ||
    pixels[0] + pixels[2] > width + slack ||
    pixels[1] + pixels[3] > height + slack
  return { bbox, cut }
}

/** The box round points; null for fewer than two different ones, or when one is no number. */
export function boundsOf(points: Iterable<readonly [number, number]>): BboxXywh | null {
  let left = Number.POSITIVE_INFINITY
  let top = Number.POSITIVE_INFINITY
  let right = Number.NEGATIVE_INFINITY
  let bottom = Number.NEGATIVE_INFINITY
  for (const [x, y] of points) {
    if (!Number.isFinite(x) || !Number.isFinite(y)) return null
    left = Math.min(left, x)
    right = Math.max(right, x)
    top = Math.min(top, y)
    bottom = Math.max(bottom, y)
  }
  return right > left && bottom > top ? [left, top, right - left, bottom - top] : null
}

/** `[x1, y1, x2, y2, …]` as pairs. */
export function* pairsOf(flat: readonly number[]): Generator<[number, number]> {
  for (let index = 0; index + 1 < flat.length; index += 2) yield [flat[index] as number, flat[index + 1] as number]
}

/** The box round all polygons; null when there is none. */
export function polygonBounds(polygons: readonly (readonly number[])[]): BboxXywh | null {
  return boundsOf(polygons.flatMap((polygon) => [...pairsOf(polygon)]))
}

/** COCO's compressed run lengths: six bits a character, five of number, differences to the run before the last. */
export function decodeRle(text: string): number[] | null {
  const counts: number[] = []
  let position = 0
  while (position < text.length) {
    let value = 0
    let shift = 0
    let more = true
    while (more) {
      const code = text.charCodeAt(position++) - 48
      if (Number.isNaN(code) || code < 0 || code > 63 || shift > 30) return null
      value += (code & 0x1f) * 2 ** shift
      more = (code & 0x20) !== 0
      shift += 5
      if (!more && (code & 0x10) !== 0) value -= 2 ** shift
    }
    if (counts.length > 2) value += counts[counts.length - 2] as number
    if (value < 0) return null
    counts.push(value)
  }
  return counts
}

/** The box of the pixels that run lengths (by columns) mark; null when they mark none. */
function rleBounds(counts: readonly number[], height: number): BboxXywh | null {
  let at = 0
  let left = Number.POSITIVE_INFINITY
  let right = -1
  let top = Number.POSITIVE_INFINITY
  let bottom = -1
  for (const [index, count] of counts.entries()) {
    if (index % 2 === 1 && count > 0) {
      const last = at + count - 1
      const [firstColumn, lastColumn] = [Math.floor(at / height), Math.floor(last / height)]
      left = Math.min(left, firstColumn)
      right = Math.max(right, lastColumn)
      top = Math.min(top, firstColumn === lastColumn ? at % height : 0)
      bottom = Math.max(bottom, firstColumn === lastColumn ? last % height : height - 1)
    }
    at += count
  }
  return right < 0 ? null : [left, top, right - left + 1, bottom - top + 1]
}

/** The part of a polygon on one side of an edge of the picture: `axis` 0 for x, 1 for y. */
function cutPolygon(polygon: readonly number[], axis: 0 | 1, limit: number, keepBelow: boolean): number[] {
  const points = [...pairsOf(polygon)]
  const isIn = (point: readonly [number, number]): boolean => (keepBelow ? point[axis] <= limit : point[axis] >= limit)
  let before = points.at(-1)
  const kept: number[] = []
  for (const point of points) {
    if (before !== undefined && isIn(before) !== isIn(point)) {
      const part = (limit - before[axis]) / (point[axis] - before[axis])
      const other = before[1 - axis] as number
      const crossing = other + part * ((point[1 - axis] as number) - other)
      kept.push(...(axis === 0 ? [limit, crossing] : [crossing, limit]))
    }
    if (isIn(point)) kept.push(...point)
    before = point
  }
  return kept
}

/** The parts of polygons that lie on the picture (Sutherland and Hodgman); the same ones where all of them do. */
export function clampPolygons(polygons: number[][], width: number, height: number): number[][] {
  const isOn = (side: number, index: number): boolean => side >= 0 && side <= (index % 2 === 0 ? width : height)
  if (polygons.every((polygon) => polygon.every(isOn))) return polygons
  const cut = polygons.map((polygon) => {
    const across = cutPolygon(cutPolygon(polygon, 0, 0, false), 0, width, true)
    return cutPolygon(cutPolygon(across, 1, 0, false), 1, height, true)
  })
  return cut.filter((polygon) => polygon.length >= 6)
}

export type ReadSegmentation = { segmentation: Segmentation; bbox: BboxXywh | null } | { reason: string } | null

/** A COCO `segmentation`, checked; null when it says nothing. `size` of the image, where it is known. */
export function readSegmentation(value: unknown): ReadSegmentation {
  if (value === undefined || value === null) return null
  if (Array.isArray(value)) return readPolygons(value)
  if (typeof value !== 'object') return { reason: 'the segmentation is neither polygons nor run lengths' }
  const { size, counts } = value as { size?: unknown; counts?: unknown }
  const sides = Array.isArray(size) && size.length === 2 && size.every((side) => Number.isSafeInteger(side) && side > 0)
  if (!sides) return { reason: 'the run lengths lack their size' }
  const runs = typeof counts === 'string' ? decodeRle(counts) : Array.isArray(counts) ? counts : null
  if (runs === null || !runs.every((run) => Number.isSafeInteger(run) && run >= 0)) {
    return { reason: 'the run lengths cannot be read' }
  }
  const [height, width] = size as [number, number]
  const sum = runs.reduce((total, run) => total + run, 0)
  if (sum !== height * width) return { reason: `the run lengths cover ${sum} pixels of ${height * width}` }
  return { segmentation: { size: [height, width], counts: counts as Rle['counts'] }, bbox: rleBounds(runs, height) }
}

function readPolygons(value: unknown[]): ReadSegmentation {
  if (value.length === 0) return null
  let vertices = 0
  const polygons: number[][] = []
  // some tools leave the outer list out where there is one polygon
  const lists = value.every((side) => typeof side === 'number') ? [value] : value
  for (const polygon of lists) {
    if (!Array.isArray(polygon) || !polygon.every((side) => typeof side === 'number' && Number.isFinite(side))) {
      return { reason: 'a polygon holds something other than numbers' }
    }
    if (polygon.length % 2 !== 0) return { reason: 'a polygon has an odd number of coordinates' }
    vertices += polygon.length / 2
    if (vertices > MAX_VERTICES) return { reason: `the polygons have more than ${MAX_VERTICES} corners` }
    if (polygon.length >= 6) polygons.push(polygon)
  }
  return polygons.length === 0 ? null : { segmentation: polygons, bbox: polygonBounds(polygons) }
}

/** The segmentation of a box where it still is that box's: one that was moved since has none. */
export function fittingSegmentation(extras: AnnotationExtras | undefined, bbox: BboxXywh): Segmentation | null {
  const segmentation = extras?.segmentation
  if (segmentation === undefined) return null
  const read = readSegmentation(segmentation)
  if (read === null || 'reason' in read || read.bbox === null) return null
  const near = read.bbox.every((side, index) => Math.abs(side - (bbox[index] as number)) <= 2)
  return near ? segmentation : null
}

/**
 * A shape of half sides `rx`, `ry` round a centre, turned clockwise: the corners of a rectangle, or of an ellipse the
 * points that its bounds touch. Degrees; all of one unit.
 */
export function turned(
  shape: 'rectangle' | 'ellipse',
  [cx, cy]: readonly [number, number],
  [rx, ry]: readonly [number, number],
  degrees: number,
): { bbox: BboxXywh | null; corners: number[] | null } {
  const [cos, sin] = [Math.cos((degrees * Math.PI) / 180), Math.sin((degrees * Math.PI) / 180)]
  if (shape === 'ellipse') {
    const [w, h] = [Math.hypot(rx * cos, ry * sin), Math.hypot(rx * sin, ry * cos)]
    return { bbox: boundsOf([[cx - w, cy - h], [cx + w, cy + h]]), corners: null } // biome-ignore format: two points
  }
  const corners = [
    [-rx, -ry],
    [rx, -ry],
    [rx, ry],
    [-rx, ry],
  ].flatMap(
    // biome-ignore format: four points
    ([x = 0, y = 0]) => [cx + x * cos - y * sin, cy + x * sin + y * cos],
  )
  return { bbox: polygonBounds([corners]), corners }
}

export const TURNED = 'Turned boxes come in as the upright boxes round them, with their corners as polygons.'

/** Run lengths of a whole image, by columns, of a mask that is given row by row inside a box of whole pixels. */
export function rleOfMask(
  [left, top, width, height]: BboxXywh,
  isSet: (index: number) => boolean,
  image: { width: number; height: number },
): Rle | null {
  if (left < 0 || top < 0 || left + width > image.width || top + height > image.height) return null
  const counts: number[] = []
  let [run, inside] = [left * image.height + top, false]
  for (let column = 0; column < width; column++) {
    for (let row = 0; row < height; row++) {
      if (isSet(row * width + column) === inside) run++
      else {
        counts.push(run)
        run = 1
        inside = !inside
      }
    }
    const rest = column === width - 1 ? 0 : image.height - height
    if (rest === 0) continue
    if (inside) {
      counts.push(run)
      run = rest
      inside = false
    } else run += rest
  }
  const end = image.width * image.height - (counts.reduce((sum, count) => sum + count, 0) + run)
  if (inside) counts.push(run, end)
  else counts.push(run + end)
  if (counts.at(-1) === 0) counts.pop()
  return { size: [image.height, image.width], counts }
}

/** A box as a polygon of its four corners, clockwise from the top left. */
export const cornersOf = ([x, y, w, h]: BboxXywh): number[] => [x, y, x + w, y, x + w, y + h, x, y + h]
