/** Moving about: which image is open and which region is in question. */
import { lastPlace } from '../stores/place.ts'
import { neighbour, nextUndecided } from '../stores/queue.ts'
import { useRecords } from '../stores/records.ts'
import { currentRegions, imagesShown, orderedRegions } from '../stores/selectors.ts'
import { useView } from '../stores/view.ts'
import { keepDraft } from './draft.ts'
import { loadImage, lookAgain } from './loadImage.ts'

/** Opens an image; its first undecided region comes into question. */
export function openImage(imageId: number): void {
  if (useView.getState().imageId === imageId) return
  keepDraft()
  useView.setState({
    imageId,
    regionId: null,
    editing: null,
    draftBox: null,
    hoveredId: null,
    lit: [],
    attachedIds: [],
    deciding: new Set(),
  })
  if (useRecords.getState().annotations.has(imageId)) selectFirstUndecided(imageId)
  void showImage(imageId)
}

/** Loads what the image needs; then its first undecided region comes into question. */
export async function showImage(imageId: number): Promise<void> {
  lookAgain(imageId)
  await loadImage(imageId)
  selectFirstUndecided(imageId)
}

/** Opens the image that was open last, else the first that is not done, else the first. */
export function openFirstImage(): void {
  const { imageOrder, images, project } = useRecords.getState()
  const place = project ? lastPlace(project.path) : undefined
  const known = place !== undefined && images.has(place)
  // further down a list that is still being loaded: this is asked again with the next page
  if (place !== undefined && !known && project && imageOrder.length < project.imageCount) return
  const first = known ? place : (imageOrder.find((id) => images.get(id)?.done === false) ?? imageOrder[0])
  if (first !== undefined) openImage(first)
}

/** The open image among those that the filter shows. */
function amongShown(): { shown: readonly number[]; index: number } {
  const { imageOrder, images } = useRecords.getState()
  const { imageId, imageFilter } = useView.getState()
  const shown = imagesShown(imageOrder, images, imageFilter, imageId)
  return { shown, index: imageId === null ? -1 : shown.indexOf(imageId) }
}

/** Opens the image after (or before) the open one, of those that the filter shows; stays at the ends. */
export function stepImage(direction: 1 | -1): void {
  const { shown, index } = amongShown()
  const next = shown[index + direction]
  if (next !== undefined) openImage(next)
}

/** The next image that is not done, going round those that the filter shows; null when all are. */
export function nextOpenImage(): number | null {
  const { images } = useRecords.getState()
  const { shown, index } = amongShown()
  for (let step = 1; step < shown.length; step++) {
    const id = shown[(index + step) % shown.length]
    if (id !== undefined && images.get(id)?.done === false) return id
  }
  return null
}

/** Brings a region into question and starts the decision's clock. Ends any editing of another one. */
export function selectRegion(regionId: number | null): void {
  if (useView.getState().regionId === regionId) return
  keepDraft()
  useView.setState({
    regionId,
    regionSince: performance.now(),
    editing: null,
    draftBox: null,
  })
}

/** Brings the first undecided region of the open image into question, unless one is. */
export function selectFirstUndecided(imageId: number): void {
  const view = useView.getState()
  if (view.imageId !== imageId || view.regionId !== null) return
  const ordered = orderedRegions(useRecords.getState(), imageId)
  selectRegion(nextUndecided(ordered, null, view.threshold, view.deciding))
}

/** The arrow keys. @returns whether there was one to go to */
export function stepRegion(direction: 1 | -1): boolean {
  const { regionId, threshold } = useView.getState()
  const next = neighbour(currentRegions(), regionId, direction, threshold)
  if (next !== null) selectRegion(next)
  return next !== null
}

/** Leaves the region undecided and goes to the next one in the queue. */
export function skipRegion(): void {
  const { regionId, threshold, deciding } = useView.getState()
  const next = nextUndecided(currentRegions(), regionId, threshold, deciding)
  if (next !== null) selectRegion(next)
}
