import { spawnSync } from 'node:child_process'
import { expect, test } from 'vitest'
import { readPieces } from '../../db/bulkRevision.ts'
import { openProject, type ProjectStore } from '../../db/project.ts'
import { diffOf } from '../../db/records/diff.ts'
import { connect } from '../../db/sqlite.ts'
import { addAnnotations, annotationRow, categoryRow, projectWithImages, tempFolder } from './support.ts'
import { miscounts, replay, stateOf } from './undoModel.ts'

const annotations = (from: number, count: number, categoryId: number | null = 1) =>
  diffOf({
    annotations: Array.from({ length: count }, (_, index) => ({
      before: null,
      after: annotationRow(from + index, 1 + (index % 3), { categoryId, provenance: 'import' as const }),
    })),
  })
const category = diffOf({ categories: [{ before: null, after: categoryRow(1, 'cup') }] })

/** A class and 30 boxes, in four pieces. */
const importThirty = (store: ProjectStore) =>
  store.commitBulk({ actor: 'import', label: 'Import 30' }, async (add) => {
    add(category)
    for (const from of [1, 11, 21]) {
      add(annotations(from, 10))
      await new Promise((resume) => setImmediate(resume))
    }
  })

function whole(store: ProjectStore) {
  const { path } = store
  store.close()
  const db = connect(path)
  const result = { state: stateOf(db), replayed: replay(db), miscounts: miscounts(db) }
  db.close()
  expect(result.replayed).toEqual(result.state)
  expect(result.miscounts).toEqual([])
  return result.state
}

test('many pieces are one revision: undone, redone, replayed as one', async () => {
  const folder = tempFolder()
  const store = projectWithImages(folder, 3)
  const revision = await importThirty(store)
  expect(revision).toMatchObject({ bulkRows: 31, diff: { annotations: [], categories: [] } })
  expect(store.summary()).toMatchObject({ undoLabel: 'Import 30', decidedCount: 30 })
  expect(store.history.list()[0]).toMatchObject({ label: 'Import 30', bulkRows: 31 })
  expect(store.allocateIds('annotations')).toEqual([31])
  const before = store.annotations.list(1)
  expect(before).toHaveLength(12)
  expect(store.undo()).toMatchObject({ undoes: revision.seq, bulkRows: 31 })
  expect(store.annotations.list(1)).toEqual([])
  expect(store.categories.list()).toEqual([])
  expect(store.redo()).toMatchObject({ redoes: revision.seq })
  expect(store.annotations.list(1)).toEqual(before)
  store.undo()
  store.redo()
  const db = connect(store.path, { readonly: true })
  expect([...readPieces(db, revision.seq)].map((piece) => piece.annotations.length)).toEqual([0, 10, 10, 10])
  db.close()
  expect(whole(store).annotations).toHaveLength(30)
  const again = connect(store.path)
  expect(() => again.exec('DELETE FROM revision_pieces')).toThrow(/append-only/)
  expect(() => again.exec("UPDATE revision_pieces SET diff = ''")).toThrow(/append-only/)
  again.close()
})

test('a large step is taken back in slices: told, stopped without a trace, and refusing other writes until it ends', async () => {
  const store = projectWithImages(tempFolder(), 3)
  const revision = await importThirty(store)
  const before = store.annotations.list(1)
  const controller = new AbortController()
  const stopped = store.turn('undo', {
    signal: controller.signal,
    onProgress: ({ done }) => done >= 20 && controller.abort(),
  })
  await expect(stopped).rejects.toMatchObject({ code: 'CANCELLED' })
  expect(store.annotations.list(1)).toEqual(before)
  expect(store.summary().undoLabel).toBe('Import 30')

  const told: number[] = []
  const turning = store.turn('undo', { onProgress: ({ done, total }) => void told.push(done, total) })
  expect(() => addAnnotations(store, [annotationRow(50, 1)])).toThrow(/taken back/)
  expect(store.annotations.list(1)).toEqual(before)
  await store.settled()
  addAnnotations(store, [annotationRow(50, 2)])
  expect(await turning).toMatchObject({ undoes: revision.seq, bulkRows: 31 })
  expect(told).toEqual([10, 31, 20, 31, 30, 31, 31, 31])
  expect(store.annotations.list(1)).toEqual([])
  expect(await store.turn('undo')).toMatchObject({ diff: { annotations: [{ after: null }] } }) // an ordinary one
  expect(await store.turn('redo')).not.toBeNull()
  whole(store)
})

test('undo of an import keeps what people did since: edited rows come back as they were, a class in use stays', async () => {
  const store = projectWithImages(tempFolder(), 3)
  await importThirty(store)
  const before = store.annotations.get(2)
  const moved = { ...before, bboxXywh: [1, 2, 3, 4] as [number, number, number, number], status: 'edited' as const }
  store.commit({ actor: 'human', label: 'Move', diff: diffOf({ annotations: [{ before, after: moved }] }) })
  addAnnotations(store, [annotationRow(40, 1, { categoryId: 1 })], 'model')
  store.undo()
  store.undo()
  expect(store.annotations.list(1).map(({ id }) => id)).toEqual([40])
  expect(store.categories.list()).toHaveLength(1)
  store.redo()
  expect(store.annotations.get(2)).toEqual(before)
  store.redo()
  expect(store.annotations.get(2)).toEqual(moved)
  whole(store)
})

test('a small import is an ordinary revision', async () => {
  const store = projectWithImages(tempFolder(), 3)
  const revision = await store.commitBulk({ actor: 'import', label: 'Import 2' }, async (add) =>
    add(annotations(1, 2, null)),
  )
  expect(revision.bulkRows).toBeUndefined()
  expect(revision.diff.annotations).toHaveLength(2)
  store.undo()
  expect(store.annotations.list(1)).toEqual([])
})

test('while it is written nobody sees it and nothing else is saved; a failure, a close or a kill leaves nothing', async () => {
  const folder = tempFolder()
  const store = projectWithImages(folder, 3)
  const run = (then: () => void) => {
    const before = store.annotations.list(1)
    return store.commitBulk({ actor: 'import', label: 'Import' }, async (add) => {
      add(category)
      add(annotations(1, 10))
      expect(store.annotations.list(1)).toEqual(before)
      expect(() => addAnnotations(store, [annotationRow(50, 1)])).toThrow(/import is being written/)
      then()
    })
  }
  await expect(run(() => expect.fail('stop'))).rejects.toThrow('stop')
  await expect(
    store.commitBulk({ actor: 'import', label: 'Import' }, async (add) => add(annotations(1, 1, 77))),
  ).rejects.toMatchObject({ code: 'INVALID_INPUT' })
  expect(store.categories.list()).toEqual([])
  addAnnotations(store, [annotationRow(50, 1)])
  expect(store.summary()).toMatchObject({ headSeq: 2, decidedCount: 1 })
  await expect(run(() => store.close())).rejects.toMatchObject({ code: 'CANCELLED' })

  const script = `
    const { openProject } = await import(${JSON.stringify(new URL('../../db/project.ts', import.meta.url).href)})
    const store = openProject(${JSON.stringify(store.path)})
    await store.commitBulk({ actor: 'import', label: 'Import' }, async (add) => {
      add(${JSON.stringify(category)})
      for (let piece = 0; piece < 50; piece++) add({ ...${JSON.stringify(annotations(100, 0))}, annotations: ${JSON.stringify(annotations(100, 200).annotations)}.map(({ after }) => ({ before: null, after: { ...after, id: after.id + 200 * piece } })) })
      process.kill(process.pid, 'SIGKILL')
    })`
  const killed = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' })
  expect(killed.signal, killed.stderr).toBe('SIGKILL')
  const after = openProject(store.path)
  expect(after.readOnly).toBe(false)
  expect(after.summary()).toMatchObject({ headSeq: 2, decidedCount: 1 })
  expect(whole(after).categories).toEqual([])
})
