/**
 * What the pointer and the wheel do. Pointer events are looked at before fabric sees mouse events; whatever is handled
 * here is kept from it, so fabric's own part is only to drag and resize the current box.
 */
import type { Stage } from './stage.ts'

/** A press that moves less than this is a click. CSS pixels. */
const CLICK_SLACK = 4

/** Held by the space bar: the pointer pans whatever the tool is. Shared with the keys, for which a tap means "skip". */
export const spaceBar = { held: false, panned: false }

/** Listens on the stage's host. @returns what stops it */
export function attachPointer(stage: Stage): () => void {
  const { host } = stage
  let panning: { id: number; x: number; y: number; moved: number; clears: boolean } | null = null
  let drawing: { id: number; x: number; y: number } | null = null

  const local = (event: MouseEvent) => {
    const rect = host.getBoundingClientRect()
    return { x: event.clientX - rect.left, y: event.clientY - rect.top }
  }
  const take = (event: PointerEvent) => {
    event.preventDefault() // no compatibility mouse events: fabric does not hear of it
    event.stopPropagation()
    host.setPointerCapture(event.pointerId)
  }

  const down = (event: PointerEvent) => {
    host.closest<HTMLElement>('[data-pane="canvas"]')?.focus({ preventScroll: true })
    const { x, y } = local(event)
    const pans = event.button === 1 || (event.button === 0 && (spaceBar.held || stage.tool === 'pan'))
    if (pans) {
      take(event)
      panning = { id: event.pointerId, x, y, moved: 0, clears: false }
      stage.canvas.setCursor('grabbing')
      return
    }
    if (event.button !== 0) return
    const point = stage.toImage(x, y)
    if (stage.tool === 'draw') {
      take(event)
      drawing = { id: event.pointerId, x, y }
      stage.drawing.moveTo(point)
      if (stage.drawing.start === null) stage.drawing.placeCorner()
      return
    }
    if (stage.current.onHandle(x, y)) return // fabric drags it
    const hit = stage.layer.hit(point.x, point.y, 3 / stage.scene.viewport.zoom)
    if (hit !== null && hit.id === stage.current.info?.id) return
    take(event)
    if (hit !== null) return stage.intents.select(hit.id)
    // on the empty picture: a drag pans, a click lets go of the region
    panning = { id: event.pointerId, x, y, moved: 0, clears: true }
  }

  const move = (event: PointerEvent) => {
    const { x, y } = local(event)
    if (panning?.id === event.pointerId) {
      const dx = x - panning.x
      const dy = y - panning.y
      panning = { ...panning, x, y, moved: panning.moved + Math.abs(dx) + Math.abs(dy) }
      if (panning.moved > CLICK_SLACK) {
        spaceBar.panned = spaceBar.held
        stage.panBy(dx, dy)
      }
      return
    }
    if (stage.tool === 'draw') return stage.drawing.moveTo(stage.toImage(x, y))
    if (event.buttons !== 0) return
    const point = stage.toImage(x, y)
    const hit = stage.current.onHandle(x, y) ? null : stage.layer.hit(point.x, point.y, 3 / stage.scene.viewport.zoom)
    stage.intents.hover(hit?.id ?? null)
  }

  const up = (event: PointerEvent) => {
    if (panning?.id === event.pointerId) {
      if (panning.clears && panning.moved <= CLICK_SLACK) stage.intents.select(null)
      panning = null
      stage.canvas.setCursor(stage.canvas.defaultCursor)
    }
    if (drawing?.id === event.pointerId) {
      const { x, y } = local(event)
      const dragged = Math.hypot(x - drawing.x, y - drawing.y) > CLICK_SLACK
      const corner = stage.drawing.start
      const secondClick = corner !== null && stage.overlay.draft !== null
      // a drag ends at the release; a click waits for the second one
      if (dragged || secondClick) stage.drawing.placeCorner()
      drawing = null
    }
  }

  const leave = () => {
    stage.intents.hover(null)
    if (stage.tool === 'draw' && stage.drawing.start === null) {
      stage.overlay.cursor = null
      stage.paint()
    }
  }

  const wheel = (event: WheelEvent) => {
    event.preventDefault()
    const { x, y } = local(event)
    const unit = event.deltaMode === 1 ? 16 : 1
    if (event.ctrlKey || event.metaKey) {
      const step = Math.max(-60, Math.min(60, event.deltaY * unit))
      stage.zoomBy(Math.exp(-step / 150), x, y)
      return
    }
    const sideways = event.shiftKey && event.deltaX === 0
    stage.panBy(-(sideways ? event.deltaY : event.deltaX) * unit, -(sideways ? 0 : event.deltaY) * unit)
  }

  const options = { capture: true } as const
  host.addEventListener('pointerdown', down, options)
  host.addEventListener('pointermove', move, options)
  host.addEventListener('pointerup', up, options)
  host.addEventListener('pointercancel', up, options)
  host.addEventListener('pointerleave', leave)
  host.addEventListener('wheel', wheel, { passive: false, capture: true })
  return () => {
    host.removeEventListener('pointerdown', down, options)
    host.removeEventListener('pointermove', move, options)
    host.removeEventListener('pointerup', up, options)
    host.removeEventListener('pointercancel', up, options)
    host.removeEventListener('pointerleave', leave)
    host.removeEventListener('wheel', wheel, { capture: true })
  }
}
