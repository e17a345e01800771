/** Where the picture stands on the screen. Pure: screen = image * zoom + offset, in CSS pixels. */
import type { BboxXywh } from '../../db/records/records.ts'

export interface Viewport {
  readonly zoom: number
  readonly x: number
  readonly y: number
}

export interface Size {
  readonly width: number
  readonly height: number
}

/** Room kept free around the picture: the floating bar needs the lower edge. */
export interface Insets {
  readonly top: number
  readonly right: number
  readonly bottom: number
  readonly left: number
}

export const MIN_ZOOM = 0.02
export const MAX_ZOOM = 40

const clamp = (value: number, low: number, high: number) => Math.min(high, Math.max(low, value))

/** The whole picture, centred in what the insets leave; small pictures grow at most fourfold. */
export function wholePicture(image: Size, view: Size, insets: Insets): Viewport {
  const width = Math.max(40, view.width - insets.left - insets.right)
  const height = Math.max(40, view.height - insets.top - insets.bottom)
  const zoom = clamp(Math.min(width / image.width, height / image.height), MIN_ZOOM, 4)
  return {
    zoom,
    x: insets.left + (width - image.width * zoom) / 2,
    y: insets.top + (height - image.height * zoom) / 2,
  }
}

/** Zooms to `zoom` while the image point under the screen point `(x, y)` stays where it is. */
export function zoomAt(viewport: Viewport, zoom: number, x: number, y: number): Viewport {
  const next = clamp(zoom, MIN_ZOOM, MAX_ZOOM)
  const ratio = next / viewport.zoom
  return { zoom: next, x: x - (x - viewport.x) * ratio, y: y - (y - viewport.y) * ratio }
}

/** Moves the picture, keeping at least `margin` pixels of it in sight. */
export function pan(viewport: Viewport, dx: number, dy: number, image: Size, view: Size, margin = 60): Viewport {
  const { zoom } = viewport
  return {
    zoom,
    x: clamp(viewport.x + dx, margin - image.width * zoom, view.width - margin),
    y: clamp(viewport.y + dy, margin - image.height * zoom, view.height - margin),
  }
}

/** Zoomed so that the box fills about a third of the free room. */
export function closeUp(box: BboxXywh, view: Size, insets: Insets, image: Size): Viewport {
  const width = Math.max(40, view.width - insets.left - insets.right)
  const height = Math.max(40, view.height - insets.top - insets.bottom)
  const whole = wholePicture(image, view, insets)
  const zoom = clamp(Math.min(width / 3 / box[2], height / 3 / box[3]), whole.zoom, 8)
  return {
    zoom,
    x: insets.left + width / 2 - (box[0] + box[2] / 2) * zoom,
    y: insets.top + height / 2 - (box[1] + box[3] / 2) * zoom,
  }
}

/** Moves just as much as it takes to bring the box into the free room; unchanged when it is there. */
export function reveal(viewport: Viewport, box: BboxXywh, view: Size, insets: Insets): Viewport {
  const margin = 16
  const shift = (start: number, length: number, low: number, high: number) => {
    const end = start + length
    if (length > high - low) return (low + high) / 2 - (start + end) / 2
    if (start < low) return low - start
    return end > high ? high - end : 0
  }
  const { zoom } = viewport
  const dx = shift(box[0] * zoom + viewport.x, box[2] * zoom, insets.left + margin, view.width - insets.right - margin)
  const dy = shift(box[1] * zoom + viewport.y, box[3] * zoom, insets.top + margin, view.height - insets.bottom - margin)
  return dx === 0 && dy === 0 ? viewport : { zoom, x: viewport.x + dx, y: viewport.y + dy }
}
