/** The fields that other tools' own readers look up, where those readers are not at hand: as their documentation names them. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { boxesOf, exportAs, importFrom, newProject } from '../support/formats.ts'
import { annotationRow, categoryRow, imageRow, tempFolder } from './support.ts'

function project(folder: string) {
  return newProject(folder, 'p', {
    images: [imageRow(1, 'a.png'), imageRow(2, 'sub/b.png')],
    categories: [categoryRow(3, 'tea cup'), categoryRow(5, 'unused')],
    annotations: [
      annotationRow(4, 1, { categoryId: 3, bboxXywh: [10.5, 20.25, 30, 40], caption: 'the left cup' }),
      annotationRow(6, 2, { categoryId: null, bboxXywh: [639.2, 0, 0.8, 480] }),
    ],
  })
}
const json = (path: string) => JSON.parse(readFileSync(path, 'utf8'))

test('LVIS v1', async () => {
  const folder = tempFolder(true)
  const store = project(folder)
  await exportAs(store, 'lvis', join(folder, 'lvis.json'))
  const { images, annotations, categories } = json(join(folder, 'lvis.json'))
  for (const image of images) {
    expect(image).toMatchObject({
      id: expect.any(Number),
      width: 640,
      height: 480,
      neg_category_ids: [],
      not_exhaustive_category_ids: [],
      coco_url: expect.any(String),
    })
  }
  expect(annotations[0]).toMatchObject({ id: 4, image_id: 1, category_id: 1, bbox: [10.5, 20.25, 30, 40], area: 1200 })
  expect(annotations[0].segmentation).toEqual([[10.5, 20.25, 40.5, 20.25, 40.5, 60.25, 10.5, 60.25]])
  expect(categories).toEqual([
    {
      id: 1,
      name: 'tea cup',
      synset: 'tea_cup.n.01',
      synonyms: ['tea cup'],
      def: '',
      frequency: 'r',
      image_count: 1,
      instance_count: 1,
    },
    {
      id: 2,
      name: 'unused',
      synset: 'unused.n.01',
      synonyms: ['unused'],
      def: '',
      frequency: 'r',
      image_count: 0,
      instance_count: 0,
    },
    {
      id: 3,
      name: 'object',
      synset: 'object.n.01',
      synonyms: ['object'],
      def: '',
      frequency: 'r',
      image_count: 1,
      instance_count: 1,
    },
  ])
  store.close()
})

test('the refer API: every reference has its box, image, class, split and sentences', async () => {
  const folder = tempFolder(true)
  const store = project(folder)
  await exportAs(store, 'refcoco', join(folder, 'refs'))
  const refs = json(join(folder, 'refs', 'refs(gromatic).json'))
  const { annotations, images, categories } = json(join(folder, 'refs', 'instances.json'))
  expect(refs).toEqual([
    {
      ref_id: 1,
      ann_id: 4,
      image_id: 1,
      category_id: 1,
      file_name: 'a.png',
      split: 'train',
      sent_ids: [0],
      sentences: [{ sent_id: 0, sent: 'the left cup', raw: 'the left cup', tokens: ['the', 'left', 'cup'] }],
    },
  ])
  const ids = (rows: { id: number }[]) => rows.map(({ id }) => id)
  expect([ids(annotations), ids(images), ids(categories)]).toEqual([
    [4, 6],
    [1, 2],
    [1, 2, 3],
  ])
  store.close()
})

test('whole pixels never lose a thin box, and VOC counts its corners from 1', async () => {
  const folder = tempFolder(true)
  const store = project(folder)
  await exportAs(store, 'visual-genome', join(folder, 'vg'))
  const regions = json(join(folder, 'vg', 'region_descriptions.json')).flatMap(
    (image: { regions: unknown[] }) => image.regions,
  )
  expect(regions).toEqual([
    { region_id: 4, image_id: 1, x: 11, y: 20, width: 30, height: 40, phrase: 'the left cup' },
    { region_id: 6, image_id: 2, x: 639, y: 0, width: 1, height: 480, phrase: '' },
  ])
  await exportAs(store, 'voc', join(folder, 'voc'))
  const xml = readFileSync(join(folder, 'voc', 'Annotations', 'sub', 'b.xml'), 'utf8')
  expect(xml.match(/<(xmin|ymin|xmax|ymax)>\d+/g)).toEqual(['<xmin>640', '<ymin>1', '<xmax>640', '<ymax>480'])
  expect(readFileSync(join(folder, 'voc', 'ImageSets', 'Main', 'train.txt'), 'utf8')).toBe('a\nsub/b\n')
  store.close()
})

test('a split is stable: the same seed gives the same parts, another seed others, copies of a picture stay together', async () => {
  const folder = tempFolder(true)
  const same = { contentSha256: 'f'.repeat(64) }
  const images = Array.from({ length: 200 }, (_, index) => imageRow(index + 1, `i${index}.png`, index < 5 ? same : {}))
  const store = newProject(folder, 'p', { images })
  const parts = async (seed: string, name: string) => {
    await exportAs(store, 'coco', join(folder, `${name}.json`), { split: { shares: { train: 8, val: 2 }, seed } })
    return ['train', 'val'].map(
      (part) =>
        json(join(folder, `${name}_${part}.json`)).images.map(
          ({ file_name }: { file_name: string }) => file_name,
        ) as string[],
    )
  }
  const [train = [], val = []] = await parts('a', 'one')
  expect(train.length + val.length).toBe(200)
  expect(val.length).toBeGreaterThan(20)
  expect(val.length).toBeLessThan(60)
  expect(await parts('a', 'two')).toEqual([train, val])
  expect(await parts('b', 'three')).not.toEqual([train, val])
  const copies = images.slice(0, 5).map(({ fileName }) => fileName)
  expect([0, 5]).toContain(copies.filter((name) => train.includes(name)).length)
  store.close()
})

test('copied pictures keep their folders and names when asked', async () => {
  const folder = tempFolder(true)
  const store = project(folder)
  const copied: string[] = []
  const copyImage = async (_from: string, to: string) => void copied.push(to.slice(to.indexOf('images')))
  await exportAs(store, 'yolo', join(folder, 'flat'), { copyImages: true, copyImage })
  await exportAs(store, 'yolo', join(folder, 'kept'), { copyImages: true, keepNames: true, copyImage })
  expect(copied).toEqual(['images/train/a.png', 'images/train/b.png', 'images/train/a.png', 'images/train/sub/b.png'])
  expect(readFileSync(join(folder, 'kept', 'labels', 'train', 'sub', 'b.txt'), 'utf8')).toMatch(/^2 0\.999/)
  store.close()
})

test('pictures copied under other names are found again, in the project they came from and in one over the copies', async () => {
  const folder = tempFolder(true)
  const images = [imageRow(1, 'a.png'), imageRow(2, 'sub/a.png')]
  const annotations = [annotationRow(1, 1, { caption: 'one' }), annotationRow(2, 2, { caption: 'two' })]
  const store = newProject(folder, 'p', { images, annotations })
  const copied: string[] = []
  const copyImage = async (_from: string, to: string) => void copied.push(to.slice(to.lastIndexOf('/') + 1))
  await exportAs(store, 'coco', join(folder, 'out.json'), { copyImages: true, copyImage })
  await exportAs(store, 'visual-genome', join(folder, 'vg'), { copyImages: true, copyImage })
  expect(copied).toEqual(['a.png', 'sub_a.png', '1.png', '2.png'])
  const over = (name: string, names: string[]) =>
    newProject(folder, name, { images: names.map((fileName, index) => imageRow(index + 1, fileName)) })
  for (const [format, path, copies] of [
    ['coco', 'out.json', ['a.png', 'sub_a.png']],
    ['visual-genome', 'vg', ['1.png', '2.png']],
  ] as const) {
    for (const [name, names] of [
      ['origin', ['a.png', 'sub/a.png']],
      ['copies', [...copies]],
    ] as const) {
      const again = over(`${format}-${name}`, [...names])
      await importFrom(again, format, join(folder, path))
      expect(boxesOf(again).map(({ image, row }) => [image, row.caption])).toEqual([
        [names[0], 'one'],
        [names[1], 'two'],
      ])
      again.close()
    }
  }
  await expect(exportAs(store, 'voc', join(folder, 'voc'), { keepNames: true })).resolves.toBeDefined()
  const twins = newProject(folder, 'twins', { images: [imageRow(1, 'a.png'), imageRow(2, 'A.jpg')] })
  for (const format of ['yolo', 'voc', 'labelme', 'flickr30k'] as const) {
    await expect(exportAs(twins, format, join(folder, `twins-${format}`))).rejects.toMatchObject({
      code: 'INVALID_INPUT',
      message: expect.stringMatching(/^Two pictures would share .*copy the images along/),
    })
    await exportAs(twins, format, join(folder, `twins-${format}`), { copyImages: true, copyImage })
  }
  twins.close()
  store.close()
})
