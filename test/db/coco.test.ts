import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { type CocoItem, writeCoco } from '../../db/formats/coco.ts'
import type { CocoAnnotation } from '../../db/formats/cocoRecords.ts'
import { decidedProject, exportTo, read } from './cocoSupport.ts'
import { addAnnotations, annotationRow, tempFolder } from './support.ts'

const FORBIDDEN = ['id', 'bbox', 'label', 'mask', 'confidence', 'bounding_box']

test('what people accepted, in the shape that loads everywhere', async () => {
  const folder = tempFolder()
  const store = decidedProject(folder)
  const path = join(folder, 'out', 'coco.json')
  const report = await exportTo(store, path)
  expect(report).toEqual({
    path,
    images: 4,
    annotations: 4,
    categories: 4,
    rejectedPath: join(folder, 'out', 'coco.rejected.jsonl'),
    captionsPath: join(folder, 'out', 'coco.captions.json'),
    notes: [
      '1 box lies outside of the image and was left out.',
      '1 box has no category and is called "object".',
      '1 rejected box is in coco.rejected.jsonl.',
    ],
  })
  const coco = read(path)
  expect(Object.keys(coco)).toEqual(['info', 'licenses', 'images', 'annotations', 'categories'])
  expect(coco.categories).toEqual(
    ['dog', '车', 'unused', 'object'].map((name, index) => ({ id: index + 1, name, supercategory: '' })),
  )
  expect(coco.images.map(({ id, file_name, width, height }) => [id, file_name, width, height])).toEqual(
    [1, 2, 3, 4].map((id) => [id, `scene${id}.png`, 640, 480]),
  )
  expect(coco.annotations.map(({ id }) => id)).toEqual([1, 2, 5, 7])
  const [first, second, third, fourth] = coco.annotations as [
    CocoAnnotation,
    CocoAnnotation,
    CocoAnnotation,
    CocoAnnotation,
  ]
  expect(first).toEqual({
    id: 1,
    image_id: 1,
    category_id: 2,
    bbox: [11, 20, 30.5, 40.25],
    area: 30.5 * 40.25,
    iscrowd: 0,
    segmentation: [],
    attributes: { caption: 'a "red"\ncar 😀', status: 'accepted', provenance: 'human' },
  })
  expect(second).toMatchObject({ score: 0.75, category_id: 1 })
  expect(second.attributes).toEqual({
    caption: 'a red circle',
    status: 'accepted',
    provenance: 'model',
    model_caption: 'a red circle',
    model_score: 0.75,
    model_hash: 'abc',
    model_x: 12,
    model_y: 20,
    model_width: 30.5,
    model_height: 40.25,
    decided_at: 9,
    decision_ms: 1200,
  })
  expect(third).toMatchObject({ bbox: [0, 470.25, 14.5, 9.75], category_id: 4, area: 14.5 * 9.75 })
  expect(fourth.bbox).toEqual([0, 0, 640, 480])
  for (const { attributes } of coco.annotations) {
    for (const [key, value] of Object.entries(attributes)) {
      expect(FORBIDDEN).not.toContain(key)
      expect(['string', 'number']).toContain(typeof value)
    }
  }
  const captions = read(String(report.captionsPath))
  expect(captions.categories).toBeUndefined()
  expect(captions.annotations).toEqual([
    { id: 1, image_id: 1, caption: 'a "red"\ncar 😀' },
    { id: 2, image_id: 1, caption: 'a red circle' },
    { id: 5, image_id: 3, caption: 'a red circle' },
  ])
  expect(captions.images).toEqual(coco.images)
  const rejected = readFileSync(String(report.rejectedPath), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  expect(rejected).toEqual([
    expect.objectContaining({
      id: 3,
      image_id: 1,
      file_name: 'scene1.png',
      category: 'dog',
      bbox: [13, 20, 30.5, 40.25],
      score: 0.5,
    }),
  ])
  expect(readdirSync(join(folder, 'out')).sort()).toEqual(['coco.captions.json', 'coco.json', 'coco.rejected.jsonl'])
})

test('the same records give the same bytes; undecided boxes only when asked for, rejected ones never', async () => {
  const folder = tempFolder()
  const store = decidedProject(folder)
  await exportTo(store, join(folder, 'one.json'))
  await exportTo(store, join(folder, 'two.json'))
  const one = readFileSync(join(folder, 'one.json'), 'utf8')
  expect(readFileSync(join(folder, 'two.json'), 'utf8')).toBe(one)
  expect(one).not.toMatch(/NaN|Infinity|null/)
  await exportTo(store, join(folder, 'all.json'), { status: 'all' })
  const all = read(join(folder, 'all.json'))
  expect(all.annotations.map(({ id, attributes }) => [id, attributes.status])).toEqual([
    [1, 'accepted'],
    [2, 'accepted'],
    [4, 'proposed'],
    [5, 'edited'],
    [7, 'accepted'],
  ])
})

test('an existing file stays, unless it may be replaced; then nothing of the old export is left', async () => {
  const folder = tempFolder()
  const store = decidedProject(folder)
  const path = join(folder, 'coco.json')
  await exportTo(store, path)
  const before = readFileSync(path, 'utf8')
  await expect(exportTo(store, path)).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
  const abort = new AbortController()
  const cancelled = exportTo(store, path, {
    overwrite: true,
    signal: abort.signal,
    onProgress: ({ done }) => done === 2 && abort.abort(),
  })
  await expect(cancelled).rejects.toMatchObject({ code: 'CANCELLED' })
  expect(readFileSync(path, 'utf8')).toBe(before)
  expect(readdirSync(folder).filter((name) => name.includes('tmp'))).toEqual([])
  await expect(exportTo(store, join(folder, 'coco.captions.json'))).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
  writeFileSync(join(folder, 'other.captions.json'), 'precious')
  await expect(exportTo(store, join(folder, 'other.json'))).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
  expect(readFileSync(join(folder, 'other.captions.json'), 'utf8')).toBe('precious')
  const items: CocoItem[] = [{ image: { fileName: 'x.png', width: 5, height: 5 }, annotations: [] }]
  const report = await writeCoco(path, { name: 'empty', items }, { overwrite: true })
  expect(report).toMatchObject({ images: 1, annotations: 0, captionsPath: null, rejectedPath: null })
  expect(readdirSync(folder).filter((name) => name.startsWith('coco'))).toEqual(['coco.json'])
  expect(read(path)).toMatchObject({ annotations: [], categories: [], licenses: [] })
})

test('an export shows one moment: commits go on meanwhile and are not in it', async () => {
  const folder = tempFolder()
  const store = decidedProject(folder)
  let drawn = 0
  const onProgress = () => void addAnnotations(store, [annotationRow(100 + drawn++, 4)])
  const report = await exportTo(store, join(folder, 'coco.json'), { onProgress })
  expect(drawn).toBe(4)
  expect(report.annotations).toBe(4)
  expect(store.annotations.list(4)).toHaveLength(5)
})
