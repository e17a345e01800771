/** Small drawings that the canvas objects share, all in screen pixels. */
import type { Palette } from './palette.ts'
import type { Size } from './viewport.ts'

/** Switches a context to screen pixels. @returns the way back */
export function screenContext(ctx: CanvasRenderingContext2D, ratio: number): () => void {
  ctx.save()
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0)
  return () => ctx.restore()
}

const CHIP_HEIGHT = 17
const PADDING = 6
const widths = new Map<string, number>()

function measure(ctx: CanvasRenderingContext2D, text: string, bold: boolean): number {
  const key = `${bold ? 'b' : 'n'}${text}`
  let width = widths.get(key)
  if (width === undefined) {
    if (widths.size > 5000) widths.clear()
    width = ctx.measureText(text).width
    widths.set(key, width)
  }
  return width
}

/** Measured widths are of the font that was there then; forget them when another arrives. */
export const forgetWidths = (): void => widths.clear()

export interface Chip {
  /** Upper left corner of the box that it sits on. */
  readonly x: number
  readonly y: number
  readonly label: string
  readonly score: number | null
  readonly fill: string
  readonly maxWidth: number
  readonly view: Size
}

/** A label on the upper edge of a box; inside it where there is no room above. */
export function chip(ctx: CanvasRenderingContext2D, palette: Palette, what: Chip): void {
  const score = what.score === null ? '' : what.score.toFixed(2)
  if (what.label === '' && score === '') return
  ctx.font = `650 11px ${palette.font}`
  const scoreWidth = score === '' ? 0 : measure(ctx, score, true)
  ctx.font = `500 11px ${palette.font}`
  const gap = score !== '' && what.label !== '' ? 4 : 0
  const room = what.maxWidth - PADDING * 2 - gap - scoreWidth
  const label = shorten(ctx, what.label, room)
  const labelWidth = measure(ctx, label, false)
  const width = Math.ceil(labelWidth + gap + scoreWidth + PADDING * 2)
  const y = what.y - CHIP_HEIGHT < 0 ? Math.max(0, what.y) : what.y - CHIP_HEIGHT
  const x = Math.min(Math.max(0, what.x), Math.max(0, what.view.width - width))
  ctx.fillStyle = what.fill
  ctx.beginPath()
  ctx.roundRect(x, y, width, CHIP_HEIGHT, [3, 3, 0, 0])
  ctx.fill()
  ctx.fillStyle = palette.onState
  ctx.textBaseline = 'middle'
  const middle = y + CHIP_HEIGHT / 2 + 0.5
  ctx.fillText(label, x + PADDING, middle)
  if (score !== '') {
    ctx.font = `650 11px ${palette.font}`
    ctx.fillText(score, x + PADDING + labelWidth + gap, middle)
  }
}

function shorten(ctx: CanvasRenderingContext2D, text: string, room: number): string {
  if (measure(ctx, text, false) <= room) return text
  let cut = text
  while (cut.length > 1 && measure(ctx, `${cut}…`, false) > room) cut = cut.slice(0, -1)
  return `${cut.trimEnd()}…`
}
