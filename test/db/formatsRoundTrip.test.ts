import { mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { formats, sniff } from '../../db/formats/registry.ts'
import { FORMAT_NAMES, type FormatName } from '../../db/records/formatNames.ts'
import { boxesOf, exportAs, importFrom, newProject } from '../support/formats.ts'
import { sampleContents } from './formatsSample.ts'
import { tempFolder } from './support.ts'

/** What is lost on the way through each format, as its own words say it. */
interface Loss {
  pixels?: true
  classes?: 'lost' | 'kinds'
  captions?: 'lost' | 'kept' | 'trimmed'
  boxes?: false
  emptyImages?: 'lost'
  sizes?: 'lost'
  relative?: true
}
const LOSSES: Record<FormatName, Loss> = {
  coco: { captions: 'kept' },
  'coco-captions': { boxes: false },
  'coco-results': { captions: 'lost' },
  lvis: { captions: 'kept' },
  refcoco: { captions: 'kept' },
  'visual-genome': { pixels: true, classes: 'lost' },
  flickr30k: { boxes: false },
  yolo: { captions: 'lost', sizes: 'lost', relative: true },
  voc: { captions: 'lost', pixels: true },
  labelme: { captions: 'kept' },
  csv: { captions: 'kept' },
  cvat: { captions: 'kept' },
  'label-studio': { captions: 'kept', relative: true },
  'groma-instruct': { boxes: false },
  synthetic: { captions: 'kept' },
  everything: { captions: 'kept' },
}

/** Everything below a path, by name. */
function bytesBelow(path: string): Record<string, string> {
  if (!statSync(path).isDirectory()) return { '': readFileSync(path, 'latin1') }
  const names = readdirSync(path, { recursive: true }) as string[]
  return Object.fromEntries(
    names
      .filter((name) => statSync(join(path, name)).isFile())
      .map((name) => [name, readFileSync(join(path, name), 'latin1')]),
  )
}

/** Of files that have no place for a note of their own. */
const UPRIGHT = expect.stringContaining('EXIF')
/** What an export of the sample says of itself. */
const NOTES: Partial<Record<FormatName, unknown[]>> = {
  yolo: [expect.stringContaining('one part only')],
  flickr30k: [expect.stringMatching(/^1 box is not in it/)],
  'groma-instruct': [UPRIGHT, expect.stringMatching(/^1 image is not in it/)],
  'coco-results': [UPRIGHT],
  csv: [UPRIGHT],
  cvat: [UPRIGHT],
  'label-studio': [UPRIGHT],
}

test.each(FORMAT_NAMES)('%s: out, recognised, in again, and out the same', async (format) => {
  const folder = tempFolder(true)
  const loss = LOSSES[format]
  const store = newProject(folder, 'one', sampleContents())
  const { extension, shape } = formats[format]
  const path = join(folder, `out${shape === 'folder' ? '' : extension}`)
  const report = await exportAs(store, format, path)
  expect(report.notes).toEqual(NOTES[format] ?? [])
  expect(sniff(path)[0]?.format).toBe(format)

  const again = newProject(folder, 'two', {
    images: sampleContents().images,
    ...(format === 'coco-results' ? { categories: sampleContents().categories } : {}),
  })
  const { plan, revision } = await importFrom(again, format, path)
  expect(plan.problems.first).toEqual([])
  expect(plan.images.missing).toBe(0)
  expect(revision).not.toBeNull()
  if (loss.boxes !== false) {
    const before = boxesOf(store)
    const now = boxesOf(again)
    expect(now.map(({ image }) => image)).toEqual(before.map(({ image }) => image))
    for (const [index, { row, className }] of now.entries()) {
      const was = before[index]
      expect(row.provenance).toBe(format === 'everything' ? 'human' : 'import')
      expect(row.status).toBe(format === 'coco-results' ? 'proposed' : 'accepted')
      if (loss.classes === undefined) expect(className).toBe(was?.className)
      if (loss.captions === 'kept') expect(row.caption).toBe(was?.row.caption)
      const slack = loss.pixels ? 0.5 : 1e-6
      for (const [axis, side] of row.bboxXywh.entries())
        expect(Math.abs(side - (was?.row.bboxXywh[axis] ?? 0))).toBeLessThanOrEqual(slack * (axis > 1 ? 2 : 1))
    }
  }
  const second = join(folder, `again${shape === 'folder' ? '' : extension}`)
  await exportAs(store, format, second)
  expect(bytesBelow(second)).toEqual(bytesBelow(path))
  if (!loss.relative && format !== 'coco-results' && format !== 'groma-instruct' && format !== 'visual-genome') {
    const third = join(folder, `third${shape === 'folder' ? '' : extension}`)
    await exportAs(again, format, third)
    const text = (bytes: Record<string, string>) =>
      Object.fromEntries(
        Object.entries(bytes).map(([name, value]) => [
          name,
          value
            .replaceAll('"provenance":"import"', '"provenance":"human"')
            .replaceAll('>two<', '>one<')
            .replaceAll('"description":"two"', '"description":"one"'),
        ]),
      )
    expect(text(bytesBelow(third))).toEqual(text(bytesBelow(path)))
  }
  again.undo()
  expect(boxesOf(again)).toEqual([])
  store.close()
  again.close()
})

test('an export as a zip holds the same files, twice the same bytes', async () => {
  const folder = tempFolder(true)
  const store = newProject(folder, 'one', sampleContents())
  mkdirSync(join(folder, 'zips'))
  for (const name of ['a', 'b']) await exportAs(store, 'yolo', join(folder, 'zips', `${name}.zip`))
  expect(readFileSync(join(folder, 'zips', 'a.zip')).equals(readFileSync(join(folder, 'zips', 'b.zip')))).toBe(true)
  expect(readdirSync(join(folder, 'zips'))).toEqual(['a.zip', 'b.zip'])
  store.close()
})
