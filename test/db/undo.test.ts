import fc from 'fast-check'
import { expect, test } from 'vitest'
import { commitRevision } from '../../db/commitRevision.ts'
import { openProject } from '../../db/project.ts'
import { diffOf } from '../../db/records/diff.ts'
import { redo, redoStep, undo, undoStep } from '../../db/undo.ts'
import { times } from '../support/stress.ts'
import { addAnnotations, annotationRow, categoryRow, projectWithImages, proposalRow, tempFolder } from './support.ts'
import { anyOps, humanOps, memoryProject, miscounts, perform, replay, stateOf } from './undoModel.ts'

const RUNS = times(120, 5000)
const TIMEOUT_MS = times(120_000, 1_800_000)

test('what people do, undone k times and redone k times, is what it was at each step', { timeout: TIMEOUT_MS }, () => {
  fc.assert(
    fc.property(humanOps(times(30, 50)), fc.nat(1000), (ops, seed) => {
      const db = memoryProject()
      const states = [stateOf(db)]
      for (const op of ops) if (perform(db, op)) states.push(stateOf(db))
      const steps = states.length - 1
      const back = steps === 0 ? 0 : seed % (steps + 1)
      for (let k = 1; k <= back; k++) {
        expect(undo(db)).not.toBeNull()
        expect(stateOf(db)).toEqual(states[steps - k])
      }
      for (let k = back; k >= 1; k--) {
        expect(redo(db)).not.toBeNull()
        expect(stateOf(db)).toEqual(states[steps - k + 1])
      }
      expect(redo(db)).toBeNull()
      for (let k = 1; k <= steps; k++) undo(db)
      expect(undo(db)).toBeNull()
      expect(stateOf(db)).toEqual(states[0])
      expect(replay(db)).toEqual(stateOf(db))
      expect(miscounts(db)).toEqual([])
      db.close()
    }),
    { numRuns: RUNS },
  )
})

test('with the model working in between nothing breaks: all the way back, all the way forth, same state', {
  timeout: TIMEOUT_MS,
}, () => {
  fc.assert(
    fc.property(anyOps(times(40, 50)), (ops) => {
      const db = memoryProject()
      for (const op of ops) {
        if (op.kind === 'undo') undo(db)
        else if (op.kind === 'redo') redo(db)
        else perform(db, op)
      }
      const before = stateOf(db)
      let steps = 0
      while (undo(db) !== null) steps++
      expect(miscounts(db)).toEqual([])
      const redoable = steps
      for (let k = 0; k < redoable; k++) expect(redo(db)).not.toBeNull()
      expect(stateOf(db)).toEqual(before)
      expect(replay(db)).toEqual(before)
      expect(miscounts(db)).toEqual([])
      db.close()
    }),
    { numRuns: RUNS },
  )
})

test('undo and redo survive a restart, have labels, and new work clears redo but the model does not', () => {
  const store = projectWithImages(tempFolder(), 1)
  addAnnotations(store, [annotationRow(1, 1)])
  addAnnotations(store, [annotationRow(2, 1)])
  expect(store.summary()).toMatchObject({ undoLabel: 'Add 1', redoLabel: null, decidedCount: 2 })
  expect(store.undo()?.label).toBe('Undo Add 1')
  store.close()
  const again = openProject(store.path)
  addAnnotations(again, [proposalRow(3, 1)], 'model')
  expect(again.summary()).toMatchObject({ undoLabel: 'Add 1', redoLabel: 'Add 1', decidedCount: 1 })
  expect(again.redo()?.label).toBe('Redo Add 1')
  expect(again.annotations.list(1).map(({ id }) => id)).toEqual([1, 2, 3])
  again.undo()
  expect(again.history.list().map(({ label, undone }) => [label, undone])).toEqual([
    ['Undo Add 1', false],
    ['Redo Add 1', false],
    ['Add 1', false], // the model's
    ['Undo Add 1', false],
    ['Add 1', true],
    ['Add 1', false],
    ['Read the folder', false],
  ])
  addAnnotations(again, [annotationRow(4, 1)])
  expect(again.summary().redoLabel).toBeNull()
  expect(again.redo()).toBeNull()
  again.undo()
  again.undo()
  expect(again.undo()).toBeNull()
  expect(again.annotations.list(1).map(({ id }) => id)).toEqual([3])
  again.close()
})

test('a box that the model described after it was drawn goes with undo and comes back described', () => {
  const store = projectWithImages(tempFolder(), 1)
  const [drawn] = addAnnotations(store, [annotationRow(1, 1)])
  const described = { ...annotationRow(1, 1), caption: 'a blue car', modelCaption: 'a blue car', modelHash: 'abc' }
  store.commit({
    actor: 'model',
    label: 'Caption',
    diff: diffOf({ annotations: [{ before: drawn ?? null, after: described }] }),
  })
  store.undo()
  expect(store.annotations.list(1)).toEqual([])
  store.redo()
  expect(store.annotations.list(1)).toEqual([described])
})

test('only the fields that a step changed go back', () => {
  const store = projectWithImages(tempFolder(), 1)
  const [box] = addAnnotations(store, [proposalRow(1, 1, { caption: null, modelCaption: null })], 'model') as [
    ReturnType<typeof proposalRow>,
  ]
  const accepted = { ...box, status: 'accepted' as const, decidedAt: 5, decisionMs: 700 }
  store.commit({ actor: 'human', label: 'Accept', diff: diffOf({ annotations: [{ before: box, after: accepted }] }) })
  const described = { ...accepted, caption: 'a dog', modelCaption: 'a dog' }
  store.commit({
    actor: 'model',
    label: 'Caption',
    diff: diffOf({ annotations: [{ before: accepted, after: described }] }),
  })
  store.undo()
  expect(store.annotations.get(1)).toEqual({ ...box, caption: 'a dog', modelCaption: 'a dog' })
  store.redo()
  expect(store.annotations.get(1)).toEqual(described)
})

test('a class that the model uses stays when its making is undone; a name that was taken comes back with a number', () => {
  const db = memoryProject()
  const cat = categoryRow(1, 'cat')
  commitRevision(db, {
    actor: 'human',
    label: 'New category',
    diff: diffOf({ categories: [{ before: null, after: cat }] }),
  })
  const box = proposalRow(1, 1, { categoryId: 1 })
  commitRevision(db, {
    actor: 'model',
    label: 'Propose',
    diff: diffOf({ annotations: [{ before: null, after: box }] }),
  })
  expect(undo(db)?.diff.categories).toEqual([])
  expect(stateOf(db).categories).toEqual([cat])
  expect(redoStep(db)?.label).toBe('New category')
  redo(db)
  const without = { ...box, categoryId: null }
  const drop = diffOf({ categories: [{ before: cat, after: null }], annotations: [{ before: box, after: without }] })
  commitRevision(db, { actor: 'human', label: 'Delete category', diff: drop })
  commitRevision(db, {
    actor: 'model',
    label: 'Propose',
    diff: diffOf({ categories: [{ before: null, after: categoryRow(2, 'cat') }] }),
  })
  undo(db)
  expect(stateOf(db).categories).toEqual([categoryRow(1, 'cat (2)'), categoryRow(2, 'cat')])
  expect(stateOf(db).annotations).toEqual([box])
  redo(db)
  expect(stateOf(db).categories).toEqual([categoryRow(2, 'cat')])
  expect(undoStep(db)?.label).toBe('Delete category')
  db.close()
})
