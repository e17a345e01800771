import { expect, test } from 'vitest'
import { openProject } from '../../db/project.ts'
import { diffOf, emptyDiff } from '../../db/records/diff.ts'
import type { Annotation, Message } from '../../db/records/records.ts'
import { connect } from '../../db/sqlite.ts'
import {
  addAnnotations,
  annotationRow,
  categoryRow,
  imageRow,
  projectWithImages,
  proposalRow,
  tempFolder,
} from './support.ts'

const human = (label: string, annotations: { before: Annotation | null; after: Annotation | null }[]) =>
  ({ actor: 'human', label, diff: diffOf({ annotations }) }) as const
const code = (value: string) => expect.objectContaining({ code: value })

test('a revision is stored whole, with its rows, and comes back the same after a restart', () => {
  const store = projectWithImages(tempFolder(), 2)
  const message: Message = {
    id: 1,
    imageId: 2,
    role: 'assistant',
    text: 'a dog beside a car 😀',
    spans: [
      {
        text: 'a dog',
        start: 0,
        end: 5,
        boxes: [{ region: 3, bboxXywh: [1.5, 2, 3, 4], score: 0.9 }],
        unresolved: [12],
      },
    ],
    attachedBoxesXywh: [],
    regions: [{ bboxXywh: [1.5, 2, 3, 4], score: 0.25 }],
    modelHash: 'abc',
    malformed: true,
    stopReason: 'length',
    createdAt: 1,
  }
  const annotation = annotationRow(1, 2, {
    categoryId: 1,
    bboxXywh: [0.1, 1 / 3, 1e-9, 12345.678901234567],
    caption: 'naïve "车"\n',
  })
  const revision = store.commit({
    actor: 'human',
    label: 'Draw',
    diff: {
      annotations: [{ before: null, after: annotation }], // before its category: order does not matter
      categories: [{ before: null, after: categoryRow(1, '车') }],
      images: [{ before: imageRow(2), after: imageRow(2, 'scene2.png', { proposedAt: 7 }) }],
      messages: [{ before: null, after: message }],
    },
  })
  expect(revision).toMatchObject({ seq: 2, actor: 'human', undoes: null, redoes: null })
  store.close()
  const again = openProject(store.path)
  expect(again.annotations.list(2)).toEqual([annotation])
  expect(again.messages.list(2)).toEqual([message])
  expect(again.messages.get(1)).toEqual(message)
  expect(again.categories.byName('车')).toEqual(categoryRow(1, '车'))
  expect(again.images.get(2)).toEqual({
    ...imageRow(2, 'scene2.png', { proposedAt: 7 }),
    counts: { proposed: 0, accepted: 1, edited: 0, rejected: 0 },
  })
  expect(again.history.get(2)).toEqual(revision)
  expect(again.history.list({ limit: 1 })[0]).toMatchObject({ seq: 2, imageId: 2, undone: false })
  expect(again.history.list({ beforeSeq: 2 })).toHaveLength(1)
  again.close()
})

test('rows that changed since they were read are refused, and nothing of the revision is kept', () => {
  const store = projectWithImages(tempFolder(), 1)
  const [one, two] = addAnnotations(store, [annotationRow(1, 1), annotationRow(2, 1)]) as [Annotation, Annotation]
  const head = store.history.headSeq()
  const fine = { before: one, after: { ...one, caption: 'fine' } }
  const stale = { before: { ...two, caption: 'as it never was' }, after: two }
  expect(() => store.commit(human('x', [fine, stale]))).toThrow(code('STALE'))
  expect(() => store.commit(human('x', [fine, { before: annotationRow(9, 1), after: null }]))).toThrow(code('STALE'))
  expect(() => store.commit(human('x', [fine, { before: null, after: two }]))).toThrow(code('STALE'))
  expect(store.annotations.list(1)).toEqual([one, two])
  expect(store.history.headSeq()).toBe(head)
})

test('what is not a record, or points to nothing, is refused', () => {
  const store = projectWithImages(tempFolder(), 1)
  const bad = (change: Partial<Annotation>) => human('x', [{ before: null, after: annotationRow(1, 1, change) }])
  expect(() => store.commit(bad({ bboxXywh: [Number.NaN, 0, 1, 1] }))).toThrow(code('INVALID_INPUT'))
  expect(() => store.commit(bad({ bboxXywh: [0, 0, 0, 1] }))).toThrow(code('INVALID_INPUT'))
  expect(() => store.commit(bad({ imageId: 99 }))).toThrow(code('INVALID_INPUT'))
  expect(() => store.commit(bad({ categoryId: 99 }))).toThrow(code('INVALID_INPUT'))
  const twins = [categoryRow(1, 'cat'), categoryRow(2, 'cat')].map((after) => ({ before: null, after }))
  expect(() => store.commit({ actor: 'human', label: 'x', diff: diffOf({ categories: twins }) })).toThrow(
    code('ALREADY_EXISTS'),
  )
  expect(store.annotations.list(1)).toEqual([])
  expect(store.history.headSeq()).toBe(1)
})

test('what the model said never changes, not even by hand', () => {
  const store = projectWithImages(tempFolder(), 1)
  const [box] = addAnnotations(store, [proposalRow(1, 1)], 'model') as [Annotation]
  for (const change of [{ modelScore: 0.9 }, { modelCaption: null }, { modelHash: 'other' }, { modelBboxXywh: null }]) {
    expect(() => store.commit(human('x', [{ before: box, after: { ...box, ...change } }]))).toThrow(
      code('INVALID_INPUT'),
    )
  }
  const edited: Annotation = { ...box, bboxXywh: [1, 2, 3, 4], caption: 'mine', status: 'edited' }
  store.commit(human('Move box', [{ before: box, after: edited }]))
  expect(store.annotations.get(1)).toEqual(edited)
  store.close()
  const db = connect(store.path)
  expect(() => db.exec('DELETE FROM revisions')).toThrow(/append-only/)
  expect(() => db.exec("UPDATE revisions SET label = 'forged'")).toThrow(/append-only/)
  db.close()
})

test('ids of deleted rows never come back, not after a restart either', () => {
  const store = projectWithImages(tempFolder(), 1)
  expect(store.allocateIds('annotations', 3)).toEqual([1, 2, 3])
  const [box] = addAnnotations(store, [annotationRow(3, 1)]) as [Annotation]
  store.commit(human('Delete', [{ before: box, after: null }]))
  expect(store.allocateIds('annotations')).toEqual([4])
  store.close()
  const again = openProject(store.path)
  expect(again.allocateIds('annotations', 2)).toEqual([4, 5]) // 4 was promised but never stored
  again.close()
})

test('a command that changes nothing is no step of undo and keeps redo', () => {
  const store = projectWithImages(tempFolder(), 1)
  const [box] = addAnnotations(store, [annotationRow(1, 1)]) as [Annotation]
  store.undo()
  expect(store.commit({ actor: 'human', label: 'Accept 0', diff: emptyDiff() }).diff).toEqual(emptyDiff())
  expect(store.summary()).toMatchObject({ undoLabel: null, redoLabel: 'Add 1' })
  store.redo()
  expect(store.commit(human('Same', [{ before: box, after: { ...box } }])).diff.annotations).toEqual([])
  expect(store.summary().undoLabel).toBe('Add 1')
})

test('a summary may be given as the row it came from', () => {
  const store = projectWithImages(tempFolder(), 1)
  const before = store.images.get(1)
  store.commit({
    actor: 'human',
    label: 'Done',
    diff: diffOf({ images: [{ before, after: { ...before, done: true } }] }),
  })
  expect(store.images.get(1).done).toBe(true)
  expect(store.summary().doneCount).toBe(1)
  expect(JSON.stringify(store.history.get(2).diff)).not.toContain('counts')
})

test('images are listed as people count, page by page, filtered whatever the case', () => {
  const store = projectWithImages(tempFolder(), 0)
  const names = [
    'scene10.png',
    'scene2.png',
    'Scene1.PNG',
    'b/1.png',
    'b/02.png',
    'b c.png',
    'caf\u00e9.png',
    'cafe\u0301 2.png',
    '图10.png',
    '图9.png',
  ]
  const images = names.map((name, index) => ({ before: null, after: imageRow(index + 1, name) }))
  store.commit({ actor: 'scan', label: 'x', diff: diffOf({ images }) })
  const list = store.images.list().items.map(({ fileName }) => fileName)
  expect(list).toEqual([
    'b/1.png',
    'b/02.png',
    'b c.png',
    'cafe\u0301 2.png',
    'caf\u00e9.png',
    'Scene1.PNG',
    'scene2.png',
    'scene10.png',
    '图9.png',
    '图10.png',
  ])
  expect(store.images.list({ offset: 3, limit: 2 }).items.map(({ fileName }) => fileName)).toEqual(list.slice(3, 5))
  expect(store.images.list({ filter: 'CAFÉ' })).toMatchObject({ total: 2 })
  expect(store.images.list({ filter: 'SCENE1' })).toMatchObject({ total: 2 })
  expect(store.images.list({ filter: '%' })).toEqual({ total: 0, items: [] })
  expect(store.images.byContentSha256(imageRow(3).contentSha256).map(({ id }) => id)).toEqual([3])
  expect(store.images.readyAfter(1, 5).map(({ fileName }) => fileName)).toEqual(['图9.png', '图10.png'])
  expect(() => store.images.get(99)).toThrow(code('NOT_FOUND'))
})

test('half a surrogate pair is stored as what it can be stored as, in the row and in the history alike', () => {
  const store = projectWithImages(tempFolder(), 1)
  const [box] = addAnnotations(store, [annotationRow(1, 1)]) as [Annotation]
  const { diff } = store.commit(
    human('Caption', [{ before: box, after: { ...box, caption: 'half \ud83d, \0 and whole 😀' } }]),
  )
  expect(diff.annotations[0]?.after?.caption).toBe('half \ufffd, \0 and whole 😀')
  expect(store.annotations.get(1)).toEqual(diff.annotations[0]?.after)
  store.undo()
  expect(store.annotations.get(1)).toEqual(box)
})
