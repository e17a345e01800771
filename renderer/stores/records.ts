/**
 * The renderer's truth: the project's records keyed by id, patched by revisions as they are committed. Everything on
 * screen (lists, fabric objects) is a view of this store; nothing here is changed by a click, only by the services' word.
 */
import { create } from 'zustand'
import type {
  Annotation,
  Category,
  ImageRecord,
  ImageSummary,
  Message,
  Project,
  Revision,
  SkippedFile,
} from '../../db/records/records.ts'
import type { EngineState, EventPayload, Settings } from '../../electron/contract/api.ts'

export type Activity = EventPayload<'grounding.activity'>
export type AnnotationsOfImage = ReadonlyMap<number, Annotation>

export interface RecordsState {
  /** `undefined` until the first answer: the window shows neither welcome nor workspace before it knows. */
  readonly project: Project | null | undefined
  readonly images: ReadonlyMap<number, ImageSummary>
  /** File order, as the services list it. */
  readonly imageOrder: readonly number[]
  readonly imagesLoaded: boolean
  readonly categories: ReadonlyMap<number, Category>
  /** Only images that were opened have an entry. */
  readonly annotations: ReadonlyMap<number, AnnotationsOfImage>
  readonly messages: ReadonlyMap<number, readonly Message[]>
  readonly skipped: readonly SkippedFile[]
  readonly activity: ReadonlyMap<number, Activity>
  readonly engine: EngineState | null
  readonly settings: Settings
  /** Highest revision applied; the history tab reloads when it grows. */
  readonly seq: number
}

export const emptyRecords: RecordsState = {
  project: undefined,
  images: new Map(),
  imageOrder: [],
  imagesLoaded: false,
  categories: new Map(),
  annotations: new Map(),
  messages: new Map(),
  skipped: [],
  activity: new Map(),
  engine: null,
  settings: { theme: 'system', language: 'en', proposeAhead: 3, model: 'demo' },
  seq: 0,
}

export const useRecords = create<RecordsState>(() => emptyRecords)

/** How many annotations of an image are in each state. */
export function countStatuses(annotations: AnnotationsOfImage): ImageSummary['counts'] {
  const counts = { proposed: 0, accepted: 0, edited: 0, rejected: 0 }
  for (const annotation of annotations.values()) counts[annotation.status]++
  return counts
}

/**
 * The store after a revision. Applying one twice changes nothing, so it does not matter that a command's answer and
 * the event about it carry the same revision.
 * @returns the changed part, and the images whose counters must be asked for because their boxes are not loaded
 */
export function applyRevision(
  state: RecordsState,
  revision: Revision,
  project: Project | null,
): { patch: Partial<RecordsState>; staleImageIds: number[] } {
  const { diff } = revision
  const patch: { -readonly [K in keyof RecordsState]?: RecordsState[K] } = { seq: Math.max(state.seq, revision.seq) }
  if (project !== null) patch.project = project
  const stale = new Set<number>()

  if (diff.categories.length > 0) {
    const categories = new Map(state.categories)
    for (const { before, after } of diff.categories) {
      if (after !== null) categories.set(after.id, after)
      else if (before !== null) categories.delete(before.id)
    }
    patch.categories = categories
  }

  const images = new Map(state.images)
  let imagesChanged = false
  const setImage = (id: number, change: Partial<ImageSummary>) => {
    const image = images.get(id)
    if (image === undefined) return
    images.set(id, { ...image, ...change })
    imagesChanged = true
  }

  if (diff.annotations.length > 0) {
    const byImage = new Map(state.annotations)
    const touched = new Map<number, Map<number, Annotation>>()
    for (const { before, after } of diff.annotations) {
      const row = after ?? before
      if (row === null) continue
      const loaded = byImage.get(row.imageId)
      if (loaded === undefined) {
        stale.add(row.imageId)
        continue
      }
      let target = touched.get(row.imageId)
      if (target === undefined) {
        target = new Map(loaded)
        touched.set(row.imageId, target)
      }
      if (after === null) target.delete(row.id)
      else target.set(after.id, after)
    }
    for (const [imageId, annotations] of touched) {
      byImage.set(imageId, annotations)
      setImage(imageId, { counts: countStatuses(annotations) })
    }
    if (touched.size > 0) patch.annotations = byImage
  }

  for (const { before, after } of diff.images) {
    if (after !== null && images.has(after.id)) setImage(after.id, after satisfies ImageRecord)
    else stale.add((after ?? before)?.id ?? 0)
  }
  stale.delete(0)
  if (imagesChanged) patch.images = images

  if (diff.messages.length > 0) {
    const messages = new Map(state.messages)
    for (const { before, after } of diff.messages) {
      const row = after ?? before
      const loaded = row === null ? undefined : messages.get(row.imageId)
      if (row === null || loaded === undefined) continue
      const rest = loaded.filter((message) => message.id !== row.id)
      messages.set(row.imageId, after === null ? rest : [...rest, after].sort((a, b) => a.id - b.id))
    }
    patch.messages = messages
  }
  return { patch, staleImageIds: [...stale] }
}

/** Opened images kept in memory: going back and forth is instant, a day of work does not fill the memory. */
const KEPT_IMAGES = 24

/** The map with `id` newest and the oldest entries beyond {@link KEPT_IMAGES} dropped. */
export function keepRecent<V>(map: ReadonlyMap<number, V>, id: number, value: V): ReadonlyMap<number, V> {
  const next = new Map(map)
  next.delete(id)
  next.set(id, value)
  for (const key of next.keys()) {
    if (next.size <= KEPT_IMAGES) break
    next.delete(key)
  }
  return next
}
