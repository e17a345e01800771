/** Joins the stage to the stores: states flow in when they change, intents become actions. React is not involved. */
import type { Annotation, Category } from '../../db/records/records.ts'
import { createRegion, updateRegion } from '../actions/decide.ts'
import { captionRegions } from '../actions/grounding.ts'
import { selectRegion } from '../actions/select.ts'
import { client } from '../client.ts'
import { isAbove } from '../stores/queue.ts'
import { useRecords } from '../stores/records.ts'
import { orderedRegions } from '../stores/selectors.ts'
import { useView } from '../stores/view.ts'
import type { BoxView } from './boxLayer.ts'
import { type Intents, Stage } from './stage.ts'

let stage: Stage | null = null

/** The stage on screen, for the keys; null on the welcome page. */
export const currentStage = (): Stage | null => stage

/** Told whether an image's pixels could be shown; the canvas says so where not. */
export type OnPixels = Intents['pixels']

const intents = (onPixels: OnPixels): Intents => ({
  select: selectRegion,
  hover: (id) => useView.getState().hoveredId !== id && useView.setState({ hoveredId: id }),
  changed: (id, bboxXywh) => {
    // an edit with keys goes on from where the hand left the box
    if (useView.getState().editing?.field === 'box') useView.setState({ draftBox: bboxXywh })
    void updateRegion(id, { bboxXywh }).then((ok) => ok || push())
  },
  drawn: (bboxXywh) => {
    void createRegion(bboxXywh).then((created) => (created === null ? undefined : captionRegions([created.id])))
  },
  zoomed: (zoom) => useView.setState({ zoom }),
  pixels: onPixels,
})

function toBoxView(annotation: Annotation, categories: ReadonlyMap<number, Category>): BoxView {
  const category = annotation.categoryId === null ? undefined : categories.get(annotation.categoryId)
  return {
    id: annotation.id,
    bboxXywh: annotation.bboxXywh,
    status: annotation.status,
    label: category?.name ?? annotation.caption ?? '',
    score: annotation.modelScore,
  }
}

let pushed: { regions: readonly Annotation[]; threshold: number; regionId: number | null; categories: unknown } | null =
  null

/** Brings everything that changed to the stage. */
function push(): void {
  if (stage === null) return
  const view = useView.getState()
  const records = useRecords.getState()
  const regions = orderedRegions(records, view.imageId)
  const image = view.imageId === null ? undefined : records.images.get(view.imageId)
  if (image === undefined || image.status === 'missing') stage.setImage(null, '', '')
  else {
    const { id, contentSha256 } = image
    stage.setImage(image, client().imageUrl(id, undefined, contentSha256), client().imageUrl(id, 112, contentSha256))
  }
  const same =
    pushed?.regions === regions &&
    pushed.threshold === view.threshold &&
    pushed.regionId === view.regionId &&
    pushed.categories === records.categories
  if (!same) {
    const shown = regions.filter(
      (region) =>
        (region.status !== 'rejected' && isAbove(region, view.threshold)) ||
        (region.id === view.regionId && region.status === 'proposed'),
    )
    stage.setBoxes(shown.map((region) => toBoxView(region, records.categories)))
    pushed = { regions, threshold: view.threshold, regionId: view.regionId, categories: records.categories }
  }
  const current = regions.find((region) => region.id === view.regionId)
  stage.setCurrent(
    current === undefined ? null : toBoxView(current, records.categories),
    view.draftBox,
    view.editing?.field === 'box',
  )
  stage.setHovered(view.hoveredId)
  stage.setLit(view.lit)
  if (stage.tool !== view.tool) stage.setTool(view.tool)
  stage.setDim(view.dimRest)
}

/** Makes a stage in `host` and keeps it equal to the stores. @returns what takes it down */
export function bindStage(host: HTMLElement, onPixels: OnPixels): () => void {
  const mine = new Stage(host, intents(onPixels))
  stage = mine
  pushed = null
  const size = () => mine.setView({ width: host.clientWidth, height: host.clientHeight })
  const resized = new ResizeObserver(size)
  resized.observe(host)
  size()
  push()
  const themed = new MutationObserver(() => mine.retheme())
  themed.observe(document.documentElement, { attributeFilter: ['data-theme'] })
  document.fonts?.ready.then(() => stage === mine && mine.retheme())
  const stopRecords = useRecords.subscribe((now, before) => {
    if (now.annotations !== before.annotations || now.images !== before.images || now.categories !== before.categories)
      push()
  })
  const stopView = useView.subscribe((now, before) => {
    push()
    if (now.regionId === before.regionId || now.regionId === null) return
    const region = useRecords
      .getState()
      .annotations.get(now.imageId ?? 0)
      ?.get(now.regionId)
    if (region !== undefined) mine.show(region.bboxXywh, now.follow)
  })
  return () => {
    stopRecords()
    stopView()
    resized.disconnect()
    themed.disconnect()
    if (stage === mine) stage = null
    void mine.dispose()
  }
}
