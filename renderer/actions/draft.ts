/** The box that is being moved with keys: kept by whatever leads away from it, thrown away by Escape alone. */
import { sameBox } from '../canvas/boxMath.ts'
import { client } from '../client.ts'
import { currentRegion } from '../stores/selectors.ts'
import { useView } from '../stores/view.ts'
import { save } from './save.ts'

/** Longer looks are pauses, not decisions; the record keeps them apart by leaving them out. */
const LONGEST_LOOK_MS = 10 * 60_000

/** Milliseconds since the region came into question, or null when that says nothing. */
export function elapsedMs(regionId: number): number | null {
  const view = useView.getState()
  if (view.regionId !== regionId) return null
  const elapsed = Math.round(performance.now() - view.regionSince)
  return elapsed > LONGEST_LOOK_MS ? null : elapsed
}

/** Ends the editing of a box with keys and saves where it stands; the event of its revision brings it to the store. */
export function keepDraft(): void {
  const { editing, draftBox } = useView.getState()
  if (editing?.field !== 'box' || draftBox === null) return
  const region = currentRegion()
  useView.setState({ editing: null, draftBox: null })
  if (region === null || region.id !== editing.annotationId || sameBox(region.bboxXywh, draftBox)) return
  const look = elapsedMs(region.id)
  void save(() => client().call('annotations.update', { id: region.id, bboxXywh: draftBox, elapsedMs: look }))
}
