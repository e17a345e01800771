/** COCO results are numbers of some COCO file: which one is found out, or asked. */
import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { boxesOf, exportAs, importFrom, newProject, planFrom } from '../support/formats.ts'
import { annotationRow, categoryRow, imageRow, tempFolder } from './support.ts'

/** Somebody's instances: other ids than the project's, classes that are not numbered from 1. */
const instances = (ids: [number, number], classes: [number, number]) => ({
  images: [
    { id: ids[0], file_name: 'a.jpg', width: 640, height: 480 },
    { id: ids[1], file_name: 'b.jpg', width: 640, height: 480 },
  ],
  annotations: [{ id: 1, image_id: ids[0], category_id: classes[0], bbox: [300, 300, 5, 5] }],
  categories: [
    { id: classes[0], name: 'cup' },
    { id: classes[1], name: 'dog' },
  ],
})
const result = (image_id: number, category_id: number, x: number) => ({
  image_id,
  category_id,
  bbox: [x, 2, 3, 4],
  score: 0.5,
})

function lay(folder: string, files: Record<string, unknown>): (name: string) => string {
  for (const [name, value] of Object.entries(files)) writeFileSync(join(folder, name), JSON.stringify(value))
  return (name) => join(folder, name)
}
const project = (folder: string) =>
  newProject(folder, 'p', { images: [imageRow(1, 'a.jpg'), imageRow(2, 'b.jpg')], categories: [categoryRow(4, 'dog')] })
const proposed = (store: ReturnType<typeof project>) =>
  boxesOf(store)
    .filter(({ row }) => row.status === 'proposed')
    .map(({ image, className, row }) => [image, className, row.bboxXywh[0]])

test('results of a file that is given, lies beside, or was imported before', async () => {
  const results = [result(700, 18, 1), result(400, 1, 2)]
  const expected = [
    ['a.jpg', 'cup', 2],
    ['b.jpg', 'dog', 1],
  ]
  for (const way of ['given', 'beside', 'imported'] as const) {
    const folder = tempFolder(true)
    const at = lay(folder, { 'results.json': results })
    const elsewhere = tempFolder(true)
    lay(way === 'beside' ? folder : elsewhere, { 'instances.json': instances([400, 700], [1, 18]) })
    const store = project(folder)
    if (way === 'imported') await importFrom(store, 'coco', join(elsewhere, 'instances.json'))
    const { plan } = await importFrom(store, 'coco-results', at('results.json'), {
      conflicts: 'add',
      ...(way === 'given' ? { instances: join(elsewhere, 'instances.json') } : {}),
    })
    expect(plan.notes, way).toContain('Images and classes are numbered as in instances.json.')
    expect(proposed(store), way).toEqual(expected)
    store.close()
  }
})

test('numbers that fit two files are never guessed', async () => {
  const folder = tempFolder(true)
  const at = lay(folder, { 'results.json': [result(1, 1, 9)], 'instances.json': instances([2, 1], [1, 2]) })
  const store = project(folder)
  const asked = await planFrom(store, 'coco-results', at('results.json')).catch((error: Error) => error.message)
  expect(asked).toBe(
    'The numbers in results.json could be those of this project’s own COCO export or of instances.json: say which file they were made for.',
  )
  const own = await planFrom(store, 'coco-results', at('results.json'), { instances: 'project' })
  expect(own.categories).toEqual([{ name: 'dog', annotations: 1, action: 'merge', into: 'dog' }])
  await importFrom(store, 'coco-results', at('results.json'), { instances: at('instances.json') })
  expect(proposed(store)).toEqual([['b.jpg', 'cup', 9]])
  store.close()
})

test('our own export beside its results is no question', async () => {
  const folder = tempFolder(true)
  const store = newProject(folder, 'p', {
    images: [imageRow(1, 'a.jpg'), imageRow(2, 'b.jpg')],
    categories: [categoryRow(4, 'dog')],
    annotations: [annotationRow(1, 1, { categoryId: null })],
  })
  await exportAs(store, 'coco', join(folder, 'out.json'))
  const at = lay(folder, { 'results.json': [result(2, 1, 1), result(2, 2, 2)] })
  await importFrom(store, 'coco-results', at('results.json'))
  expect(proposed(store)).toEqual([
    ['b.jpg', 'dog', 1],
    ['b.jpg', 'object', 2],
  ])
  store.close()
})

test('numbers that fit nothing are told row by row', async () => {
  const folder = tempFolder(true)
  const at = lay(folder, {
    'results.json': [result(9, 1, 1), result(1, 30, 1)],
    'instances.json': instances([400, 700], [1, 18]),
  })
  const store = project(folder)
  const plan = await planFrom(store, 'coco-results', at('results.json'))
  expect(plan.images.missingExamples).toEqual(['image 9'])
  expect(plan.problems.first).toEqual([
    { where: '[1]', reason: 'class 30 is not in the project: give the COCO file that these results were made for' },
    { where: '[1]', reason: 'names class 30, which is not in the file' },
  ])
  const named = await planFrom(store, 'coco-results', at('results.json'), { instances: at('instances.json') })
  expect(named.problems.first).toEqual([
    { where: '[0]', reason: 'image 9 is not in instances.json' },
    { where: '[1]', reason: 'image 1 is not in instances.json' },
  ])
  rmSync(at('instances.json'))
  await expect(
    planFrom(store, 'coco-results', at('results.json'), { instances: at('instances.json') }),
  ).rejects.toMatchObject({
    code: 'NOT_FOUND',
  })
  store.close()
})

test('what lies beside results and is no file of COCO does not matter: a folder, a link that leads nowhere, half a file', async () => {
  const folder = tempFolder()
  const at = lay(folder, { 'results.json': [result(700, 18, 1)], 'set.json': instances([700, 400], [18, 1]) })
  mkdirSync(at('folder.json'))
  symlinkSync(at('nowhere'), at('link.json'))
  writeFileSync(at('half.json'), readFileSync(at('set.json'), 'utf8').slice(0, -40))
  const store = project(folder)
  await importFrom(store, 'coco-results', at('results.json'))
  expect(proposed(store)).toEqual([['a.jpg', 'cup', 1]])
  store.close()
})
