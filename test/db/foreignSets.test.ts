/** Data sets of several files as their authors lay them out: splits, captions beside boxes, masks, numbers of every kind. */
import { closeSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { sniff } from '../../db/formats/registry.ts'
import { imported } from './foreign.ts'
import { tempFolder } from './support.ts'

const image = (id: number | string, file_name: string, more: object = {}) => ({
  id,
  file_name,
  width: 640,
  height: 480,
  ...more,
})
const box = (id: unknown, image_id: unknown, category_id: unknown, more: object = {}) => ({
  id,
  image_id,
  category_id,
  bbox: [10, 20, 30, 40],
  ...more,
})
const CUP = [{ id: 1, name: 'cup', supercategory: 'kitchen' }]
const json = (value: object): string => JSON.stringify(value)

test('COCO as it is downloaded: instances and captions of two splits, people once more, pictures in their folders', async () => {
  const licence = { license: 4, flickr_url: 'x', coco_url: 'http://x/a.jpg', date_captured: '2013-11-14 17:02:52' }
  const part = (name: string, id: number) => ({
    [`annotations/instances_${name}2017.json`]: json({
      info: {},
      licenses: [],
      images: [image(id, `${id}.jpg`, licence)],
      annotations: [box(7, id, 1, { iscrowd: 0, area: 1200, segmentation: [[10, 20, 40, 20, 40, 60]] })],
      categories: CUP,
    }),
    [`annotations/captions_${name}2017.json`]: json({
      images: [image(id, `${id}.jpg`, licence)],
      annotations: [{ id: 1, image_id: id, caption: 'A cup on a table.' }],
    }),
    [`annotations/person_keypoints_${name}2017.json`]: json({
      images: [image(id, `${id}.jpg`)],
      annotations: [box(7, id, 1, { num_keypoints: 1, keypoints: [11, 22, 2] })],
      categories: [{ id: 1, name: 'person', keypoints: ['nose'], skeleton: [] }],
    }),
    [`${name}2017/${id}.jpg`]: '',
  })
  const { boxes, sentences, plan } = await imported('coco', { ...part('train', 9), ...part('val', 139) }, [
    'train2017/9.jpg',
    'val2017/139.jpg',
  ])
  expect(boxes).toEqual(['train2017/9.jpg cup 10,20,30,40', 'val2017/139.jpg cup 10,20,30,40'])
  expect(sentences.map(({ text }) => text)).toEqual(['A cup on a table.', 'A cup on a table.'])
  expect(plan.images).toMatchObject({ inFile: 2, matched: 2 })
  expect(plan.notes).toEqual(
    ['train', 'val'].map(
      (name) => `annotations/person_keypoints_${name}2017.json is left out: its boxes are in the instances beside it.`,
    ),
  )
})

test('COCO captions of several splits alone', async () => {
  const file = (id: number) =>
    json({ images: [image(id, `${id}.jpg`)], annotations: [{ id: 1, image_id: id, caption: `Of ${id}.` }] })
  const { sentences } = await imported('coco-captions', { 'captions_a.json': file(1), 'captions_b.json': file(2) }, [
    '1.jpg',
    '2.jpg',
  ])
  expect(sentences.map(({ text }) => text)).toEqual(['Of 1.', 'Of 2.'])
})

test.each<[string, object, string[], (string | RegExp)[]]>([
  [
    'labelme2coco: no area, classes from 0, ids from 1, floats',
    {
      images: [image(1, 'a.jpg')],
      annotations: [
        box(1, 1, 0, { segmentation: [[10.5, 20, 40.5, 20, 40.5, 60, 10.5, 60]], bbox: [10.5, 20, 30, 40] }),
      ],
      categories: [{ id: 0, name: 'cup', supercategory: 'cup' }],
    },
    ['a.jpg cup 10.5,20,30,40'],
    [],
  ],
  [
    'CVAT: attributes, no masks, a picture in a folder',
    {
      licenses: [{ name: '', id: 0, url: '' }],
      info: { contributor: '', date_created: '' },
      categories: CUP,
      images: [image(1, 'sub/a.jpg', { license: 0, flickr_url: '', coco_url: '', date_captured: 0 })],
      annotations: [
        box(1, 1, 1, { segmentation: [], area: 1200, iscrowd: 0, attributes: { occluded: false, rotation: 0 } }),
      ],
    },
    ['a.jpg cup 10,20,30,40'],
    [],
  ],
  [
    'ids that are text, or numbers in quotes',
    {
      images: [image('img-7', 'a.jpg'), image('8', 'b.jpg')],
      annotations: [box('x1', 'img-7', '1'), box('x2', 8, 1)],
      categories: CUP,
    },
    ['a.jpg cup 10,20,30,40', 'b.jpg cup 10,20,30,40'],
    ['Ids that are text get new numbers.'],
  ],
  [
    'one polygon without its outer list, key points, a class given as null, a box of null',
    {
      images: [image(1, 'a.jpg')],
      annotations: [
        box(1, 1, 1, { segmentation: [10, 20, 40, 20, 40, 60], bbox: null, keypoints: [1, 1, 2] }),
        box(2, 1, null, { segmentation: null, bbox: [1, 2, 3, 4] }),
      ],
      categories: CUP,
    },
    ['a.jpg cup 10,20,30,40', 'a.jpg null 1,2,3,4'],
    ['Key points are left out.'],
  ],
  [
    'run lengths compressed and not, a crowd',
    {
      images: [image(1, 'a.jpg', { width: 4, height: 3 })].map((row) => ({ ...row, width: 640, height: 480 })),
      annotations: [
        box(1, 1, 1, { bbox: undefined, iscrowd: 1, segmentation: { size: [480, 640], counts: [963, 4, 306233] } }),
        box(2, 1, 1, { bbox: undefined, segmentation: { size: [480, 640], counts: 'Sn04iQ[9' } }),
      ],
      categories: CUP,
    },
    ['a.jpg cup 2,3,1,4', 'a.jpg cup 2,3,1,4'],
    [],
  ],
])('COCO of %s', async (_, file, expected, notes) => {
  const { boxes, plan } = await imported('coco', { 'set.json': json(file) }, ['a.jpg', 'b.jpg'], 'set.json')
  expect(boxes).toEqual(expected)
  expect(plan.notes).toEqual(notes.map((note) => expect.stringMatching(note)))
})

test('LVIS: the official splits, pictures by their address, classes of which nothing is there', async () => {
  const category = {
    id: 3,
    name: 'aerosol_can',
    synset: 'aerosol.n.02',
    frequency: 'c',
    def: '',
    synonyms: ['x'],
    image_count: 1,
    instance_count: 1,
  }
  const file = (id: number) =>
    json({
      images: [
        {
          id,
          coco_url: `http://images.cocodataset.org/train2017/00000000000${id}.jpg`,
          width: 640,
          height: 480,
          neg_category_ids: [3],
          not_exhaustive_category_ids: [],
        },
      ],
      annotations: [box(id, id, 3, { segmentation: [[10, 20, 40, 20, 40, 60]], area: 600 })],
      categories: [category],
    })
  const { boxes } = await imported('lvis', { 'lvis_v1_train.json': file(1), 'lvis_v1_val.json': file(2) }, [
    'train2017/000000000001.jpg',
    'train2017/000000000002.jpg',
  ])
  expect(boxes).toEqual(['1', '2'].map((id) => `train2017/00000000000${id}.jpg aerosol_can 10,20,30,40`))
})

test('Visual Genome: objects with their first name, and regions beside them', async () => {
  const objects = [
    {
      image_id: 1,
      objects: [
        {
          synsets: ['tree.n.01'],
          h: 57,
          object_id: 1058549,
          merged_object_ids: [],
          names: ['trees', 'tree'],
          w: 79,
          y: 0,
          x: 112,
        },
      ],
      image_url: 'https://cs.stanford.edu/people/rak248/VG_100K_2/1.jpg',
    },
  ]
  const expected = 'VG_100K_2/1.jpg trees 112,0,79,57'
  const pictures = ['VG_100K_2/1.jpg']
  const alone = await imported('visual-genome', { 'objects.json': json(objects) }, pictures, 'objects.json')
  expect(alone.boxes).toEqual([expected])
  expect(alone.rows[0]?.id).toBe(1058549)
  const regions = [
    { regions: [{ region_id: 1382, width: 82, height: 139, image_id: 1, phrase: 'the clock', y: 57, x: 421 }], id: 1 },
  ]
  const both = await imported(
    'visual-genome',
    { 'objects.json': json(objects), 'region_descriptions.json': json(regions) },
    pictures,
  )
  expect(both.boxes).toEqual([expected, 'VG_100K_2/1.jpg null 421,57,82,139 the clock'])
  const attributes = [{ image_id: 1, attributes: [{ ...objects[0]?.objects[0], attributes: ['green', 'tall'] }] }]
  const told = await imported(
    'visual-genome',
    {
      'attributes.json': json(attributes),
      'image_data.json': json([{ image_id: 1, width: 640, height: 480, url: 'x/VG_100K_2/1.jpg' }]),
      'objects.json': json(objects),
    },
    pictures,
  )
  expect(told.boxes).toEqual([expected])
  expect(told.rows[0]?.extras?.attributes).toEqual({ attributes: 'green, tall' })
  expect(told.plan.notes).toEqual(['objects.json is left out: its boxes are in another file of the folder.'])
})

test('Flickr30k Entities: a scene, no box, several boxes, sentences of a picture without any', async () => {
  const object = (id: number, inner: string) => `<object><name>${id}</name>${inner}</object>`
  const corners = (x: number) =>
    `<bndbox><xmin>${x}</xmin><ymin>21</ymin><xmax>${x + 29}</xmax><ymax>60</ymax></bndbox>`
  const head = '<filename>1000.jpg</filename><size><width>640</width><height>480</height><depth>3</depth></size>'
  const xml = `<annotation>${head}${object(1, '<scene>1</scene><nobndbox>1</nobndbox>')}${object(2, corners(11))}${object(2, corners(111))}${object(3, '<scene>0</scene><nobndbox>1</nobndbox>')}</annotation>`
  const { boxes, sentences, plan } = await imported(
    'flickr30k',
    {
      'Flickr30kEntities/Annotations/1000.xml': xml,
      'Flickr30kEntities/Sentences/1000.txt':
        '[/EN#2/people Two men] in [/EN#1/scene a park] with [/EN#0/notvisual nothing] .\n[/EN#2/people They] rest .\n',
      'Flickr30kEntities/Sentences/2000.txt': 'Nothing is boxed here .\n',
      'Flickr30kEntities/train.txt': '1000\n',
      'Flickr30kEntities/README.txt': 'x',
    },
    ['flickr30k_images/1000.jpg', 'flickr30k_images/2000.jpg'],
  )
  expect(boxes).toEqual(
    ['10,20,30,40', '110,20,30,40'].map((sides) => `flickr30k_images/1000.jpg people ${sides} Two men`),
  )
  expect(sentences.map(({ text }) => text)).toEqual([
    'Two men in a park with nothing .',
    'They rest .',
    'Nothing is boxed here .',
  ])
  expect(plan.images.missing).toBe(0)
})

test('large files are known by their beginning and their end, wherever the images stand', () => {
  const folder = tempFolder(true)
  const boxes = Buffer.from(`,${json(box(1, 1, 1))}`.repeat(10_000))
  const write = (name: string, head: string, category: object) => {
    const file = openSync(join(folder, name), 'w')
    writeSync(file, head)
    for (let bytes = 0; bytes < 70 * 1024 * 1024; bytes += boxes.length) writeSync(file, boxes)
    writeSync(
      file,
      `],"images":[${json(image(1, 'a.jpg'))}${`,${json(image(2, 'b.jpg'))}`.repeat(60_000)}],"categories":[${json(category)}]}`,
    )
    closeSync(file)
  }
  write('lvis_v1_train.json', `{"info":{},"annotations":[${json(box(1, 1, 1))}`, {
    ...CUP[0],
    synset: 'cup.n.01',
    frequency: 'f',
  })
  expect(sniff(join(folder, 'lvis_v1_train.json'))[0]?.format).toBe('lvis')
  expect(sniff(folder)[0]?.format).toBe('lvis')
  write('lvis_v1_train.json', `{"info":{},"annotations":[${json(box(1, 1, 1))}`, CUP[0] as object)
  expect(sniff(folder)[0]?.format).toBe('coco')
})
