/** What we write, read by other people's packages: each from its own registry, in a Python that the tests make or are given. */
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import type { FormatName } from '../../db/records/formatNames.ts'
import { type Contents, exportAs, newProject } from '../support/formats.ts'
import { pythonWith } from '../support/pythonEnvironment.ts'
import { annotationRow, categoryRow, imageRow, tempFolder } from './support.ts'

const side = { width: 64, height: 48 }
const CONTENTS: Contents = {
  images: [imageRow(1, 'a.png', side), imageRow(2, 'b.png', side), imageRow(5, 'empty.png', side)],
  categories: [categoryRow(1, 'cup'), categoryRow(2, 'traffic light')],
  annotations: [
    annotationRow(1, 1, { categoryId: 2, bboxXywh: [10, 12, 20, 16], caption: 'the left light' }),
    annotationRow(2, 1, { categoryId: 1, bboxXywh: [0, 0, 64, 48] }),
    annotationRow(3, 2, {
      categoryId: 1,
      bboxXywh: [5, 6, 7, 8],
      extras: { segmentation: [[5, 6, 12, 6, 12, 14]], attributes: { expressions: 'the cup\nred one' } },
    }),
  ],
}
/** Picture, class and the corners of every box, sorted. */
const EXPECTED = [
  ['a.png', 'cup', 0, 0, 64, 48],
  ['a.png', 'traffic light', 10, 12, 30, 28],
  ['b.png', 'cup', 5, 6, 12, 14],
]

/** A project of three real pictures. */
async function project(folder: string, ending: 'png' | 'jpg' = 'png') {
  const images = CONTENTS.images.map((row) => ({ ...row, fileName: row.fileName.replace('png', ending) }))
  const store = newProject(folder, 'one', { ...CONTENTS, images })
  const { default: sharp } = await import('sharp')
  for (const { fileName } of images) {
    const pixels = sharp({ create: { ...side, channels: 3, background: '#884422' } })
    writeFileSync(join(store.imagesDir, fileName), await pixels.toFormat(ending === 'jpg' ? 'jpeg' : 'png').toBuffer())
  }
  return store
}

/** What a script of `judges/` prints last, from JSON. */
function judge(python: string, script: string, ...args: string[]): unknown {
  const path = fileURLToPath(new URL(`./judges/${script}`, import.meta.url))
  const run = spawnSync(python, [path, ...args], { encoding: 'utf8' })
  expect(run.status, run.stderr).toBe(0)
  return JSON.parse(run.stdout.trim().split('\n').at(-1) ?? '')
}

test('supervision reads COCO, YOLO and VOC', { timeout: 600_000 }, async (ctx) => {
  const found = pythonWith('supervision', 'supervision')
  if ('reason' in found) return ctx.skip(found.reason)
  const folder = tempFolder()
  const store = await project(folder)
  for (const format of ['yolo', 'voc'] as const)
    await exportAs(store, format, join(folder, format), { copyImages: true })
  await exportAs(store, 'coco', join(folder, 'coco.json'), { copyImages: true })
  store.close()
  expect(judge(found.python, 'supervision_judge.py', folder)).toEqual({ coco: EXPECTED, voc: EXPECTED, yolo: EXPECTED })
})

test('ultralytics finds the pictures and labels that data.yaml speaks of', { timeout: 600_000 }, async (ctx) => {
  const found = pythonWith('ultralytics', 'ultralytics', true)
  if ('reason' in found) return ctx.skip(found.reason)
  const folder = tempFolder()
  const store = await project(folder)
  await exportAs(store, 'yolo', join(folder, 'yolo'), {
    copyImages: true,
    split: { shares: { train: 1, val: 1 }, seed: '3' },
  })
  store.close()
  expect(judge(found.python, 'ultralytics_judge.py', join(folder, 'yolo'))).toEqual({
    names: ['cup', 'traffic light'],
    boxes: EXPECTED,
    images: 3,
  })
})

test('FiftyOne’s importers read COCO, CVAT, VOC and YOLO', { timeout: 600_000 }, async (ctx) => {
  const found = pythonWith('fiftyone', 'fiftyone', true)
  if ('reason' in found) return ctx.skip(found.reason)
  const folder = tempFolder()
  const store = await project(folder)
  for (const format of ['yolo', 'voc'] as const)
    await exportAs(store, format, join(folder, format), { copyImages: true })
  await exportAs(store, 'coco', join(folder, 'coco.json'), { copyImages: true })
  await exportAs(store, 'cvat', join(folder, 'cvat.xml'))
  store.close()
  const polygon = EXPECTED.slice(0, 2) // CVAT's third box is a polygon, which FiftyOne keeps apart
  // it takes VOC's corners as they stand, from 1, where VOC's own tools take one away
  const fromOne = EXPECTED.map(([image, name, x, y, ...ends]) => [image, name, Number(x) + 1, Number(y) + 1, ...ends])
  expect(judge(found.python, 'fiftyone_judge.py', folder)).toEqual({
    coco: EXPECTED,
    cvat: polygon,
    voc: fromOne,
    yolo: EXPECTED,
  })
})

test('the lvis package scores our file against itself with 1', { timeout: 600_000 }, async (ctx) => {
  const found = pythonWith('lvis', 'lvis')
  if ('reason' in found) return ctx.skip(found.reason)
  const folder = tempFolder()
  const store = await project(folder)
  await exportAs(store, 'lvis', join(folder, 'lvis.json'))
  await exportAs(store, 'coco-results', join(folder, 'results.json'))
  store.close()
  const report = judge(found.python, 'lvis_judge.py', join(folder, 'lvis.json'), join(folder, 'results.json'))
  expect(report).toEqual({ images: 3, annotations: 3, categories: ['cup', 'traffic light'], self_ap: 1 })
})

test('the refer API’s index: every reference of the pickle has its box, image, class and sentences', {
  timeout: 60_000,
}, async (ctx) => {
  if (spawnSync('python3', ['--version']).status !== 0) return ctx.skip('there is no python3')
  const folder = tempFolder()
  const store = await project(folder)
  await exportAs(store, 'refcoco', join(folder, 'refcoco'), { copyImages: true })
  store.close()
  expect(judge('python3', 'refer_judge.py', join(folder, 'refcoco'))).toEqual({
    splits: ['train'],
    refs: [
      ['a.png', 'traffic light', [10, 12, 20, 16], ['the left light']],
      ['b.png', 'cup', [5, 6, 7, 8], ['the cup', 'red one']],
    ],
  })
})

test('the readers of the training recipe take what we write for them', { timeout: 120_000 }, async (ctx) => {
  const found = pythonWith('torch', 'torch', true)
  if ('reason' in found) return ctx.skip(found.reason)
  const folder = tempFolder()
  const store = await project(folder, 'jpg')
  const formats = {
    coco: 'coco.json',
    refcoco: 'refcoco',
    'visual-genome': 'vg',
    flickr30k: 'flickr',
    'groma-instruct': 'groma.json',
    'coco-captions': 'captions.json',
  } as const
  for (const [format, name] of Object.entries(formats))
    await exportAs(store, format as FormatName, join(folder, name), { copyImages: true })
  store.close()
  const training = fileURLToPath(new URL('../../native-models/training', import.meta.url))
  const [light, cup, all] = [
    [10, 12, 30, 28],
    [5, 6, 12, 14],
    [0, 0, 64, 48],
  ]
  const said = 'the left light'
  const find = (phrase: string) => expect.stringContaining(phrase)
  expect(judge(found.python, 'training_judge.py', training, folder)).toEqual({
    coco: [
      ['a.jpg', [light, all], [find('cup'), find('traffic light')]],
      ['b.jpg', [cup], [find('cup')]],
    ],
    refcoco: [
      ['a.jpg', [light], [find(said), find(said)]],
      ['b.jpg', [cup], [find('red one'), find('the cup'), expect.any(String)]],
    ],
    visual_genome: [
      ['1.jpg', [light, all], [find('cup'), find(said)]],
      ['2.jpg', [cup], [find('cup')]],
    ],
    // its reader takes the corners as they stand, from 1
    flickr30k: [
      ['a.jpg', [[11, 13, 30, 28]], [find(`<p>${said}</p><roi><ground_box></roi>`)]],
      ['b.jpg', [], []],
      ['empty.jpg', [], []],
    ],
    groma_instruct: [['a.jpg', [light, all], [find(`<p>${said}</p><roi><ground_box></roi>`)]]],
    captions: [['a.jpg', [], [find(said)]]],
  })
})

test('xmllint finds our XML well formed, VOC and CVAT valid by the elements that their tools look up', async (ctx) => {
  if (spawnSync('xmllint', ['--version']).status !== 0) return ctx.skip('there is no xmllint')
  const folder = tempFolder()
  const store = await project(folder)
  await exportAs(store, 'voc', join(folder, 'voc'))
  await exportAs(store, 'cvat', join(folder, 'cvat.xml'))
  await exportAs(store, 'flickr30k', join(folder, 'flickr'))
  store.close()
  const lint = (schema: string, path: string) => {
    const dtd = fileURLToPath(new URL(`./judges/${schema}`, import.meta.url))
    const run = spawnSync('xmllint', ['--noout', '--dtdvalid', dtd, path], { encoding: 'utf8' })
    return run.status === 0 ? 'valid' : run.stderr
  }
  for (const name of ['a', 'b', 'empty'])
    expect(lint('voc.dtd', join(folder, 'voc', 'Annotations', `${name}.xml`))).toBe('valid')
  expect(lint('cvat.dtd', join(folder, 'cvat.xml'))).toBe('valid')
  for (const name of ['a', 'b', 'empty'])
    expect(lint('voc.dtd', join(folder, 'flickr', 'Annotations', `${name}.xml`))).toBe('valid')
})
