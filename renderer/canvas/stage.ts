/**
 * The canvas behind one boundary: states in, intents out. It owns fabric and knows nothing of stores or React; what it
 * paints is a view of the records, what the hand does leaves as an intent and comes back as a record.
 */
import { Canvas } from 'fabric'
import type { BboxXywh } from '../../db/records/records.ts'
import type { LitBox, Tool } from '../stores/view.ts'
import { CurrentBox, Overlay, type Scene } from './activeBox.ts'
import { BoxLayer, type BoxView } from './boxLayer.ts'
import { cutInside, moveInside, type Point, sameBox } from './boxMath.ts'
import { Drawing } from './drawing.ts'
import { forgetWidths } from './paint.ts'
import { type Palette, readPalette } from './palette.ts'
import { Picture } from './picture.ts'
import { attachPointer } from './pointer.ts'
import { closeUp, type Insets, pan, reveal, type Size, type Viewport, wholePicture, zoomAt } from './viewport.ts'

/** What the hand asks for. */
export interface Intents {
  select(id: number | null): void
  hover(id: number | null): void
  /** One drag ended: one revision. */
  changed(id: number, bboxXywh: BboxXywh): void
  drawn(bboxXywh: BboxXywh): void
  zoomed(zoom: number): void
  /** Whether the pixels of the image on screen could be shown. */
  pixels(imageId: number, shown: boolean): void
}

/** Room for labels above, the tools on the left, the decision bar below. */
const INSETS: Insets = { top: 28, right: 28, bottom: 124, left: 64 }
const CONTROL_ROOM = 26

export class Stage {
  readonly host: HTMLElement
  readonly intents: Intents
  readonly scene: Scene = {
    palette: null,
    viewport: { zoom: 1, x: 0, y: 0 },
    view: { width: 1, height: 1 },
    image: { width: 1, height: 1 },
  }
  readonly layer = new BoxLayer()
  readonly current = new CurrentBox(this.scene)
  readonly overlay = new Overlay(this.scene)
  readonly canvas: Canvas
  readonly drawing: Drawing
  tool: Tool = 'select'
  private readonly picture = new Picture(this.scene)
  private readonly element = document.createElement('canvas')
  private readonly detach: () => void
  private boxes: ReadonlyMap<number, BoxView> = new Map()
  private currentId: number | null = null
  private imageId: number | null = null
  private url = ''
  private readonly loading = new Set<HTMLImageElement>()
  private fitted = true
  private dimRest = true
  private dragFrom: BboxXywh | null = null

  constructor(host: HTMLElement, intents: Intents) {
    this.host = host
    this.intents = intents
    host.append(this.element)
    this.canvas = new Canvas(this.element, {
      renderOnAddRemove: false,
      selection: false,
      uniformScaling: false,
      stopContextMenu: true,
      preserveObjectStacking: true,
      skipOffscreen: false, // the objects cull for themselves; fabric would cull by sizes they do not have
    })
    this.canvas.add(this.picture, this.layer, this.current, this.overlay)
    this.current.visible = false
    this.canvas.on('before:transform', () => {
      this.dragFrom = this.current.bbox()
    })
    this.canvas.on('mouse:up', () => {
      this.dragFrom = null
    })
    this.canvas.on('object:moving', () => {
      const [left, top] = moveInside(this.current.bbox(), this.scene.image)
      this.current.set({ left, top })
    })
    this.canvas.on('object:modified', () => this.dropped())
    this.drawing = new Drawing(this.scene, this.overlay, {
      middle: () => this.toImage(this.scene.view.width / 2, (this.scene.view.height - INSETS.bottom) / 2),
      paint: () => this.paint(),
      drawn: intents.drawn,
    })
    this.detach = attachPointer(this)
    this.retheme()
  }

  /** Reads the theme's colours again. */
  retheme(): void {
    const palette: Palette = readPalette(this.host)
    this.scene.palette = palette
    this.layer.setScene({ palette })
    this.picture.plate = getComputedStyle(this.host).getPropertyValue('--raised').trim()
    forgetWidths()
    this.paint()
  }

  /** Shows an image: its thumbnail at once where that is at hand, then its pixels. */
  setImage(image: (Size & { id: number }) | null, url: string, previewUrl: string): void {
    if (image?.id === this.imageId && url === this.url) return
    const sameSize = image?.width === this.scene.image.width && image.height === this.scene.image.height
    const replaced = image?.id === this.imageId && sameSize
    this.imageId = image?.id ?? null
    this.url = url
    this.picture.element = null
    // leafing through: what was passed by must not hold up what one stops at
    for (const element of this.loading) element.removeAttribute('src')
    this.loading.clear()
    this.drawing.cancel()
    this.picture.visible = image !== null
    if (image === null) {
      this.paint()
      return
    }
    this.scene.image = { width: image.width, height: image.height }
    this.layer.setScene({ image: this.scene.image })
    // a file replaced by one of the same size: what one looks at stays
    if (!replaced) this.fit()
    const load = (address: string, final: boolean) => {
      const element = new Image()
      element.decoding = 'async'
      element.src = address
      this.loading.add(element)
      element.decode().then(
        () => {
          this.loading.delete(element)
          if (this.url !== url || (!final && this.picture.element !== null)) return
          this.picture.element = element
          if (final) this.intents.pixels(image.id, true)
          this.paint()
        },
        () => {
          if (!final || this.url !== url) return
          this.picture.element = null // the words that say so stand on the plate, not on a thumbnail
          this.paint()
          this.intents.pixels(image.id, false)
        },
      )
    }
    load(previewUrl, false)
    load(url, true)
  }

  /** The boxes to paint, in list order. */
  setBoxes(boxes: readonly BoxView[]): void {
    this.boxes = new Map(boxes.map((box) => [box.id, box]))
    this.layer.setBoxes(boxes)
    if (this.overlay.hovered !== null) this.overlay.hovered = this.boxes.get(this.overlay.hovered.id) ?? null
    this.placeCurrent()
    this.paint()
  }

  /** The region in question; `draft` is its box while it is edited with keys. */
  setCurrent(box: BoxView | null, draft: BboxXywh | null, editing: boolean): void {
    const changed = this.currentId !== (box?.id ?? null)
    if (changed) this.letGo()
    this.currentId = box?.id ?? null
    this.current.info = box
    this.current.editing = editing
    if (box === null) {
      this.current.visible = false
      this.canvas.discardActiveObject()
    } else {
      this.current.visible = true
      // under the hand it follows the hand: a caption that arrives meanwhile must not throw it back
      if (changed || this.dragFrom === null) this.current.place(draft ?? box.bboxXywh)
      if (changed) this.canvas.setActiveObject(this.current)
    }
    this.placeCurrent()
    this.paint()
  }

  setHovered(id: number | null): void {
    const hovered = id === null || id === this.currentId ? null : (this.boxes.get(id) ?? null)
    if (hovered === this.overlay.hovered) return
    this.overlay.hovered = hovered
    this.placeCurrent()
    this.paint()
  }

  setLit(lit: readonly LitBox[]): void {
    if (lit === this.overlay.lit) return
    this.overlay.lit = lit
    this.placeCurrent()
    this.paint()
  }

  setTool(tool: Tool): void {
    if (tool !== this.tool) this.drawing.cancel()
    this.tool = tool
    this.overlay.cursor = tool === 'draw' ? this.overlay.cursor : null
    this.current.evented = tool === 'select'
    const cursor = { select: 'default', draw: 'crosshair', pan: 'grab' }[tool]
    this.canvas.defaultCursor = cursor
    this.canvas.setCursor(cursor)
    this.paint()
  }

  setDim(dimRest: boolean): void {
    this.dimRest = dimRest
    this.placeCurrent()
    this.paint()
  }

  setView(view: Size): void {
    if (view.width < 2 || view.height < 2) return
    this.scene.view = view
    this.canvas.setDimensions(view)
    if (this.fitted) this.fit()
    else this.setViewport(this.scene.viewport)
  }

  /** The whole picture. */
  fit(): void {
    this.setViewport(wholePicture(this.scene.image, this.scene.view, this.insets()))
    this.fitted = true
  }

  /** Zooms around a screen point, or the middle. */
  zoomTo(zoom: number, x?: number, y?: number): void {
    const { view, viewport } = this.scene
    this.setViewport(zoomAt(viewport, zoom, x ?? view.width / 2, y ?? (view.height - INSETS.bottom) / 2))
  }

  zoomBy(factor: number, x?: number, y?: number): void {
    this.zoomTo(this.scene.viewport.zoom * factor, x, y)
  }

  panBy(dx: number, dy: number): void {
    this.setViewport(pan(this.scene.viewport, dx, dy, this.scene.image, this.scene.view))
  }

  /** Brings a box into sight; close up when `close`. */
  show(box: BboxXywh, close: boolean): void {
    const { view, viewport, image } = this.scene
    const wasFitted = this.fitted
    const next = close ? closeUp(box, view, this.insets(), image) : reveal(viewport, box, view, this.insets())
    if (next !== viewport) this.setViewport(next)
    else this.fitted = wasFitted
  }

  /** The image point under a screen point (relative to the host). */
  toImage(x: number, y: number): Point {
    const { viewport } = this.scene
    return { x: (x - viewport.x) / viewport.zoom, y: (y - viewport.y) / viewport.zoom }
  }

  paint(): void {
    this.canvas.requestRenderAll()
  }

  dispose(): Promise<boolean> {
    this.detach()
    this.canvas.off()
    const disposed = this.canvas.dispose()
    this.element.remove() // fabric unwraps it and leaves it where it was
    return disposed
  }

  private insets(): Insets {
    // a low window: the picture may go under the bar rather than become a stamp
    return this.scene.view.height < 420 ? { ...INSETS, bottom: 28 } : INSETS
  }

  private setViewport(viewport: Viewport): void {
    this.fitted = false
    const zoomed = viewport.zoom !== this.scene.viewport.zoom
    this.scene.viewport = viewport
    this.layer.setViewport(viewport, this.scene.view)
    this.canvas.setViewportTransform([viewport.zoom, 0, 0, viewport.zoom, viewport.x, viewport.y])
    if (zoomed) this.intents.zoomed(viewport.zoom)
    this.placeCurrent()
    this.paint()
  }

  /** Which boxes are painted apart from the layer, where the veil has its hole, which handles fit. */
  private placeCurrent(): void {
    const box = this.currentId === null ? null : this.current.info
    const apart = new Set<number>()
    if (box !== null) apart.add(box.id)
    if (this.overlay.hovered !== null) apart.add(this.overlay.hovered.id)
    this.layer.setScene({ apart, spotlight: this.dimRest ? this.spotlight() : [] })
    if (box === null) return
    const [, , width, height] = this.current.bbox()
    const wide = width * this.scene.viewport.zoom >= CONTROL_ROOM
    const high = height * this.scene.viewport.zoom >= CONTROL_ROOM
    this.current.setControlsVisibility({ mt: wide, mb: wide, ml: high, mr: high, mtr: false })
    this.current.setCoords()
  }

  /** What stands out: the boxes of a phrase while one is touched, else the box in question. */
  private spotlight(): BboxXywh[] {
    if (this.overlay.lit.length > 0) return this.overlay.lit.map((box) => box.bboxXywh)
    return this.currentId === null ? [] : [this.current.bbox()]
  }

  /** Ends a drag whose region is in question no longer: what the hand does from now on is not meant for the next one. */
  private letGo(): void {
    if (this.dragFrom === null) return
    this.dragFrom = null
    this.canvas.endCurrentTransform()
  }

  private dropped(): void {
    const before = this.dragFrom
    if (before === null) return
    const after = cutInside(this.current.bbox(), this.scene.image)
    this.current.place(after)
    this.placeCurrent()
    this.paint()
    if (this.currentId === null || sameBox(before, after)) return
    this.intents.changed(this.currentId, after)
  }
}
