/** The records of the fake services: tables in memory, revisions with reverse diffs, undo and redo. */
import type {
  Annotation,
  BboxXywh,
  Category,
  ImageRecord,
  ImageSummary,
  Message,
  Project,
  RecordsDiff,
  Revision,
} from '../../db/records/records.ts'

const COLOURS = ['#e0a458', '#5aa9e6', '#2fb98a', '#c792ea', '#e4683f', '#7fb069', '#f0b429', '#8d99ae']
export const empty = (): RecordsDiff => ({ categories: [], annotations: [], images: [], messages: [] })

export type FakeRecords = ReturnType<typeof createFakeRecords>

/** @param onRevision told of every revision, with the project as it is then */
export function createFakeRecords(onRevision: (told: { revision: Revision; project: Project }) => void) {
  const images = new Map<number, ImageRecord>()
  const annotations = new Map<number, Annotation>()
  const categories = new Map<number, Category>()
  const messages = new Map<number, Message>()
  const history: Revision[] = []
  let lastId = 0
  const newId = (): number => ++lastId

  const undone = () => new Set(history.filter((r) => r.undoes !== null && !redone(r)).map((r) => r.undoes))
  const redone = (revision: Revision) => history.some((r) => r.redoes === revision.seq)
  const undoable = () => {
    const gone = undone()
    return history
      .filter((r) => r.actor === 'human' && r.undoes === null && r.redoes === null && !gone.has(r.seq))
      .at(-1)
  }
  const redoable = () => {
    const last = history.filter((r) => r.actor === 'human').at(-1)
    return last !== undefined && last.undoes !== null ? last : undefined
  }
  const project = (): Project => {
    const done = [...images.values()].filter((image) => image.done).length
    return {
      path: '/home/ada/photos/street-shapes.gromatic',
      name: 'street-shapes',
      imagesDir: '/home/ada/photos/street-shapes',
      readOnly: false,
      warning: null,
      imageCount: images.size,
      doneCount: done,
      decidedCount: [...annotations.values()].filter((a) => a.status !== 'proposed').length,
      skippedCount: 2,
      headSeq: history.at(-1)?.seq ?? 0,
      undoLabel: undoable()?.label ?? null,
      redoLabel: history.find((r) => r.seq === redoable()?.undoes)?.label ?? null,
    }
  }
  const apply = (diff: RecordsDiff) => {
    for (const name of ['categories', 'annotations', 'images', 'messages'] as const) {
      const table = { categories, annotations, images, messages }[name] as Map<number, unknown>
      for (const { before, after } of diff[name]) {
        if (after !== null) table.set(after.id, after)
        else if (before !== null) table.delete(before.id)
      }
    }
  }
  const commit = (label: string, diff: RecordsDiff, extra: Partial<Revision> = {}): Revision => {
    apply(diff)
    const seq = history.length + 1
    const revision: Revision = {
      seq,
      actor: 'human',
      label,
      undoes: null,
      redoes: null,
      createdAt: Date.now(),
      diff,
      ...extra,
    }
    history.push(revision)
    onRevision({ revision, project: project() })
    return revision
  }
  const summary = (image: ImageRecord): ImageSummary => {
    const counts = { proposed: 0, accepted: 0, edited: 0, rejected: 0 }
    for (const annotation of annotations.values()) if (annotation.imageId === image.id) counts[annotation.status]++
    return { ...image, counts }
  }
  const category = (name: string, diff: RecordsDiff): number => {
    const known =
      [...categories.values()].find((c) => c.name === name) ??
      diff.categories.find((c) => c.after?.name === name)?.after
    if (known) return known.id
    const made = { id: newId(), name, color: COLOURS[categories.size % COLOURS.length]! }
    diff.categories.push({ before: null, after: made })
    categories.set(made.id, made)
    return made.id
  }
  const blank = (imageId: number, bboxXywh: BboxXywh): Annotation => ({
    id: newId(),
    imageId,
    categoryId: null,
    bboxXywh,
    caption: null,
    provenance: 'human',
    status: 'accepted',
    modelBboxXywh: null,
    modelCaption: null,
    modelScore: null,
    modelHash: null,
    decidedAt: null,
    decisionMs: null,
  })
  const rowsOf = (imageId: number) => [...annotations.values()].filter((a) => a.imageId === imageId)
  const decide = (rows: Annotation[], status: Annotation['status'], label: string, ms: number | null) => {
    const diff = empty()
    for (const before of rows)
      diff.annotations.push({ before, after: { ...before, status, decidedAt: Date.now(), decisionMs: ms } })
    return commit(label, diff)
  }
  const reverse = (diff: RecordsDiff): RecordsDiff => {
    const swap = <T>(rows: { before: T | null; after: T | null }[]) =>
      rows.map(({ before, after }) => ({ before: after, after: before }))
    return {
      categories: [],
      annotations: swap(diff.annotations),
      images: swap(diff.images),
      messages: swap(diff.messages),
    }
  }
  const turn = (direction: 'undo' | 'redo'): Revision | null => {
    const target = direction === 'undo' ? undoable() : redoable()
    if (target === undefined) return null
    return direction === 'undo'
      ? commit(`Undo ${target.label}`, reverse(target.diff), { undoes: target.seq })
      : commit('Redo', reverse(target.diff), { redoes: target.seq })
  }
  const historyList = () => {
    const gone = undone()
    return [...history]
      .reverse()
      .slice(0, 100)
      .map(({ diff, ...revision }) => ({
        ...revision,
        undone: gone.has(revision.seq),
        imageId:
          diff.annotations[0]?.after?.imageId ??
          diff.annotations[0]?.before?.imageId ??
          diff.images[0]?.after?.id ??
          null,
      }))
  }
  return {
    images,
    annotations,
    categories,
    messages,
    newId,
    project,
    commit,
    summary,
    category,
    blank,
    rowsOf,
    decide,
    turn,
    historyList,
  }
}
