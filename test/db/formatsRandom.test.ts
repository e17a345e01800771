import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync } from 'node:fs'
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
  const folder = tempFolder(true)
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

test(`pycocotools loads ${times(5, 2000)} random data sets, scores each against itself with 1, and takes the proposals as results`, {
  timeout: 3_600_000,
}, async (ctx) => {
  const found = pythonWith('pycocotools', 'pycocotools.cocoeval')
  if ('reason' in found) return ctx.skip(found.reason)
  const folder = tempFolder(true)
  const written: { annotations: number; images: number; results: number }[] = []
  for (const [index, contents] of fc.sample(dataSet, times(5, 2000)).entries()) {
    const at = join(folder, String(index))
    mkdirSync(at)
    const store = newProject(folder, `project${index}`, contents)
    const path = join(at, 'out.json')
    const { annotations, images, notes } = await exportAs(store, 'coco', path, { polygons: true, proposals: true })
    store.close()
    rmSync(store.path)
    rmSync(store.imagesDir, { recursive: true })
    expect(notes.at(-1)).toContain('undecided')
    const results = JSON.parse(readFileSync(join(at, 'out.proposals.json'), 'utf8')) as unknown[]
    written.push({ annotations, images, results: results.length })
  }
  const judge = fileURLToPath(new URL('./judges/pycocotools_judge.py', import.meta.url))
  const judged = spawnSync(found.python, [judge, '--each', folder], { encoding: 'utf8', maxBuffer: 2 ** 30 })
  expect(judged.stderr).toBe('')
  const reports = judged.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  expect(reports.map(({ annotations, images, results }) => ({ annotations, images, results }))).toEqual(written)
  for (const { annotations, self_ap } of reports) if (annotations > 0) expect(self_ap).toBeCloseTo(1, 9)
})
