/** What people do to regions. Every command is one revision, one undo. */
import { diffOf, sameValue } from '../../db/records/diff.ts'
import type { Annotation, BboxXywh, ImageRecord, RecordsDiff, Revision } from '../../db/records/records.ts'
import type { ParsedInput } from '../contract/api.ts'
import { AppError } from '../contract/errors.ts'
import { clampToImage } from './boxes.ts'
import { CategoryFinder } from './categories.ts'
import type { Handlers } from './handlers.ts'
import type { ProjectSession } from './projectSession.ts'

const VERBS = { accept: 'Accept', reject: 'Reject', reset: 'Reset' } as const

export function annotationHandlers(session: ProjectSession, onLook: (imageId: number) => void) {
  const getAll = (ids: number[]): Annotation[] => session.store().annotations.getMany([...new Set(ids)])

  /** "circle", for the history: class, else caption, else nothing special. */
  const nameOf = (annotation: Annotation): string => {
    const { categoryId, caption } = annotation
    const category = categoryId === null ? null : session.store().categories.find(categoryId)
    const name = category?.name ?? caption ?? ''
    return name === '' ? 'region' : name.length > 40 ? `${name.slice(0, 39)}…` : name
  }
  const labelOf = (verb: string, annotations: Annotation[]) =>
    `${verb} ${annotations.length === 1 ? nameOf(annotations[0]!) : annotations.length}`

  const decide = (
    rows: Annotation[],
    decision: keyof typeof VERBS,
    elapsedMs: number | null,
    label: string,
  ): Revision => {
    const decidedAt = Date.now()
    const decisionMs = elapsedMs === null ? null : Math.round(elapsedMs / rows.length)
    const annotations = rows.map((before) => {
      const after: Annotation =
        decision === 'reset'
          ? { ...before, status: 'proposed', decidedAt: null, decisionMs: null }
          : { ...before, status: decision === 'reject' ? 'rejected' : acceptedAs(before), decidedAt, decisionMs }
      return { before, after }
    })
    return session.commit('human', label, diffOf({ annotations, images: doneChanges(session, annotations) }))
  }

  return {
    'annotations.list': ({ imageId }) => {
      session.imageRecord(imageId)
      onLook(imageId)
      return session.store().annotations.list(imageId)
    },
    'annotations.decide': ({ ids, decision, elapsedMs }) => {
      const rows = getAll(ids)
      return decide(rows, decision, elapsedMs, labelOf(VERBS[decision], rows))
    },
    'annotations.acceptAbove': ({ imageId, minScore }) => {
      session.imageRecord(imageId)
      const rows = session
        .store()
        .annotations.list(imageId)
        .filter((row) => row.status === 'proposed' && (row.modelScore ?? 1) >= minScore)
      if (rows.length === 0) throw new AppError('INVALID_INPUT', 'No proposed region is at or above this confidence.')
      return decide(rows, 'accept', null, labelOf('Accept', rows))
    },
    'annotations.create': ({ imageId, bboxXywh, categoryId, caption }) => {
      const box = boxInside(bboxXywh, session.imageRecord(imageId))
      if (categoryId !== null) session.store().categories.get(categoryId)
      const [id] = session.allocateIds('annotations', 1)
      const annotation: Annotation = {
        id: id!,
        imageId,
        categoryId,
        bboxXywh: box,
        caption: cleanCaption(caption),
        provenance: 'human',
        status: 'accepted',
        modelBboxXywh: null,
        modelCaption: null,
        modelScore: null,
        modelHash: null,
        decidedAt: Date.now(),
        decisionMs: null,
      }
      const revision = session.commit(
        'human',
        'Draw box',
        diffOf({ annotations: [{ before: null, after: annotation }] }),
      )
      return { revision, annotation }
    },
    'annotations.update': (input) => update(session, getAll([input.id])[0]!, input, nameOf),
    'annotations.delete': ({ ids }) => {
      const rows = getAll(ids)
      const annotations = rows.map((before) => ({ before, after: null }))
      return session.commit('human', labelOf('Delete', rows), diffOf({ annotations }))
    },
  } satisfies Partial<Handlers>
}

/** What accepting means for a row: a proposal that a person changed is `edited` for ever. */
function acceptedAs(row: Annotation): Annotation['status'] {
  if (row.status === 'edited') return 'edited'
  const moved = row.modelBboxXywh !== null && !sameValue(row.modelBboxXywh, row.bboxXywh)
  return row.provenance === 'model' && moved ? 'edited' : 'accepted'
}

function update(
  session: ProjectSession,
  before: Annotation,
  input: ParsedInput<'annotations.update'>,
  nameOf: (annotation: Annotation) => string,
): Revision {
  const finder = new CategoryFinder(session)
  const after: Annotation = { ...before }
  if (input.bboxXywh !== undefined) after.bboxXywh = boxInside(input.bboxXywh, session.imageRecord(before.imageId))
  if (input.categoryName !== undefined) after.categoryId = finder.findOrMake(input.categoryName).id
  else if (input.categoryId !== undefined) {
    if (input.categoryId !== null) session.store().categories.get(input.categoryId)
    after.categoryId = input.categoryId
  }
  if (input.caption !== undefined) after.caption = cleanCaption(input.caption)

  const moved = !sameValue(before.bboxXywh, after.bboxXywh)
  const relabelled = before.categoryId !== after.categoryId
  const recaptioned = before.caption !== after.caption
  // An edit that changes nothing is recorded, but it decides nothing and is no step of undo.
  if (!moved && !relabelled && !recaptioned) return session.commit('human', `Edit ${nameOf(before)}`, diffOf({}))
  // A person's own box stays "accepted"; what came from elsewhere is "edited" from now on.
  after.status = before.provenance === 'human' ? 'accepted' : 'edited'
  after.decidedAt = Date.now()
  after.decisionMs = input.elapsedMs ?? before.decisionMs

  const annotations = [{ before, after }]
  const diff = diffOf({ categories: finder.changes(), annotations, images: doneChanges(session, annotations) })
  return session.commit('human', editLabel(moved, relabelled, recaptioned, nameOf(before), input.categoryName), diff)
}

function editLabel(moved: boolean, relabelled: boolean, recaptioned: boolean, name: string, category?: string): string {
  if (Number(moved) + Number(relabelled) + Number(recaptioned) > 1) return `Edit ${name}`
  if (moved) return 'Move box'
  if (relabelled) return `Relabel ${name}${category === undefined ? '' : ` as ${category}`}`
  return `Caption ${name}`
}

/** An image whose last proposal was decided is done; one that has a proposal again is not. */
function doneChanges(
  session: ProjectSession,
  changes: { before: Annotation; after: Annotation }[],
): RecordsDiff['images'] {
  const result: RecordsDiff['images'] = []
  for (const imageId of new Set(changes.map(({ after }) => after.imageId))) {
    const image = session.imageRecord(imageId)
    const afters = new Map(changes.map(({ after }) => [after.id, after]))
    const open = session
      .store()
      .annotations.list(imageId)
      .some((row) => (afters.get(row.id) ?? row).status === 'proposed')
    const hadOpen = changes.some(({ before }) => before.imageId === imageId && before.status === 'proposed')
    const done = open ? false : hadOpen ? true : image.done
    if (done !== image.done) result.push({ before: image, after: { ...image, done } })
  }
  return result
}

function boxInside(box: BboxXywh, image: ImageRecord): BboxXywh {
  const inside = clampToImage(box, image)
  if (inside === null) throw new AppError('INVALID_INPUT', 'Less than one pixel of this box is inside the image.')
  return inside
}

/** An empty caption is none. */
const cleanCaption = (caption: string | null): string | null => {
  const text = caption?.trim() ?? ''
  return text === '' ? null : text
}
