/** What an export never takes the place of, whoever wants files replaced: pictures and projects. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { writeCoco } from '../../db/formats/coco.ts'
import { createProject } from '../../db/project.ts'
import { diffOf } from '../../db/records/diff.ts'
import type { FormatName } from '../../db/records/formatNames.ts'
import { exportAs } from '../support/formats.ts'
import { imageRow, tempFolder } from './support.ts'

/** A project over `images/train`, where copies for `train.json` would go. */
function projectOverCopies(images = join('images', 'train')) {
  const folder = tempFolder(true)
  mkdirSync(join(folder, 'images', 'train'), { recursive: true })
  for (const name of ['a.jpg', 'b.jpg', 'notes.md']) writeFileSync(join(folder, 'images', 'train', name), name)
  const store = createProject(join(folder, 'work.gromatic'), join(folder, images))
  const row = imageRow(1, images === 'images' ? 'train/a.jpg' : 'a.jpg')
  store.commit({ actor: 'scan', label: 'Read the folder', diff: diffOf({ images: [{ before: null, after: row }] }) })
  const pictures = () => readdirSync(join(folder, 'images', 'train')).sort()
  return { folder, store, pictures }
}

const replacing = { copyImages: true, overwrite: true }

test.each<[FormatName, string, string]>([
  ['coco', 'train.json', 'holds the pictures of this project'],
  ['csv', 'train.csv', 'holds the pictures of this project'],
])('%s with copies never replaces the folder of the project’s own pictures', async (format, name, reason) => {
  const { folder, store, pictures } = projectOverCopies()
  await expect(exportAs(store, format, join(folder, name), replacing)).rejects.toThrow(reason)
  expect(pictures()).toEqual(['a.jpg', 'b.jpg', 'notes.md'])
  store.close()
})

test('nor a folder of pictures that holds no copies of ours; one that does is replaced', async () => {
  const { folder, store, pictures } = projectOverCopies('images')
  const train = join(folder, 'train.json')
  await expect(exportAs(store, 'coco', train, replacing)).rejects.toThrow('no copies of ours')
  expect(pictures()).toEqual(['a.jpg', 'b.jpg', 'notes.md'])
  for (let round = 0; round < 2; round++) await exportAs(store, 'coco', join(folder, 'out.json'), replacing)
  expect(readdirSync(join(folder, 'images', 'out')).filter((name) => !name.startsWith('.'))).toEqual(['a.jpg'])
  store.close()
})

test('nor a project, as a file or in the folder of an earlier export', async () => {
  const { folder, store } = projectOverCopies()
  await expect(exportAs(store, 'coco', store.path, { overwrite: true })).rejects.toThrow('is a project')
  await expect(exportAs(store, 'csv', store.path, { overwrite: true })).rejects.toThrow('is a project')
  const out = join(folder, 'out')
  await exportAs(store, 'yolo', out, replacing)
  await exportAs(store, 'yolo', out, replacing)
  createProject(join(out, 'images', 'mine.gromatic'), join(out, 'images')).close()
  await expect(exportAs(store, 'yolo', out, replacing)).rejects.toThrow('holds a project (images/mine.gromatic)')
  expect(existsSync(join(out, 'images', 'mine.gromatic'))).toBe(true)
  store.close()
})

test('nor the folder of an earlier export that a project elsewhere has its pictures in', async () => {
  const { folder, store } = projectOverCopies()
  const out = join(folder, 'out')
  await exportAs(store, 'yolo', out, replacing)
  store.close()
  const over = createProject(join(folder, 'over.gromatic'), join(out, 'images'))
  await expect(exportAs(over, 'yolo', out, { overwrite: true })).rejects.toThrow('holds the pictures of this project')
  expect(readdirSync(join(out, 'images', 'train'))).toEqual(['a.jpg'])
  over.close()
})

test('two runs into one file do not mix; what a killed run left goes', async () => {
  const folder = tempFolder(true)
  const path = join(folder, 'coco.json')
  const { pid: dead } = spawnSync(process.execPath, ['--version'])
  writeFileSync(join(folder, `.coco.json.${dead}-1.gromatic-tmp`), 'half')
  const { promise: gate, resolve: open } = Promise.withResolvers<void>()
  const item = (id: number) => ({ image: { id, fileName: `${id}.jpg`, width: 9, height: 9 }, annotations: [] })
  async function* slow() {
    yield item(1)
    await gate
    yield item(2)
  }
  async function* quick() {
    yield item(3)
  }
  const first = writeCoco(path, { name: 'first', items: slow() }, { overwrite: true })
  await writeCoco(path, { name: 'second', items: quick() }, { overwrite: true })
  const ids = () => JSON.parse(readFileSync(path, 'utf8')).images.map(({ id }: { id: number }) => id)
  expect(ids()).toEqual([3])
  open()
  await first
  expect(ids()).toEqual([1, 2])
  expect(readdirSync(folder)).toEqual(['coco.json'])
})
