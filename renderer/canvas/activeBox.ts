/**
 * The fabric objects that exist one at a time: the current box with its handles, and the overlay for the hovered box,
 * boxes lit by a phrase, and the box being drawn. They paint in screen pixels like the layer below them.
 */
import { FabricObject, Rect } from 'fabric'
import type { BboxXywh } from '../../db/records/records.ts'
import type { LitBox } from '../stores/view.ts'
import { type BoxView, labelColour, stateColour } from './boxLayer.ts'
import type { Point } from './boxMath.ts'
import { chip, screenContext } from './paint.ts'
import type { Palette } from './palette.ts'
import type { Size, Viewport } from './viewport.ts'

/** What both objects need to paint: colours, and where the picture stands. */
export interface Scene {
  palette: Palette | null
  viewport: Viewport
  view: Size
  image: Size
}

/** The box in question: ochre with a white halo, eight handles, movable. */
export class CurrentBox extends Rect {
  static override type = 'GromaticCurrentBox'
  readonly scene: Scene
  info: BoxView | null = null
  /** With keys: its line is heavier, and the decision bar says what the keys do. */
  editing = false

  constructor(scene: Scene) {
    super({
      originX: 'left',
      originY: 'top',
      strokeWidth: 0,
      fill: 'transparent',
      objectCaching: false,
      hasBorders: false,
      lockRotation: true,
      lockScalingFlip: true,
      transparentCorners: false,
      cornerColor: '#ffffff',
      cornerStrokeColor: '#15171a',
      cornerSize: 8,
      touchCornerSize: 22,
      borderScaleFactor: 1,
      hoverCursor: 'move',
    })
    this.scene = scene
    this.setControlsVisibility({ mtr: false })
  }

  /** The box as it stands now, also in the middle of a drag. */
  bbox(): BboxXywh {
    return [this.left, this.top, this.width * this.scaleX, this.height * this.scaleY]
  }

  /** Puts it somewhere; a drag's scale is folded into the size. */
  place([left, top, width, height]: BboxXywh): void {
    this.set({ left, top, width, height, scaleX: 1, scaleY: 1 })
    this.setCoords()
  }

  /** Whether a screen point is on its edge, where the handles are. */
  onHandle(x: number, y: number): boolean {
    if (!this.visible) return false
    const [bx, by, bw, bh] = this.bbox()
    const { zoom, x: ox, y: oy } = this.scene.viewport
    const [left, top] = [bx * zoom + ox, by * zoom + oy]
    const [right, bottom] = [left + bw * zoom, top + bh * zoom]
    const near = 7
    const inside = x > left - near && x < right + near && y > top - near && y < bottom + near
    const deep = x > left + near && x < right - near && y > top + near && y < bottom - near
    return inside && !deep
  }

  override render(ctx: CanvasRenderingContext2D): void {
    const { palette, viewport, view } = this.scene
    if (palette === null || !this.visible) return
    const restore = screenContext(ctx, this.canvas?.getRetinaScaling() ?? 1)
    const [bx, by, bw, bh] = this.bbox()
    const x = Math.round(bx * viewport.zoom + viewport.x)
    const y = Math.round(by * viewport.zoom + viewport.y)
    const width = Math.round(bw * viewport.zoom)
    const height = Math.round(bh * viewport.zoom)
    ctx.strokeStyle = '#ffffff'
    ctx.lineWidth = this.editing ? 6 : 5
    ctx.strokeRect(x, y, width, height)
    ctx.strokeStyle = palette.accent
    ctx.lineWidth = this.editing ? 3 : 2
    ctx.strokeRect(x, y, width, height)
    if (this.info !== null) {
      const { label, score, status } = this.info
      chip(ctx, palette, {
        x: x - 3,
        y: y - 3,
        label,
        score: status === 'proposed' ? score : null,
        fill: palette.accent,
        maxWidth: Math.max(160, width),
        view,
      })
    }
    restore()
  }
}

/** Everything that comes and goes above the boxes. */
export class Overlay extends FabricObject {
  static override type = 'GromaticOverlay'
  readonly scene: Scene
  hovered: BoxView | null = null
  lit: readonly LitBox[] = []
  /** The box being drawn. */
  draft: BboxXywh | null = null
  /** The drawing tool's place, for its cross-hair. Image pixels. */
  cursor: Point | null = null

  constructor(scene: Scene) {
    super({ selectable: false, evented: false, objectCaching: false, excludeFromExport: true })
    this.scene = scene
  }

  override render(ctx: CanvasRenderingContext2D): void {
    const { palette } = this.scene
    if (palette === null) return
    const restore = screenContext(ctx, this.canvas?.getRetinaScaling() ?? 1)
    if (this.hovered !== null) this.paintHovered(ctx, palette, this.hovered)
    for (const box of this.lit) this.paintLit(ctx, palette, box)
    if (this.cursor !== null) this.paintCrossHair(ctx, this.cursor)
    if (this.draft !== null) this.paintDraft(ctx, palette, this.draft)
    restore()
  }

  private toScreen([x, y, width, height]: BboxXywh): [number, number, number, number] {
    const { zoom, x: dx, y: dy } = this.scene.viewport
    return [Math.round(x * zoom + dx), Math.round(y * zoom + dy), Math.round(width * zoom), Math.round(height * zoom)]
  }

  private paintHovered(ctx: CanvasRenderingContext2D, palette: Palette, box: BoxView): void {
    const [x, y, width, height] = this.toScreen(box.bboxXywh)
    const colour = stateColour(palette, box.status)
    ctx.globalAlpha = 0.14
    ctx.fillStyle = colour
    ctx.fillRect(x, y, width, height)
    ctx.globalAlpha = 1
    ctx.strokeStyle = 'rgb(255 255 255 / 85%)'
    ctx.lineWidth = 4
    ctx.strokeRect(x, y, width, height)
    ctx.strokeStyle = colour
    ctx.lineWidth = 2
    ctx.setLineDash(box.status === 'proposed' ? [5, 4] : [])
    ctx.strokeRect(x, y, width, height)
    ctx.setLineDash([])
    const { label, score } = box
    const fill = labelColour(palette, box.status)
    chip(ctx, palette, { x: x - 2, y: y - 2, label, score, fill, maxWidth: 240, view: this.scene.view })
  }

  private paintLit(ctx: CanvasRenderingContext2D, palette: Palette, { bboxXywh, label }: LitBox): void {
    const [x, y, width, height] = this.toScreen(bboxXywh)
    ctx.strokeStyle = 'rgb(255 255 255 / 90%)'
    ctx.lineWidth = 6
    ctx.strokeRect(x, y, width, height)
    ctx.strokeStyle = palette.lit
    ctx.lineWidth = 3
    ctx.strokeRect(x, y, width, height)
    chip(ctx, palette, {
      x: x - 3,
      y: y - 3,
      label,
      score: null,
      fill: palette.lit,
      maxWidth: 200,
      view: this.scene.view,
    })
  }

  private paintCrossHair(ctx: CanvasRenderingContext2D, at: Point): void {
    const { zoom, x, y } = this.scene.viewport
    const { width, height } = this.scene.view
    const sx = Math.round(at.x * zoom + x) + 0.5
    const sy = Math.round(at.y * zoom + y) + 0.5
    for (const [colour, dash] of [
      ['rgb(0 0 0 / 55%)', []],
      ['rgb(255 255 255 / 90%)', [4, 4]],
    ] as const) {
      ctx.strokeStyle = colour
      ctx.lineWidth = 1
      ctx.setLineDash([...dash])
      ctx.beginPath()
      ctx.moveTo(sx, 0)
      ctx.lineTo(sx, height)
      ctx.moveTo(0, sy)
      ctx.lineTo(width, sy)
      ctx.stroke()
    }
    ctx.setLineDash([])
  }

  private paintDraft(ctx: CanvasRenderingContext2D, palette: Palette, box: BboxXywh): void {
    const [x, y, width, height] = this.toScreen(box)
    ctx.strokeStyle = '#ffffff'
    ctx.lineWidth = 4
    ctx.strokeRect(x, y, width, height)
    ctx.strokeStyle = palette.accent
    ctx.lineWidth = 2
    ctx.strokeRect(x, y, width, height)
    const size = `${Math.round(box[2])} × ${Math.round(box[3])}`
    const fill = palette.accent
    chip(ctx, palette, { x: x - 2, y: y - 2, label: size, score: null, fill, maxWidth: 200, view: this.scene.view })
  }
}
