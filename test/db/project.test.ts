import { mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { createProject, openProject } from '../../db/project.ts'
import { diffOf } from '../../db/records/diff.ts'
import { connect } from '../../db/sqlite.ts'
import { addAnnotations, annotationRow, projectWithImages, tempFolder } from './support.ts'

test('a project knows its folder when the two are moved together, and when only the project is moved', () => {
  const home = tempFolder()
  for (const [project, images] of [
    ['one/a.gromatic', 'one'],
    ['two/a.gromatic', 'two/images'],
    ['three/work/a.gromatic', 'three'],
    ['four/work/a.gromatic', 'four/images'],
  ] as const) {
    mkdirSync(join(home, images), { recursive: true })
    createProject(join(home, project), join(home, images)).close()
    const [folder = ''] = images.split('/')
    renameSync(join(home, folder), join(home, `${folder}-moved`))
    const moved = openProject(join(home, project.replace(folder, `${folder}-moved`)))
    expect(moved.imagesDir).toBe(join(home, images.replace(folder, `${folder}-moved`)))
    moved.close()
  }
  mkdirSync(join(home, 'five', 'images'), { recursive: true })
  createProject(join(home, 'five', 'a.gromatic'), join(home, 'five', 'images')).close()
  renameSync(join(home, 'five', 'a.gromatic'), join(home, 'a.gromatic'))
  const alone = openProject(join(home, 'a.gromatic'))
  expect(alone.imagesDir).toBe(join(home, 'five', 'images'))
  alone.close()
})

test('a new project never takes the place of a file, and needs its images folder', () => {
  const folder = tempFolder()
  const path = join(folder, 'a.gromatic')
  writeFileSync(path, 'precious')
  expect(() => createProject(path, folder)).toThrow(expect.objectContaining({ code: 'ALREADY_EXISTS' }))
  expect(() => createProject(join(folder, 'b.gromatic'), join(folder, 'nowhere'))).toThrow(
    expect.objectContaining({ code: 'NOT_FOUND' }),
  )
  expect(readdirSync(folder)).toEqual(['a.gromatic'])
})

test('what a killed creation left behind is no obstacle', () => {
  const folder = tempFolder()
  writeFileSync(join(folder, 'a.gromatic.new'), 'half')
  writeFileSync(join(folder, 'a.gromatic.new-journal'), 'half')
  const store = createProject(join(folder, 'a.gromatic'), folder)
  expect(store.summary()).toEqual({
    path: join(folder, 'a.gromatic'),
    name: 'a',
    imagesDir: folder,
    readOnly: false,
    warning: null,
    imageCount: 0,
    doneCount: 0,
    decidedCount: 0,
    skippedCount: 0,
    headSeq: 0,
    undoLabel: null,
    redoLabel: null,
  })
  store.close()
  expect(readdirSync(folder)).toEqual(['a.gromatic'])
})

test('JSON in the file that is not what it should be is told as damage, not trusted', () => {
  const store = projectWithImages(tempFolder(), 1)
  store.close()
  const db = connect(store.path)
  db.exec(`INSERT INTO messages (id, image_id, role, text, spans, attached_boxes, regions, malformed, created_at)
    VALUES (1, 1, 'user', 'hi', '[{"text": 5}]', '[]', '[]', 0, 0)`)
  db.exec(
    "INSERT INTO revisions (actor, label, created_at, undoable, diff) VALUES ('human', 'x', 0, 1, '{\"annotations\": 1}')",
  )
  db.close()
  const again = openProject(store.path)
  const damaged = expect.objectContaining({ code: 'PROJECT_INVALID' })
  expect(() => again.messages.list(1)).toThrow(damaged)
  expect(() => again.history.get(2)).toThrow(damaged)
  expect(() => again.undo()).toThrow(damaged)
  expect(again.history.list()).toHaveLength(2)
  again.close()
})

test('nothing is acknowledged once the file was deleted, replaced or moved while it was open; put back, it goes on', async () => {
  const store = projectWithImages(tempFolder(), 1)
  addAnnotations(store, [annotationRow(1, 1)])
  const gone = expect.objectContaining({ code: 'IO_FAILED', message: expect.stringContaining('while it was open') })
  const aside = `${store.path}.aside`
  renameSync(store.path, aside)
  expect(() => addAnnotations(store, [annotationRow(2, 1)])).toThrow(gone)
  writeFileSync(store.path, 'another file')
  expect(() => addAnnotations(store, [annotationRow(2, 1)])).toThrow(gone)
  rmSync(store.path)
  const { promise, resolve } = Promise.withResolvers<void>()
  renameSync(aside, store.path)
  addAnnotations(store, [annotationRow(2, 1)])
  const importing = store.commitBulk({ actor: 'import', label: 'Import' }, async (add) => {
    add(diffOf({ annotations: [{ before: null, after: annotationRow(3, 1) }] }))
    await promise
  })
  renameSync(store.path, aside)
  resolve()
  await expect(importing).rejects.toEqual(gone)
  renameSync(aside, store.path)
  store.close()
  const again = openProject(store.path)
  expect(again.annotations.list(1).map(({ id }) => id)).toEqual([1, 2])
  again.close()
})
