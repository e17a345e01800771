/** Pictures whose names are alike, or odd, keep their own boxes on every way out and in. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { FORMAT_NAMES, type FormatName } from '../../db/records/formatNames.ts'
import { boxesOf, exportAs, importFrom, newProject } from '../support/formats.ts'
import { annotationRow, imageRow, tempFolder } from './support.ts'

const NAMES = ['a.b.c.jpg', 'd/same.jpg', 'same.jpg', ' lead.jpg', 'e/f/same.jpg', 'x,"y";z#1%20.jpg']

/** One box an image, of a width that no other has. */
function projectOf(folder: string) {
  const images = NAMES.map((name, index) => imageRow(index + 1, name))
  const annotations = NAMES.map((name, index) =>
    annotationRow(index + 1, index + 1, {
      bboxXywh: [0, 0, 10 + index, 20],
      caption: `a thing in ${name}`,
      categoryId: 1,
    }),
  )
  const store = newProject(folder, 'from', {
    images,
    annotations,
    categories: [{ id: 1, name: 'cup', color: '#112233' }],
  })
  for (const name of NAMES) {
    mkdirSync(dirname(join(store.imagesDir, name)), { recursive: true })
    writeFileSync(join(store.imagesDir, name), name)
  }
  return store
}

/** Formats whose boxes have a place in them. */
const BOXED = FORMAT_NAMES.filter((format) => !['coco-captions', 'coco-results'].includes(format))
const widths = (store: ReturnType<typeof newProject>): Record<string, number> =>
  Object.fromEntries(boxesOf(store).map(({ image, row }) => [image, Math.round(row.bboxXywh[2])]))

test.each(BOXED)('%s into a project over the same pictures', async (format: FormatName) => {
  const folder = tempFolder(true)
  const from = projectOf(folder)
  const { path } = await exportAs(from, format, join(folder, 'out'))
  from.close()
  const to = newProject(folder, 'to', { images: NAMES.map((name, index) => imageRow(index + 1, name)) })
  await importFrom(to, format, path)
  expect(widths(to)).toEqual(Object.fromEntries(NAMES.map((name, index) => [name, 10 + index])))
  to.close()
})

test.each(BOXED)('%s with copies, into a project over these', async (format: FormatName) => {
  const folder = tempFolder(true)
  const from = projectOf(folder)
  const out = join(folder, 'out')
  mkdirSync(out)
  await exportAs(from, format, join(out, 'set'), { copyImages: true })
  from.close()
  const copies = (readdirSync(out, { recursive: true }) as string[]).filter((name) => name.endsWith('.jpg'))
  expect(copies).toHaveLength(NAMES.length)
  // each picture says which it is a copy of
  const originals = copies.map((copy) => NAMES.indexOf(readFileSync(join(out, copy), 'utf8')))
  const images = copies.map((name, index) => {
    const { contentSha256 } = imageRow((originals[index] as number) + 1)
    return { ...imageRow(index + 1, name), contentSha256 }
  })
  const to = newProject(folder, 'to', { images })
  const [main = ''] = readdirSync(out).filter((name) => /^set(\.[a-z]+)?$/.test(name))
  await importFrom(to, format, join(out, main))
  expect(widths(to)).toEqual(Object.fromEntries(copies.map((copy, index) => [copy, 10 + (originals[index] as number)])))
  to.close()
})

test('LVIS: a folder of our own export, with the captions that lie beside it', async () => {
  const folder = tempFolder(true)
  const from = projectOf(folder)
  mkdirSync(join(folder, 'set'))
  await exportAs(from, 'lvis', join(folder, 'set', 'out.json'))
  expect(readdirSync(join(folder, 'set'))).toEqual(['out.captions.json', 'out.json'])
  from.close()
  const to = newProject(folder, 'to', { images: NAMES.map((name, index) => imageRow(index + 1, name)) })
  const { plan } = await importFrom(to, 'lvis', join(folder, 'set'))
  expect(plan).toMatchObject({ annotations: { toAdd: NAMES.length }, problems: { count: 0 } })
  to.close()
})
