import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type CocoItem, writeCoco } from '../../db/formats/coco.ts'
import { type CocoAnnotation, clampBbox } from '../../db/formats/cocoRecords.ts'
import { exporters } from '../../db/formats/format.ts'
import { imagesFolderFor, UniqueNames } from '../../db/formats/imageLayout.ts'
import type { ProjectStore } from '../../db/project.ts'
import { diffOf } from '../../db/records/diff.ts'
import type { Annotation } from '../../db/records/records.ts'
import { addAnnotations, annotationRow, categoryRow, projectWithImages, proposalRow, tempFolder } from './support.ts'

interface CocoFile {
  info: Record<string, unknown>
  licenses: unknown[]
  images: { id: number; file_name: string; width: number; height: number }[]
  annotations: CocoAnnotation[]
  categories?: { id: number; name: string }[]
}
const read = (path: string): CocoFile => JSON.parse(readFileSync(path, 'utf8'))
const FORBIDDEN = ['id', 'bbox', 'label', 'mask', 'confidence', 'bounding_box']

/** Four images of 640 x 480 and every kind of box. */
function decidedProject(folder: string): ProjectStore {
  const store = projectWithImages(folder, 4)
  const categories = [categoryRow(2, 'dog'), categoryRow(5, '车'), categoryRow(7, 'unused')].map((after) => ({
    before: null,
    after,
  }))
  store.commit({ actor: 'human', label: 'x', diff: diffOf({ categories }) })
  addAnnotations(store, [
    annotationRow(1, 1, { categoryId: 5, caption: 'a "red"\ncar 😀' }),
    proposalRow(2, 1, { categoryId: 2, status: 'accepted', modelScore: 0.75, decidedAt: 9, decisionMs: 1200 }),
    proposalRow(3, 1, { categoryId: 2, status: 'rejected' }),
    proposalRow(4, 1, { categoryId: 2, status: 'proposed' }),
    proposalRow(5, 3, { categoryId: null, status: 'edited', bboxXywh: [-5.5, 470.25, 20, 30] }),
    annotationRow(6, 3, { bboxXywh: [700, 10, 5, 5] }),
    annotationRow(7, 4, { categoryId: 5, bboxXywh: [0, 0, 640, 480] }),
  ])
  return store
}

async function exportTo(
  store: ProjectStore,
  path: string,
  options: Partial<Parameters<typeof exporters.coco.export>[1]> = {},
) {
  const source = store.exportSource()
  try {
    return await exporters.coco.export(source, {
      path,
      status: 'accepted',
      copyImages: false,
      overwrite: false,
      ...options,
    })
  } finally {
    source.close()
  }
}

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

test('without a project: ids by order, classes by name as they are met', async () => {
  const path = join(tempFolder(), 'coco.json')
  async function* items(): AsyncGenerator<CocoItem> {
    yield {
      image: { fileName: 'a/1.jpg', width: 100, height: 50 },
      annotations: [
        { bboxXywh: [1, 2, 3, 4], categoryName: 'circle', caption: 'a circle', modelScore: 0.5 },
        { bboxXywh: [1, 2, 3, 4] },
      ],
    }
    yield {
      image: { fileName: 'a/2.jpg', width: 100, height: 50 },
      annotations: [
        { bboxXywh: [1, 2, 3, 4], categoryName: 'square' },
        { bboxXywh: [Number.NaN, 2, 3, 4] },
        { bboxXywh: [5, 5, 1, 1], categoryName: 'circle' },
      ],
    }
  }
  const report = await writeCoco(path, { name: 'run', items: items() })
  expect(report).toMatchObject({ images: 2, annotations: 4, categories: 3, rejectedPath: null })
  const coco = read(path)
  expect(coco.images.map(({ id }) => id)).toEqual([1, 2])
  expect(coco.categories?.map(({ name }) => name)).toEqual(['circle', 'object', 'square'])
  expect(coco.annotations.map(({ image_id, category_id }) => [image_id, category_id])).toEqual([
    [1, 1],
    [1, 2],
    [2, 3],
    [2, 1],
  ])
  expect(new Set(coco.annotations.map(({ id }) => id)).size).toBe(4)
  expect(coco.annotations[0]?.id).toBe(1)
})

test('copied pictures lie in images/<subset> under stems of their own', async () => {
  const folder = tempFolder()
  const store = projectWithImages(folder, 2)
  mkdirSync(join(store.imagesDir, 'sub'))
  writeFileSync(join(store.imagesDir, 'scene1.png'), 'pixels 1')
  const path = join(folder, 'set', 'annotations', 'instances_val.json')
  const report = await exportTo(store, path, { copyImages: true })
  expect(imagesFolderFor(path)).toBe(join(folder, 'set', 'images', 'val'))
  expect(readdirSync(join(folder, 'set', 'images'))).toEqual(['val'])
  expect(readFileSync(join(folder, 'set', 'images', 'val', 'scene1.png'), 'utf8')).toBe('pixels 1')
  expect(report.notes).toEqual([expect.stringContaining('scene2.png could not be copied')])
  await expect(exportTo(store, path, { copyImages: true })).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
  const turned: string[] = []
  await exportTo(store, path, { copyImages: true, overwrite: true, copyImage: async (from) => void turned.push(from) })
  expect(turned).toEqual([join(store.imagesDir, 'scene1.png'), join(store.imagesDir, 'scene2.png')])
  const names = new UniqueNames()
  const given = [
    'a.png',
    'sub/a.jpg',
    'SUB/A.JPG',
    'sub_a.gif',
    'caf\u00e9.png',
    'x/cafe\u0301.png',
    'con.png',
    'w?<x>.png',
    'noext',
  ].map((name) => names.nameFor(name))
  expect(given).toEqual([
    'a.png',
    'sub_a.jpg',
    'SUB_A-2.JPG',
    'sub_a-3.gif',
    'caf\u00e9.png',
    'x_cafe\u0301.png',
    '_con.png',
    'w__x_.png',
    'noext',
  ])
})

const side = fc.oneof(
  fc.double({ min: -1e4, max: 1e4, noNaN: true }),
  fc.integer({ min: -10, max: 700 }),
  fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, 1e308, 5e-324, -0),
)
test('whatever the box, what is exported lies on the picture and is larger than nothing', () => {
  fc.assert(
    fc.property(
      side,
      side,
      side,
      side,
      fc.integer({ min: 1, max: 640 }),
      fc.integer({ min: 1, max: 480 }),
      (x, y, w, h, width, height) => {
        const bbox = clampBbox([x, y, w, h], width, height)
        if (bbox === null) return
        const [left, top, boxWidth, boxHeight] = bbox
        expect(bbox.every(Number.isFinite)).toBe(true)
        expect(left >= 0 && top >= 0 && boxWidth > 0 && boxHeight > 0).toBe(true)
        expect(left + boxWidth <= width * (1 + 1e-12) && top + boxHeight <= height * (1 + 1e-12)).toBe(true)
        if (x >= 0 && y >= 0 && x + w <= width && y + h <= height) expect(bbox).toEqual([x + 0, y + 0, w, h])
      },
    ),
    { numRuns: 5000 },
  )
})

test('pycocotools loads it, and scores it against itself with 1', async (ctx) => {
  const python = process.env.GROMATIC_PYTHON ?? 'python3'
  if (spawnSync(python, ['-c', 'import pycocotools.cocoeval']).status !== 0)
    return ctx.skip(`${python} has no pycocotools`)
  const folder = tempFolder()
  const store = decidedProject(folder)
  let id = 100
  const random = (limit: number) => (Math.abs(Math.sin(id++ * 12.9898)) * 43758.5453 * limit) % limit
  const rows: Annotation[] = Array.from({ length: 400 }, () => {
    const x = random(600)
    const y = random(440)
    return annotationRow(id++, 1 + (id % 4), {
      categoryId: [2, 5, null][id % 3] ?? null,
      bboxXywh: [x, y, 1 + random(639 - x), 1 + random(479 - y)],
    })
  })
  addAnnotations(store, rows)
  const path = join(folder, 'coco.json')
  const { annotations, captionsPath } = await exportTo(store, path)
  const judged = spawnSync(
    python,
    [fileURLToPath(new URL('./pycocotools_judge.py', import.meta.url)), path, String(captionsPath)],
    { encoding: 'utf8' },
  )
  expect(judged.stderr).toBe('')
  expect(JSON.parse(judged.stdout)).toEqual({
    images: 4,
    annotations,
    categories: ['dog', '车', 'unused', 'object'],
    category_ids: [1, 2, 3, 4],
    empty_images: 0,
    area_error: 0,
    self_ap: 1,
    captions: 3,
    captions_orphaned: 0,
  })
  expect(existsSync(path)).toBe(true)
})
