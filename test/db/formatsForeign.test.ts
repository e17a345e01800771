/** Files as other tools write them: Roboflow, darknet, ultralytics, labelImg, CVAT, Label Studio, the refer data, Flickr30k. */
import { expect, test } from 'vitest'
import { imported } from './foreign.ts'

test('Roboflow: a COCO file in each split, ids from 0, pictures beside', async () => {
  const part = (name: string) =>
    JSON.stringify({
      info: {},
      licenses: [],
      categories: [
        { id: 0, name: 'animals', supercategory: 'none' },
        { id: 1, name: 'cat', supercategory: 'animals' },
      ],
      images: [{ id: 0, license: 1, file_name: name, height: 480, width: 640, date_captured: '2020' }],
      annotations: [
        { id: 0, image_id: 0, category_id: 1, bbox: [45, 2, 85, 85], area: 7225, segmentation: [], iscrowd: 0 },
      ],
    })
  const files = {
    'train/_annotations.coco.json': part('a.jpg'),
    'train/a.jpg': '',
    'valid/_annotations.coco.json': part('a.jpg'),
    'valid/a.jpg': '',
    'README.dataset.txt': 'x',
  }
  const { boxes, plan } = await imported('coco', files, ['train/a.jpg', 'valid/a.jpg'])
  expect(boxes).toEqual(['train/a.jpg cat 45,2,85,85', 'valid/a.jpg cat 45,2,85,85'])
  expect(plan.notes).toEqual([expect.stringContaining('0')])
})

test('COCO of its authors: polygons, run lengths both ways, crowds, a box from its polygon alone', async () => {
  const image = { id: 139, file_name: '000000000139.jpg', width: 640, height: 480 }
  const annotation = (id: number, more: object) => ({
    id,
    image_id: 139,
    category_id: 64,
    iscrowd: 0,
    area: 1,
    ...more,
  })
  const counts = [480 * 2 + 3, 4, 480 * 638 - 7]
  const file = {
    annotations: [
      annotation(1, { bbox: [10, 10, 20, 20], segmentation: [[10, 10, 30, 10, 30, 30]] }),
      annotation(2, { bbox: [2, 3, 1, 4], iscrowd: 1, segmentation: { size: [480, 640], counts } }),
      annotation(3, { segmentation: [[5, 6, 15, 6, 15, 26.5]] }),
      annotation(4, { segmentation: { size: [480, 640], counts } }),
    ],
    images: [image],
    categories: [{ id: 64, name: 'potted plant', supercategory: 'furniture' }],
  }
  const { boxes, rows } = await imported(
    'coco',
    { 'instances.json': JSON.stringify(file) },
    ['val2017/000000000139.jpg'],
    'instances.json',
  )
  expect(boxes).toEqual(
    ['10,10,20,20', '2,3,1,4', '5,6,10,20.5', '2,3,1,4'].map((box) => `val2017/000000000139.jpg potted plant ${box}`),
  )
  expect(rows.map(({ extras }) => extras?.iscrowd)).toEqual([undefined, 1, undefined, undefined])
  expect(rows[1]?.extras?.segmentation).toEqual({ size: [480, 640], counts })
  expect(rows.map(({ id }) => id)).toEqual([1, 2, 3, 4])
})

test('LVIS names its images by their address only', async () => {
  const file = {
    images: [
      {
        id: 7,
        coco_url: 'http://images.cocodataset.org/val2017/000000397133.jpg',
        width: 640,
        height: 480,
        neg_category_ids: [],
        not_exhaustive_category_ids: [],
      },
    ],
    annotations: [
      { id: 1, image_id: 7, category_id: 3, bbox: [1, 2, 3, 4], segmentation: [[1, 2, 4, 2, 4, 6]], area: 12 },
    ],
    categories: [
      {
        id: 3,
        name: 'aerosol_can',
        synset: 'aerosol.n.02',
        frequency: 'c',
        def: '',
        image_count: 1,
        instance_count: 1,
        synonyms: [],
      },
    ],
  }
  const { boxes } = await imported('lvis', { 'lvis.json': JSON.stringify(file) }, ['000000397133.jpg'])
  expect(boxes).toEqual(['000000397133.jpg aerosol_can 1,2,3,4'])
})

test('YOLO of ultralytics: data.yaml with paths of another machine, polygons, pictures without boxes', async () => {
  const files = {
    'data.yaml':
      'path: ../datasets/x\ntrain: ../train/images\nval: ../valid/images\nnc: 2\nnames: [cat, "traffic light"]\n',
    'train/images/a b.jpg': '',
    'train/images/none.jpg': '',
    'train/labels/a b.txt': '1 0.5 0.5 0.25 0.5\r\n0 0.1 0.1 0.3 0.1 0.3 0.2\n\n',
    'valid/images/c.png': '',
    'valid/labels/c.txt': '0 0.5 0.5 1 1',
  }
  const images = ['train/images/a b.jpg', 'train/images/none.jpg', 'valid/images/c.png']
  const expected = [
    'train/images/a b.jpg traffic light 240,120,160,240',
    'train/images/a b.jpg cat 64,48,128,48',
    'valid/images/c.png cat 0,0,640,480',
  ]
  const { boxes, rows } = await imported('yolo', files, images)
  expect(boxes).toEqual(expected)
  expect(rows[1]?.extras?.segmentation).toEqual([[64, 48, 192, 48, 192, 96]])
  expect((await imported('yolo', files, images, 'data.yaml')).boxes).toEqual(expected)
})

test('darknet: texts beside the pictures, names in obj.names, confidences in results', async () => {
  const files = {
    'obj.names': 'dog\nperson\n\n',
    'obj.data': 'classes = 2\ntrain = data/train.txt\nnames = data/obj.names\n',
    'train.txt': 'data/obj_train_data/x.jpg\n',
    'obj_train_data/x.jpg': '',
    'obj_train_data/x.txt': '1 0.5 0.5 0.5 0.5\n0 0.25 0.25 0.5 0.5 0.875\n',
  }
  const { boxes } = await imported('yolo', files, ['x.jpg'])
  expect(boxes).toEqual([
    'x.jpg person 160,120,320,240',
    'x.jpg dog 0,0,320,240 proposed 0.88'.replace('0.88', '0.875'),
  ])
})

test('Pascal VOC as labelImg writes it', async () => {
  const xml = `<annotation verified="yes">
	<folder>JPEGImages</folder><filename>a.jpg</filename><path>C:\\x\\a.jpg</path>
	<size><width>640</width><height>480</height><depth>3</depth></size><segmented>0</segmented>
	<object><name>dog &amp; cat</name><pose>Left</pose><truncated>1</truncated><difficult>0</difficult>
		<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox></part>
		<bndbox><xmin>11</xmin><ymin>21.5</ymin><xmax>40</xmax><ymax>60</ymax></bndbox></object>
</annotation>`
  const { boxes, rows } = await imported('voc', { 'Annotations/a.xml': `\ufeff${xml.replaceAll('\n', '\r\n')}` }, [
    'VOC2007/JPEGImages/a.jpg',
  ])
  expect(boxes).toEqual(['VOC2007/JPEGImages/a.jpg dog & cat 10,20.5,30,39.5'])
  expect(rows[0]?.extras?.attributes).toEqual({ truncated: true, pose: 'Left' })
})

test('LabelMe: rectangles by any two corners, circles, polygons, picture data inside', async () => {
  const shape = (shape_type: string, points: number[][], label = 'thing') => ({
    label,
    points,
    group_id: null,
    description: 'said',
    shape_type,
    flags: {},
  })
  const file = {
    version: '5.4.1',
    flags: {},
    shapes: [
      shape('rectangle', [
        [50, 60],
        [10, 20],
      ]),
      shape('circle', [
        [100, 100],
        [103, 104],
      ]),
      shape('polygon', [
        [1, 1],
        [9, 1],
        [9, 8],
      ]),
      shape('point', [[1, 1]]),
    ],
    imagePath: '..\\pictures\\a.png',
    imageData: 'A'.repeat(100_000),
    imageHeight: 480,
    imageWidth: 640,
  }
  const { boxes, plan } = await imported('labelme', { 'json/a.json': JSON.stringify(file) }, ['pictures/a.png'])
  expect(boxes).toEqual([
    'pictures/a.png thing 10,20,40,40 said',
    'pictures/a.png thing 95,95,10,10 said',
    'pictures/a.png thing 1,1,8,7 said',
  ])
  expect(plan.notes).toEqual(['Of circles, the box is taken.', 'Points and lines have no area and are left out.'])
})

test.each([
  ['TensorFlow', 'filename,width,height,class,xmin,ymin,xmax,ymax\r\na.jpg,640,480,cat,10,20,40,60\r\n'],
  ['Excel, with its line for the separator', 'sep=;\r\nfilename;class;x;y;w;h\r\na.jpg;cat;10;20;30;40\r\n'],
  ['bars and an empty line', '\n\nfilename|class|x|y|w|h\na.jpg|cat|10|20|30|40\n'],
  ['classes by number alone', 'image_id,class_id,x,y,w,h\na,cat,10,20,30,40\n'],
  ['semicolons and a BOM', '\ufefffile_name;class;x;y;w;h\na.jpg;cat;10;20;30;40\n'],
  ['RetinaNet', 'a.jpg,10,20,40,60,cat\nb.jpg,,,,,\n'],
  [
    'OpenImages',
    'ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax\na,x,cat,1,0.015625,0.0625,0.0416666667,0.125\n',
  ],
])('CSV of %s', async (_, text) => {
  const { boxes } = await imported('csv', { 'labels.csv': text }, ['a.jpg', 'b.jpg'])
  expect(boxes).toEqual(['a.jpg cat 10,20,30,40'])
})

test('CVAT for images', async () => {
  const xml = `<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><job><labels><label><name>car</name><color>#ff00AA</color><type>any</type><attributes></attributes></label></labels></job></meta>
  <image id="0" name="a.jpg" width="640" height="480">
    <box label="car" source="manual" occluded="1" xtl="10.50" ytl="20.00" xbr="40.50" ybr="60.00" z_order="0"><attribute name="colour">dark red</attribute></box>
    <polygon label="car" source="manual" occluded="0" points="1.00,1.00;9.00,1.00;9.00,8.00" z_order="0"></polygon>
    <points label="car" points="1,1"></points>
    <tag label="x"></tag>
  </image>
</annotations>`
  const { boxes, rows } = await imported('cvat', { 'annotations.xml': xml }, ['a.jpg'])
  expect(boxes).toEqual(['a.jpg car 10.5,20,30,40', 'a.jpg car 1,1,8,7'])
  expect(rows[0]?.extras?.attributes).toEqual({ colour: 'dark red', occluded: true })
})

test('Label Studio: uploads with a prefix, per cent, captions as text areas, predictions', async () => {
  const value = { x: 10, y: 25, width: 50, height: 50, rotation: 0 }
  const common = { to_name: 'image', original_width: 640, original_height: 480, image_rotation: 0 }
  const task = {
    id: 5,
    data: { image: '/data/upload/1/0a1b2c3d-a.jpg' },
    annotations: [
      {
        id: 1,
        was_cancelled: false,
        result: [
          {
            ...common,
            id: 'x',
            from_name: 'label',
            type: 'rectanglelabels',
            value: { ...value, rectanglelabels: ['cat'] },
          },
          { ...common, id: 'x', from_name: 'cap', type: 'textarea', value: { ...value, text: ['a cat'] } },
        ],
      },
      { id: 2, was_cancelled: true, result: [{}] },
    ],
    predictions: [
      {
        score: 0.5,
        result: [
          {
            ...common,
            id: 'y',
            type: 'polygonlabels',
            value: {
              points: [
                [0, 0],
                [10, 0],
                [10, 10],
              ],
              polygonlabels: ['dog'],
            },
          },
        ],
      },
    ],
  }
  const { boxes } = await imported('label-studio', { 'export.json': JSON.stringify([task]) }, ['a.jpg'])
  expect(boxes).toEqual(['a.jpg cat 64,120,320,240 a cat', 'a.jpg dog 0,0,64,48 proposed 0.5'])
})

/** `pickle.dump(refs, file)` of Python 2 and of Python 3: the same two sentences. */
const REFS: [string, Uint8Array][] = [
  [
    'protocol 0',
    Buffer.from(
      "(lp0\n(dp1\nS'sent_ids'\np2\n(lp3\nI0\naI1\nasS'file_name'\np4\nS'COCO_train2014_1_0.jpg'\np5\nsS'ann_id'\np6\nI11\nsS'ref_id'\np7\nI1\nsS'image_id'\np8\nI1\nsS'split'\np9\nS'testA'\np10\nsS'sentences'\np11\n(lp12\n(dp13\nS'tokens'\np14\n(lp15\nS'the'\np16\nasS'raw'\np17\nS'the'\np18\nsS'sent_id'\np19\nI0\nsS'sent'\np20\nS\"man's hat\"\np21\nsa(dp22\ng14\n(lp23\nsg20\nVcaf\\u00e9\np24\nsasS'category_id'\np25\nI1\nsa.",
      'latin1',
    ),
  ],
  [
    'protocol 4',
    Buffer.from(
      'gASVowAAAAAAAABdlH2UKIwIc2VudF9pZHOUXZQoSwBLAWWMBmFubl9pZJRLC4wGcmVmX2lklEsBjAhpbWFnZV9pZJRLAYwFc3BsaXSUjAV0ZXN0QZSMCXNlbnRlbmNlc5RdlCh9lCiMB3NlbnRfaWSUSwCMBHNlbnSUjAltYW4ncyBoYXSUdX2UKGgMSwFoDYwFY2Fmw6mUdWWMC2NhdGVnb3J5X2lklEsBdWEu',
      'base64',
    ),
  ],
]
test.each(REFS)('RefCOCO: references pickled with %s', async (_, pickle) => {
  const instances = {
    images: [{ id: 1, file_name: 'COCO_train2014_1.jpg', width: 640, height: 480 }],
    annotations: [
      {
        id: 11,
        image_id: 1,
        category_id: 1,
        bbox: [1, 2, 3, 4],
        segmentation: [[1, 2, 4, 2, 4, 6]],
        iscrowd: 0,
        area: 12,
      },
    ],
    categories: [{ id: 1, name: 'person', supercategory: 'person' }],
  }
  const { boxes, rows } = await imported(
    'refcoco',
    { 'instances.json': JSON.stringify(instances), 'refs(unc).p': pickle },
    ['COCO_train2014_1.jpg'],
  )
  expect(boxes).toEqual(["COCO_train2014_1.jpg person 1,2,3,4 man's hat"])
  expect(rows[0]?.extras?.attributes).toEqual({ expressions: "man's hat\ncafé", split: 'testA' })
})

test('Visual Genome regions', async () => {
  const region = (region_id: number, phrase: string) => ({
    region_id,
    width: 82,
    height: 139,
    image_id: 1,
    phrase,
    y: 57,
    x: 421,
  })
  const files = {
    'region_descriptions.json': JSON.stringify([
      { id: 1, regions: [region(1382, 'the clock is green'), region(1383, 'shade\u00a0')] },
    ]),
    'image_data.json': JSON.stringify([
      {
        image_id: 1,
        width: 640,
        height: 480,
        url: 'https://cs.stanford.edu/people/rak248/VG_100K_2/1.jpg',
        coco_id: null,
      },
    ]),
  }
  const { boxes } = await imported('visual-genome', files, ['VG_100K_2/1.jpg'])
  expect(boxes).toEqual([
    'VG_100K_2/1.jpg null 421,57,82,139 the clock is green',
    'VG_100K_2/1.jpg null 421,57,82,139 shade\u00a0',
  ])
})

test('Flickr30k Entities: several boxes of a phrase, several names of a box, phrases without a place', async () => {
  const box = '<bndbox><xmin>11</xmin><ymin>21</ymin><xmax>40</xmax><ymax>60</ymax></bndbox>'
  const xml = `<annotation><filename>36979.jpg</filename><size><width>640</width><height>480</height><depth>3</depth></size>
    <object><name>1</name><name>3</name>${box}</object><object><name>1</name>${box.replaceAll('11', '111').replaceAll('40', '140')}</object>
    <object><name>2</name><nobndbox>1</nobndbox></object></annotation>`
  const text = '[/EN#1/people Two men] 😀 in [/EN#2/scene the sun] wear [/EN#3/clothing/other a hat] .\n'
  const { boxes, sentences } = await imported(
    'flickr30k',
    { 'Annotations/36979.xml': xml, 'Sentences/36979.txt': text },
    ['36979.jpg'],
  )
  expect(boxes).toEqual(
    ['10,20,30,40 Two men', '110,20,30,40 Two men']
      .map((row) => `36979.jpg people ${row}`)
      .concat('36979.jpg clothing 10,20,30,40 a hat'),
  )
  expect(sentences.map(({ text, spans }) => [text, spans.map((span) => [span.text, span.boxes.length])])).toEqual([
    [
      'Two men 😀 in the sun wear a hat .',
      [
        ['Two men', 2],
        ['a hat', 1],
      ],
    ],
  ])
  expect(
    [...(sentences[0]?.text ?? '')].slice(sentences[0]?.spans[1]?.start, sentences[0]?.spans[1]?.end).join(''),
  ).toBe('a hat')
})

test('Groma Instruct', async () => {
  const item = {
    file_name: 'a.jpg',
    width: 640,
    height: 480,
    boxes: [
      [1, 2, 3, 4],
      [10, 20, 30, 40],
    ],
    conversation: [
      { from: 'human', value: 'What is here?' },
      {
        from: 'gpt',
        value: 'There is <p>a cup</p><roi><ground_box></roi> near <p>two</p><roi><ground_box><ground_box></roi>.',
        box_inds: [1, 0, 1],
      },
    ],
  }
  const { boxes, sentences } = await imported('groma-instruct', { 'groma.json': JSON.stringify([item]) }, ['a.jpg'])
  expect(boxes).toEqual(['a.jpg null 1,2,3,4 two', 'a.jpg null 10,20,30,40 a cup'])
  expect(sentences.map(({ role, text }) => [role, text])).toEqual([
    ['user', 'What is here?'],
    ['assistant', 'There is a cup near two.'],
  ])
  expect(sentences[1]?.spans.map(({ boxes }) => boxes.map(({ bboxXywh }) => bboxXywh[0]))).toEqual([[10], [1, 10]])
})

test('scenes of the training folder', async () => {
  const file = {
    images: [{ id: 1, file_name: 'scene000.png', width: 640, height: 480 }],
    annotations: [
      {
        id: 1,
        image_id: 1,
        category_id: 1,
        bbox: [1, 2, 3, 4],
        area: 12,
        iscrowd: 0,
        caption: 'a red circle',
        attributes: { colour: 'red' },
        referring: ['the red circle', 'the circle on the left'],
      },
    ],
    categories: [{ id: 1, name: 'circle' }],
  }
  const { boxes, rows } = await imported('synthetic', { 'annotations.json': JSON.stringify(file, null, 1) }, [
    'scene000.png',
  ])
  expect(boxes).toEqual(['scene000.png circle 1,2,3,4 a red circle'])
  expect(rows[0]?.extras?.attributes).toEqual({ colour: 'red', expressions: 'the red circle\nthe circle on the left' })
})
