/** Each format as an evaluation sees it: small files in the layouts of their makers. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { type EvaluationFormat, readEvaluationData } from '../../electron/services/evaluation/data.ts'
import { writePicture } from './support.ts'

function folderWith(files: Record<string, unknown>): string {
  const folder = mkdtempSync(join(tmpdir(), 'gromatic-data-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true })
    writeFileSync(join(folder, name), typeof content === 'string' ? content : JSON.stringify(content))
  }
  return folder
}
const read = (path: string, format: EvaluationFormat, more: { split?: string; imagesDir?: string } = {}) =>
  readEvaluationData({ path, format, ...more })

const images = [
  { id: 2, file_name: 'b.jpg', width: 100, height: 80 },
  { id: 1, file_name: 'a.jpg', width: 100, height: 80 },
]
const categories = [
  { id: 7, name: 'cat' },
  { id: 9, name: 'traffic_light' },
]
const box = (id: number, imageId: number, change: object = {}) => ({
  id,
  image_id: imageId,
  category_id: 7,
  bbox: [10, 10, 20, 30],
  area: 333,
  iscrowd: 0,
  ...change,
})

describe('data sets', () => {
  it('COCO: in the order of ids, mask areas, crowds, classes that are not there', async () => {
    const annotations = [box(1, 1), box(2, 1, { iscrowd: 1, category_id: 9 }), box(3, 2, { category_id: 9 }), box(4, 5)]
    const folder = folderWith({ 'instances.json': { images, annotations, categories } })
    const { images: found, problems } = await read(join(folder, 'instances.json'), 'coco', { imagesDir: '/pictures' })
    expect(found.map(({ id }) => id)).toEqual([1, 2])
    expect(found[0]!.objects).toEqual([
      expect.objectContaining({ bboxXywh: [10, 10, 20, 30], category: 'cat', area: 333, crowd: false }),
      expect.objectContaining({ category: 'traffic_light', crowd: true }),
    ])
    expect(found.map(({ absentCategories }) => absentCategories)).toEqual([[], ['cat']])
    expect(found[0]!.path).toBe(join('/pictures', 'a.jpg'))
    expect(problems).toEqual({ count: 1, first: expect.stringContaining('annotations[3]') })
  })

  it('LVIS: classes known to be absent, and those not labelled whole', async () => {
    const lists = { neg_category_ids: [9], not_exhaustive_category_ids: [7] }
    const folder = folderWith({
      'lvis_v1_val.json': { images: [{ ...images[1], ...lists }], annotations: [box(1, 1)], categories },
    })
    const [image] = (await read(join(folder, 'lvis_v1_val.json'), 'lvis')).images
    expect(image).toMatchObject({ absentCategories: ['traffic_light'], notExhaustive: ['cat'] })
  })

  it('RefCOCO: expressions of one split, each of them a caption too', async () => {
    const refs = [
      { ref_id: 1, ann_id: 1, image_id: 1, split: 'val', sentences: [{ sent: 'left cat' }, { sent: 'the black one' }] },
      { ref_id: 2, ann_id: 2, image_id: 1, split: 'train', sentences: [{ sent: 'right cat' }] },
    ]
    const folder = folderWith({
      'refs(unc).json': refs,
      'instances.json': { images, annotations: [box(1, 1), box(2, 1)], categories },
    })
    const [image] = (await read(folder, 'refcoco', { split: 'val' })).images
    expect(image!.references.map(({ phrase }) => phrase)).toEqual(['left cat', 'the black one'])
    expect(image!.objects.map(({ captions }) => captions)).toEqual([['left cat', 'the black one'], []])
    expect((await read(folder, 'refcoco')).images[0]!.references).toHaveLength(3)
  })

  it('Visual Genome: captions of regions, sizes from the pictures where the data do not say them', async () => {
    const folder = folderWith({
      'region_descriptions.json': [
        {
          id: 5,
          regions: [{ region_id: 1, image_id: 5, x: 1, y: 2, width: 30, height: 20, phrase: 'a cat on a mat' }],
        },
      ],
    })
    await writePicture(join(folder, '5.jpg'), 90, 60, 6)
    const [image] = (await read(folder, 'visual-genome')).images
    expect(image).toMatchObject({ width: 60, height: 90, references: [] })
    expect(image!.objects).toEqual([
      expect.objectContaining({ captions: ['a cat on a mat'], bboxXywh: [1, 2, 30, 20] }),
    ])
  })

  it('Flickr30k: phrases of sentences, several boxes of one counted as the box round them', async () => {
    const object = (id: number, x: number) =>
      `<object><name>${id}</name><bndbox><xmin>${x}</xmin><ymin>1</ymin><xmax>${x + 9}</xmax><ymax>10</ymax></bndbox></object>`
    const folder = folderWith({
      'Sentences/7.txt': '[/EN#1/people Two men] hold [/EN#2/other a ball] .\n',
      'Annotations/7.xml': `<annotation><filename>7.jpg</filename><size><width>100</width><height>50</height><depth>3</depth></size>${object(1, 1)}${object(1, 31)}${object(2, 61)}</annotation>`,
    })
    const [image] = (await read(folder, 'flickr30k')).images
    expect(image!.references).toEqual([
      { phrase: 'Two men', bboxXywh: [0, 0, 40, 10] },
      { phrase: 'a ball', bboxXywh: [60, 0, 10, 10] },
    ])
    expect(image!.objects).toHaveLength(3)
  })

  it('scenes: expressions, properties, and what is surely not there', async () => {
    const attributes = { colour: 'red', size: 'large', shape: 'star' }
    const scene = (id: number, imageId: number, caption: string) =>
      box(id, imageId, { caption, attributes, referring: [caption.replace('a ', 'the ')] })
    const folder = folderWith({
      'annotations.json': {
        images,
        annotations: [scene(1, 1, 'a large red star'), scene(2, 2, 'a small blue ring')],
        categories,
      },
    })
    const [image] = (await read(folder, 'synthetic')).images
    expect(image).toMatchObject({
      references: [{ phrase: 'the large red star', bboxXywh: [10, 10, 20, 30] }],
      objects: [{ captions: ['a large red star'], attributes }],
      absentPhrases: ['the small blue ring'],
      absentCategories: ['traffic_light'],
    })
  })

  it('refuses what is not there or holds no image', async () => {
    await expect(read('/nowhere', 'coco')).rejects.toMatchObject({ code: 'NOT_FOUND' })
    const folder = folderWith({ 'instances.json': { images: [], annotations: [], categories } })
    await expect(read(join(folder, 'instances.json'), 'coco')).rejects.toMatchObject({ code: 'NO_IMAGES' })
  })
})
