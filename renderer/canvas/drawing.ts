/** A box between two corners: placed by the pointer (a drag, or two clicks) or by keys, with the same steps. */
import type { BboxXywh } from '../../db/records/records.ts'
import type { Overlay, Scene } from './activeBox.ts'
import { boxBetween, clampPoint, type Point } from './boxMath.ts'

interface Hooks {
  /** The middle of what is in sight, in image pixels: where the cursor of the keys starts. */
  middle(): Point
  paint(): void
  drawn(bboxXywh: BboxXywh): void
}

export class Drawing {
  /** The first corner, once it is placed. */
  start: Point | null = null
  private readonly scene: Scene
  private readonly overlay: Overlay
  private readonly hooks: Hooks

  constructor(scene: Scene, overlay: Overlay, hooks: Hooks) {
    this.scene = scene
    this.overlay = overlay
    this.hooks = hooks
  }

  /** Moves the cursor to an image point; the draft follows. */
  moveTo(point: Point): void {
    const at = clampPoint(point, this.scene.image)
    this.overlay.cursor = at
    this.overlay.draft = this.start === null ? null : boxBetween(this.start, at, this.scene.image)
    this.hooks.paint()
  }

  /** Moves the cursor by whole pixels. */
  moveBy(dx: number, dy: number): void {
    const from = this.overlay.cursor ?? clampPoint(this.hooks.middle(), this.scene.image)
    this.moveTo({ x: Math.round(from.x + dx), y: Math.round(from.y + dy) })
  }

  /** First corner, then second: the box leaves as an intent. */
  placeCorner(): void {
    if (this.overlay.cursor === null) this.moveBy(0, 0)
    const at = this.overlay.cursor
    if (at === null) return
    if (this.start === null) {
      this.start = at
      return
    }
    const box = boxBetween(this.start, at, this.scene.image)
    this.cancel()
    if (box !== null) this.hooks.drawn(box)
  }

  /** Forgets the first corner. @returns whether there was one */
  cancel(): boolean {
    const had = this.start !== null
    this.start = null
    this.overlay.draft = null
    this.hooks.paint()
    return had
  }
}
