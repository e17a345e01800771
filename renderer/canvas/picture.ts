/** The photograph: a plain plate until its pixels are there, pixels without smoothing when one looks very closely. */
import { FabricObject } from 'fabric'
import type { Scene } from './activeBox.ts'
import { screenContext } from './paint.ts'

/** From this zoom on single pixels matter more than smooth edges. */
const PIXEL_ZOOM = 4

export class Picture extends FabricObject {
  static override type = 'GromaticPicture'
  readonly scene: Scene
  element: HTMLImageElement | null = null
  plate = '#24282d'

  constructor(scene: Scene) {
    super({ selectable: false, evented: false, objectCaching: false, excludeFromExport: true })
    this.scene = scene
  }

  override render(ctx: CanvasRenderingContext2D): void {
    const { viewport, image } = this.scene
    const restore = screenContext(ctx, this.canvas?.getRetinaScaling() ?? 1)
    const width = image.width * viewport.zoom
    const height = image.height * viewport.zoom
    ctx.fillStyle = this.plate
    ctx.fillRect(viewport.x, viewport.y, width, height)
    if (this.element !== null) {
      ctx.imageSmoothingEnabled = viewport.zoom < PIXEL_ZOOM
      ctx.imageSmoothingQuality = 'medium'
      ctx.drawImage(this.element, viewport.x, viewport.y, width, height)
    }
    restore()
  }
}
