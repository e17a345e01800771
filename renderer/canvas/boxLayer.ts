/**
 * The one fabric object that paints all idle boxes. It works in screen pixels (lines stay two pixels wide and crisp at
 * any zoom), asks a flatbush index for what is in sight, and strokes each state as a single path: thousands of boxes
 * are a handful of canvas calls. Only the hovered and the current box are objects of their own.
 */
import { FabricObject } from 'fabric'
import Flatbush from 'flatbush'
import type { AnnotationStatus, BboxXywh } from '../../db/records/records.ts'
import { chip, screenContext } from './paint.ts'
import type { Palette } from './palette.ts'
import type { Size, Viewport } from './viewport.ts'

/** What the canvas knows of a region. */
export interface BoxView {
  readonly id: number
  readonly bboxXywh: BboxXywh
  readonly status: AnnotationStatus
  /** Class, or the caption where there is none. */
  readonly label: string
  /** Shown beside a proposal's label. */
  readonly score: number | null
}

/** With more boxes than this in sight, only those wide enough for their label carry one. */
const LABEL_ALL = 40
/**
 * With more boxes than this in sight dashes run together and halos hide the picture, and both are the dear part of
 * painting: proposals are then thin lines, accepted ones heavy.
 */
const CROWD = 400

const DASH = [5, 4]

export class BoxLayer extends FabricObject {
  static override type = 'GromaticBoxLayer'
  private boxes: readonly BoxView[] = []
  private index: Flatbush | null = null
  private palette: Palette | null = null
  /** Painted by objects of their own. */
  private apart: ReadonlySet<number> = new Set()
  private viewport: Viewport = { zoom: 1, x: 0, y: 0 }
  private view: Size = { width: 1, height: 1 }
  /** Everything else on the picture steps back behind a veil with a hole at each of these. */
  private spotlight: readonly BboxXywh[] = []
  private image: Size = { width: 1, height: 1 }

  constructor() {
    super({ selectable: false, evented: false, objectCaching: false, excludeFromExport: true })
  }

  /** Replaces the boxes and their index. Rejected ones are not painted, so they are not here. */
  setBoxes(boxes: readonly BoxView[]): void {
    this.boxes = boxes
    this.index = null
    if (boxes.length === 0) return
    const index = new Flatbush(boxes.length)
    for (const { bboxXywh: b } of boxes) index.add(b[0], b[1], b[0] + b[2], b[1] + b[3])
    index.finish()
    this.index = index
  }

  setScene(scene: {
    palette?: Palette
    apart?: ReadonlySet<number>
    spotlight?: readonly BboxXywh[]
    image?: Size
  }): void {
    if (scene.palette !== undefined) this.palette = scene.palette
    if (scene.apart !== undefined) this.apart = scene.apart
    if (scene.spotlight !== undefined) this.spotlight = scene.spotlight
    if (scene.image !== undefined) this.image = scene.image
  }

  setViewport(viewport: Viewport, view: Size): void {
    this.viewport = viewport
    this.view = view
  }

  /** The smallest box at an image point, within `slack` image pixels; what is on top is what one meant. */
  hit(x: number, y: number, slack: number): BoxView | null {
    const found = this.index?.search(x - slack, y - slack, x + slack, y + slack) ?? []
    let best: BoxView | null = null
    for (const i of found) {
      const box = this.boxes[i]
      if (box === undefined) continue
      if (best === null || box.bboxXywh[2] * box.bboxXywh[3] < best.bboxXywh[2] * best.bboxXywh[3]) best = box
    }
    return best
  }

  /** Painted in screen pixels, past fabric's own transform, cache and culling. */
  override render(ctx: CanvasRenderingContext2D): void {
    const palette = this.palette
    if (palette === null) return
    const restore = screenContext(ctx, this.canvas?.getRetinaScaling() ?? 1)
    this.paintVeil(ctx, palette)
    const { zoom, x, y } = this.viewport
    const inSight =
      this.index?.search(-x / zoom, -y / zoom, (this.view.width - x) / zoom, (this.view.height - y) / zoom) ?? []
    inSight.sort((a, b) => a - b)
    const visible = inSight.map((i) => this.boxes[i]!).filter((box) => !this.apart.has(box.id))
    this.paintLines(ctx, palette, visible)
    this.paintLabels(ctx, palette, visible)
    restore()
  }

  private paintVeil(ctx: CanvasRenderingContext2D, palette: Palette): void {
    if (this.spotlight.length === 0) return
    const { zoom, x, y } = this.viewport
    ctx.fillStyle = palette.veil
    ctx.beginPath()
    ctx.rect(x, y, this.image.width * zoom, this.image.height * zoom)
    // wound the other way round: overlapping holes stay holes
    for (const [bx, by, bw, bh] of this.spotlight) {
      ctx.rect((bx + bw) * zoom + x, by * zoom + y, -bw * zoom, bh * zoom)
    }
    ctx.fill('nonzero')
  }

  private paintLines(ctx: CanvasRenderingContext2D, palette: Palette, visible: readonly BoxView[]): void {
    const { zoom, x, y } = this.viewport
    const crowd = visible.length > CROWD
    for (const status of ['proposed', 'accepted', 'edited'] as const) {
      const boxes = visible.filter((box) => box.status === status)
      // rectangles one by one: their own path in the rasteriser, five times as fast as one long path
      const strokeAll = () => {
        for (const { bboxXywh: b } of boxes) {
          const left = Math.round(b[0] * zoom + x)
          const top = Math.round(b[1] * zoom + y)
          ctx.strokeRect(left, top, Math.round(b[2] * zoom), Math.round(b[3] * zoom))
        }
      }
      if (!crowd) {
        ctx.strokeStyle = palette.halo
        ctx.lineWidth = 4
        strokeAll()
      }
      ctx.strokeStyle = stateColour(palette, status)
      ctx.lineWidth = crowd && status === 'proposed' ? 1 : 2
      ctx.setLineDash(status === 'proposed' && !crowd ? DASH : [])
      strokeAll()
      ctx.setLineDash([])
    }
  }

  private paintLabels(ctx: CanvasRenderingContext2D, palette: Palette, visible: readonly BoxView[]): void {
    const { zoom, x, y } = this.viewport
    const all = visible.length <= LABEL_ALL
    for (const box of visible) {
      const width = box.bboxXywh[2] * zoom
      if (!all && width < 48) continue
      chip(ctx, palette, {
        x: Math.round(box.bboxXywh[0] * zoom + x) - 1,
        y: Math.round(box.bboxXywh[1] * zoom + y) - 1,
        label: box.label,
        score: box.status === 'proposed' ? box.score : null,
        fill: labelColour(palette, box.status),
        maxWidth: all ? Math.max(140, width) : width,
        view: this.view,
      })
    }
  }
}

/** The colour of a state; the line (dashed, solid) says it a second time. */
export function stateColour(palette: Palette, status: AnnotationStatus): string {
  const colours = { proposed: palette.proposed, accepted: palette.ok, edited: palette.edited, rejected: palette.no }
  return colours[status]
}

/** The ground of a label, dark or light enough for its words. */
export const labelColour = (palette: Palette, status: AnnotationStatus): string =>
  status === 'proposed' ? palette.proposedText : stateColour(palette, status)
