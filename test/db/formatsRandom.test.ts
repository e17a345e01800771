import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Annotation, ImageRecord } from '../../db/records/records.ts'
import { boxesOf, type Contents, exportAs, importFrom, newProject } from '../support/formats.ts'
import { pythonWith } from '../support/pythonEnvironment.ts'
import { times } from '../support/stress.ts'
import { annotationRow, categoryRow, imageRow, tempFolder } from './support.ts'

const words = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 12 }).map(
  (text) =>
    text
      .replaceAll(/[\p{Cc}\\/]/gu, '')
      .trim()
      .normalize('NFC') || 'x',
)
const names = (count: number) =>
  fc.uniqueArray(words, { minLength: 1, maxLength: count, selector: (name) => name.toLowerCase() })

/** Ids with gaps, sides from 1 to thousands, boxes of any parts of pixels inside them, every verdict. */
const dataSet: fc.Arbitrary<Contents> = fc
  .tuple(
    names(6),
    names(4),
    fc.array(
      fc.record({
        image: fc.nat(9),
        category: fc.option(fc.nat(9)),
        x: fc.double({ min: 0, max: 0.9, noNaN: true }),
        y: fc.double({ min: 0, max: 0.9, noNaN: true }),
        w: fc.double({ min: 0.001, max: 1, noNaN: true }),
        h: fc.double({ min: 0.001, max: 1, noNaN: true }),
        gap: fc.integer({ min: 1, max: 1000 }),
        caption: fc.option(words),
        status: fc.constantFrom('accepted', 'edited', 'proposed', 'rejected'),
      }),
      { maxLength: 30 },
    ),
    fc.array(fc.integer({ min: 1, max: 5000 }), { minLength: 12, maxLength: 12 }),
  )
  .map(([imageNames, classNames, drafts, sides]) => {
    const images = imageNames.map((name, index) =>
      imageRow(index * 3 + 1, `${name}.png`, { width: sides[index] ?? 10, height: sides[index + 6] ?? 10 }),
    )
    const categories = classNames.map((name, index) => categoryRow(index + 1, name))
    let id = 0
    const annotations = drafts.map(({ image, category, x, y, w, h, gap, caption, status }): Annotation => {
      const { id: imageId, width, height } = images[image % images.length] as ImageRecord
      id += gap
      const [left, top] = [x * width, y * height]
      return annotationRow(id, imageId, {
        categoryId: category === null ? null : (categories[category % categories.length]?.id ?? null),
        bboxXywh: [
          left,
          top,
          Math.max(1e-3, Math.min(w * width, width - left)),
          Math.max(1e-3, Math.min(h * height, height - top)),
        ],
        caption,
        status: status as 'accepted',
      })
    })
    return { images, categories, annotations }
  })

const isOut = ({ row }: { row: Annotation }): boolean => row.status === 'accepted' || row.status === 'edited'

test(`${times(8, 2000)} random data sets through COCO into an empty project: ids exact, boxes to 1e-6`, {
  timeout: 3_600_000,
}, async () => {
  const folder = tempFolder()
  let round = 0
  await fc.assert(
    fc.asyncProperty(dataSet, async (contents) => {
      const at = join(folder, String(round++))
      mkdirSync(at)
      const store = newProject(at, 'one', contents)
      await exportAs(store, 'coco', join(at, 'out.json'))
      const again = newProject(at, 'two')
      const { plan } = await importFrom(again, 'coco', join(at, 'out.json'), { missingImages: 'add' })
      expect(plan.problems.first).toEqual([])
      const before = boxesOf(store).filter(isOut)
      const now = boxesOf(again)
      expect(now.map(({ image, row }) => [image, row.id, row.imageId, row.caption, row.status])).toEqual(
        before.map(({ image, row }) => [
          image,
          row.id,
          row.imageId,
          row.caption?.trim() ? row.caption : null,
          row.status,
        ]),
      )
      expect(now.map(({ className }) => className)).toEqual(before.map(({ className }) => className ?? 'object'))
      for (const [index, { row }] of now.entries()) {
        for (const [axis, side] of row.bboxXywh.entries())
          expect(Math.abs(side - (before[index]?.row.bboxXywh[axis] ?? 0))).toBeLessThanOrEqual(1e-6)
      }
      expect(again.images.list().items.map(({ id, fileName }) => [id, fileName])).toEqual(
        store.images.list().items.map(({ id, fileName }) => [id, fileName]),
      )
      await exportAs(again, 'coco', join(at, 'back.json'))
      const file = (name: string) => ({
        ...JSON.parse(readFileSync(join(at, name), 'utf8')),
        info: {},
        annotations: null,
      })
      expect(file('back.json')).toEqual(file('out.json'))

      await exportAs(store, 'everything', join(at, 'all.jsonl'))
      const third = newProject(at, 'three')
      await importFrom(third, 'everything', join(at, 'all.jsonl'), { missingImages: 'add' })
      await exportAs(third, 'everything', join(at, 'all2.jsonl'))
      expect(readFileSync(join(at, 'all2.jsonl'), 'utf8')).toBe(readFileSync(join(at, 'all.jsonl'), 'utf8'))
      for (const open of [store, again, third]) open.close()
      rmSync(at, { recursive: true })
    }),
    { numRuns: times(8, 2000) },
  )
})

test(`pycocotools loads ${times(5, 100)} random data sets, scores each against itself with 1, and takes the proposals as results`, {
  timeout: 1_200_000,
}, async (ctx) => {
  const found = pythonWith('pycocotools', 'pycocotools.cocoeval')
  if ('reason' in found) return ctx.skip(found.reason)
  const folder = tempFolder()
  const judge = fileURLToPath(new URL('./pycocotools_judge.py', import.meta.url))
  for (const [index, contents] of fc.sample(dataSet, times(5, 100)).entries()) {
    const at = join(folder, String(index))
    mkdirSync(at)
    const store = newProject(at, 'one', contents)
    const path = join(at, 'out.json')
    const { annotations, images, notes } = await exportAs(store, 'coco', path, { polygons: true, proposals: true })
    store.close()
    const proposals = join(at, 'out.proposals.json')
    const judged = spawnSync(found.python, [judge, path, '--results', proposals], { encoding: 'utf8' })
    expect(judged.stderr).toBe('')
    const report = JSON.parse(judged.stdout)
    expect(report).toMatchObject({
      annotations,
      images: images,
      results: JSON.parse(readFileSync(proposals, 'utf8')).length,
    })
    if (annotations > 0) expect(report.self_ap).toBeCloseTo(1, 9)
    expect(notes.at(-1)).toContain('undecided')
  }
})

test('supervision and xmllint read what we write for others', { timeout: 600_000 }, async (ctx) => {
  const found = pythonWith('supervision', 'supervision')
  if ('reason' in found) return ctx.skip(found.reason)
  const folder = tempFolder()
  const contents: Contents = {
    images: [imageRow(1, 'a.png', { width: 64, height: 48 }), imageRow(2, 'b.png', { width: 64, height: 48 })],
    categories: [categoryRow(1, 'cup'), categoryRow(2, 'traffic light')],
    annotations: [
      annotationRow(1, 1, { categoryId: 2, bboxXywh: [10, 12, 20, 16] }),
      annotationRow(2, 1, { categoryId: 1, bboxXywh: [0, 0, 64, 48] }),
      annotationRow(3, 2, { categoryId: 1, bboxXywh: [5, 6, 7, 8] }),
    ],
  }
  const store = newProject(folder, 'one', contents)
  const { default: sharp } = await import('sharp')
  for (const { fileName } of contents.images) {
    const pixels = sharp({ create: { width: 64, height: 48, channels: 3, background: '#884422' } })
    writeFileSync(join(store.imagesDir, fileName), await pixels.png().toBuffer())
  }
  for (const format of ['yolo', 'voc'] as const)
    await exportAs(store, format, join(folder, format), { copyImages: true })
  await exportAs(store, 'coco', join(folder, 'coco.json'), { copyImages: true })
  store.close()
  const script = `
import json, sys, supervision as sv
root = sys.argv[1]
sets = {
  "yolo": sv.DetectionDataset.from_yolo(f"{root}/yolo/images/train", f"{root}/yolo/labels/train", f"{root}/yolo/data.yaml"),
  "voc": sv.DetectionDataset.from_pascal_voc(f"{root}/voc/JPEGImages", f"{root}/voc/Annotations"),
  "coco": sv.DetectionDataset.from_coco(f"{root}/images/coco", f"{root}/coco.json"),
}
print(json.dumps({name: sorted([path.split("/")[-1], ds.classes[int(c)], *[round(float(v), 3) for v in box]] for path, _, found in ds for box, c in zip(found.xyxy, found.class_id)) for name, ds in sets.items()}))
`
  const read = spawnSync(found.python, ['-c', script, folder], { encoding: 'utf8' })
  expect(read.status, read.stderr).toBe(0)
  const sets = JSON.parse(read.stdout.trim().split('\n').at(-1) ?? '') as Record<
    string,
    [string, string, number, number, number, number][]
  >
  const expected = [
    ['a.png', 'cup', 0, 0, 64, 48],
    ['a.png', 'traffic light', 10, 12, 30, 28],
    ['b.png', 'cup', 5, 6, 12, 14],
  ]
  expect(sets.yolo).toEqual(expected)
  expect(sets.coco).toEqual(expected)
  expect(sets.voc).toEqual(expected)
  if (spawnSync('xmllint', ['--version']).status === 0)
    expect(spawnSync('xmllint', ['--noout', join(folder, 'voc', 'Annotations', 'a.xml')]).status).toBe(0)
})
