import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { clampBbox } from '../../db/formats/boxes.ts'
import { type CocoItem, writeCoco } from '../../db/formats/coco.ts'
import { imagesFolderFor, UniqueNames } from '../../db/formats/imageLayout.ts'
import type { Annotation } from '../../db/records/records.ts'
import { pythonWith } from '../support/pythonEnvironment.ts'
import { decidedProject, exportTo, read } from './cocoSupport.ts'
import { addAnnotations, annotationRow, projectWithImages, tempFolder } from './support.ts'

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

test('pycocotools loads it, and scores it against itself with 1', { timeout: 240_000 }, async (ctx) => {
  const found = pythonWith('pycocotools', 'pycocotools.cocoeval')
  if ('reason' in found) return ctx.skip(found.reason)
  const { python } = found
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
    [fileURLToPath(new URL('./judges/pycocotools_judge.py', import.meta.url)), path, String(captionsPath)],
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
