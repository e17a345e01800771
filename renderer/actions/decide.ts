/** Verdicts and edits: each is one command, one revision, one undo. */
import type { Annotation, BboxXywh, Revision } from '../../db/records/records.ts'
import { client } from '../client.ts'
import i18n from '../i18n/index.ts'
import { acceptable, nextUndecided } from '../stores/queue.ts'
import { useRecords } from '../stores/records.ts'
import { categoriesByKey, currentRegion, currentRegions } from '../stores/selectors.ts'
import { useView } from '../stores/view.ts'
import { announce, beginJob, endJob, notify, updateJob } from '../stores/work.ts'
import { elapsedMs, keepDraft } from './draft.ts'
import { isCancelled, save } from './save.ts'
import { nextOpenImage, openImage, selectRegion } from './select.ts'
import { takeRevision } from './sync.ts'

/**
 * Accepts or rejects the region in question. The next one comes into question at once; if the services refuse, the
 * status bar says why and the region returns.
 */
export async function decide(decision: 'accept' | 'reject' | 'reset'): Promise<void> {
  if (decision === 'accept') keepDraft()
  const region = currentRegion()
  const view = useView.getState()
  if (region === null || view.deciding.has(region.id)) return
  const look = elapsedMs(region.id)
  useView.setState({ deciding: new Set([...view.deciding, region.id]), editing: null, draftBox: null })
  if (decision !== 'reset') {
    const next = nextUndecided(currentRegions(), region.id, view.threshold, useView.getState().deciding)
    // after the last one nothing is in question: the whole picture, for the look at what is missing
    selectRegion(next)
  }
  const revision = await save(() =>
    client().call('annotations.decide', { ids: [region.id], decision, elapsedMs: look }),
  )
  if (revision !== undefined) {
    takeRevision(revision)
    announce(revision.label)
  } else if (useView.getState().imageId === region.imageId) selectRegion(region.id)
  useView.setState(({ deciding }) => ({ deciding: new Set([...deciding].filter((id) => id !== region.id)) }))
}

/** Accepts every proposal at or above the slider: one command, one undo. */
export async function acceptAbove(): Promise<void> {
  keepDraft()
  const { imageId, threshold } = useView.getState()
  const ids = new Set(acceptable(currentRegions(), threshold).map((region) => region.id))
  if (imageId === null || ids.size === 0) return
  const lowest = Math.min(
    ...currentRegions()
      .filter((r) => ids.has(r.id))
      .map((r) => r.modelScore ?? 1),
  )
  // the lowest score shown rather than the slider's own number: what is counted is what is accepted
  const revision = await save(() =>
    client().call('annotations.acceptAbove', { imageId, minScore: Math.min(threshold, lowest) }),
  )
  if (revision === undefined) return
  takeRevision(revision)
  announce(revision.label)
  const { regionId, deciding } = useView.getState()
  if (regionId === null || ids.has(regionId))
    selectRegion(nextUndecided(currentRegions(), regionId, threshold, deciding))
}

/** Changes box, category or caption of a region. */
export async function updateRegion(
  id: number,
  change: { bboxXywh?: BboxXywh; categoryId?: number | null; categoryName?: string; caption?: string | null },
): Promise<boolean> {
  const revision = await save(() => client().call('annotations.update', { id, ...change, elapsedMs: elapsedMs(id) }))
  if (revision === undefined) return false
  takeRevision(revision)
  return true
}

/** A number key: gives the region in question the n-th class (from 0). */
export async function relabel(index: number): Promise<void> {
  const region = currentRegion()
  const category = categoriesByKey(useRecords.getState().categories)[index]
  if (region === null || category === undefined || region.categoryId === category.id) return
  await updateRegion(region.id, { categoryId: category.id })
}

/** Removes the region in question. */
export async function deleteRegion(): Promise<void> {
  const region = currentRegion()
  if (region === null) return
  const { threshold, deciding } = useView.getState()
  const next = nextUndecided(currentRegions(), region.id, threshold, deciding)
  const revision = await save(() => client().call('annotations.delete', { ids: [region.id] }))
  if (revision === undefined) return
  takeRevision(revision)
  if (useView.getState().regionId === region.id) selectRegion(next)
}

/** Stores a drawn box and brings it into question; the model then writes its caption. */
export async function createRegion(bboxXywh: BboxXywh): Promise<Annotation | null> {
  const { imageId } = useView.getState()
  if (imageId === null) return null
  const created = await save(() => client().call('annotations.create', { imageId, bboxXywh }))
  if (created === undefined) return null
  takeRevision(created.revision)
  selectRegion(created.annotation.id)
  return created.annotation
}

/** The turn itself. One that takes longer (a large import) is listed with how far it is and can be stopped: undefined then. */
async function turn(direction: 'undo' | 'redo'): Promise<Revision | null | undefined> {
  const abort = new AbortController()
  let job: number | null = null
  try {
    return await client().run(
      'history.turn',
      { direction },
      {
        signal: abort.signal,
        onProgress: ({ done, total, note }) => {
          job ??= beginJob({ kind: 'undo', imageId: null, title: note, cancel: () => abort.abort() })
          updateJob(job, { done, total })
        },
      },
    )
  } catch (error) {
    if (!abort.signal.aborted && !isCancelled(error)) throw error
    return undefined
  } finally {
    if (job !== null) endJob(job)
  }
}

/** Takes back the last revision of a person, whatever image it was on, and shows what it changed. @returns whether something was */
export async function undo(direction: 'undo' | 'redo'): Promise<boolean> {
  const revision = await save(() => turn(direction))
  if (revision === undefined) return false
  if (revision === null) {
    announce(i18n.t(direction === 'undo' ? 'history.nothingToUndo' : 'history.nothingToRedo'))
    return false
  }
  takeRevision(revision)
  announce(revision.label)
  const row = revision.diff.annotations.map(({ before, after }) => after ?? before).find((changed) => changed !== null)
  if (row === undefined || row === null) {
    const { images } = revision.diff
    if (images.length === 1 && images[0]?.after) openImage(images[0].after.id)
    return true
  }
  openImage(row.imageId)
  const still = useRecords.getState().annotations.get(row.imageId)?.has(row.id)
  selectRegion(still === false ? null : row.id)
  return true
}

/** Marks the open image done (or not), and goes on to the next open one. */
export async function setDone(done: boolean, goOn: boolean): Promise<void> {
  const { imageId } = useView.getState()
  if (imageId === null) return
  if (useRecords.getState().images.get(imageId)?.done !== done) {
    const revision = await save(() => client().call('images.setDone', { id: imageId, done }))
    if (revision === undefined) return
    takeRevision(revision)
  }
  if (!goOn) return
  const next = nextOpenImage()
  if (next !== null) openImage(next)
  else notify('info', i18n.t(useView.getState().imageFilter.trim() === '' ? 'canvas.allDone' : 'canvas.allShownDone'))
}
