/** Boxes as the labelling tools really write them: CVAT, Label Studio, LabelMe, YOLO's trainers, VOC's, tables. */
import { expect, test } from 'vitest'
import type { FormatName } from '../../db/records/formatNames.ts'
import { cvat, type Files, imported, labelme, shape } from './foreign.ts'

/** [what, format, files, boxes, more: notes, path inside] */
type Case = [string, FormatName, Files, string[], { notes?: (string | RegExp)[]; at?: string; images?: string[] }?]

const rectangle = { x: 25, y: 25, width: 10, height: 20, rotation: 90, rectanglelabels: ['cat'] }
const size = { original_width: 640, original_height: 480, image_rotation: 0 }
const task = (more: object) => ({ id: 1, data: { image: '/data/local-files/?d=photos/a.jpg' }, ...more })
const voc = (object: string, head = '<filename>a.jpg</filename>') => `<annotation>${head}${object}</annotation>`
const bndbox = (sides: number[], more = '') =>
  `<object><name>cup</name>${more}<bndbox><xmin>${sides[0]}</xmin><ymin>${sides[1]}</ymin><xmax>${sides[2]}</xmax><ymax>${sides[3]}</ymax></bndbox></object>`

const CASES: Case[] = [
  [
    'CVAT: a box turned by a quarter lies where it is seen',
    'cvat',
    {
      'annotations.xml': cvat(
        '<box label="cup" occluded="0" xtl="100" ytl="100" xbr="140" ybr="120" rotation="90.00" z_order="0"/>',
      ),
    },
    ['a.jpg cup 110,90,20,40'],
    { notes: [/^Turned boxes/] },
  ],
  [
    'CVAT: ellipses, masks, tags, skeletons, a group, a subset’s folder',
    'cvat',
    {
      'annotations.xml': cvat(
        `<tag label="day" source="manual"/><ellipse label="cup" cx="50" cy="60" rx="10" ry="20" rotation="90" group_id="3"/>
        <mask label="cup" rle="1, 2, 1, 2" left="10" top="20" width="3" height="2"/>
        <skeleton label="man"><points label="1" points="1,1"/></skeleton><cuboid label="box" xtl1="1"/>`,
        'name="train/a.jpg" subset="train" task_id="4" width="640" height="480"',
      ),
    },
    ['a.jpg cup 30,50,40,20', 'a.jpg cup 10,20,3,2'],
    { notes: ['Points, lines and tags are no boxes and are left out.', 'Of ellipses, the box is taken.'] },
  ],
  [
    'Label Studio: turned round its top left corner, in pixels',
    'label-studio',
    {
      'export.json': JSON.stringify([
        task({ annotations: [{ result: [{ ...size, type: 'rectanglelabels', value: rectangle }] }] }),
      ]),
    },
    ['photos/a.jpg cat 64,120,96,64'],
    { notes: [/^Turned boxes/], images: ['photos/a.jpg'] },
  ],
  [
    'Label Studio: JSON-MIN',
    'label-studio',
    {
      'min.json': JSON.stringify([
        {
          id: 9,
          image: 's3://bucket/x/a.jpg',
          label: [
            { ...rectangle, rotation: 0, ...size },
            {
              ...size,
              points: [
                [0, 0],
                [10, 0],
                [10, 10],
              ],
              polygonlabels: ['dog'],
            },
          ],
          annotator: 1,
          lead_time: 3.5,
        },
      ]),
    },
    ['a.jpg cat 160,120,64,96', 'a.jpg dog 0,0,64,48'],
  ],
  [
    'Label Studio: labels apart from their shape, two annotators, relations, a prediction',
    'label-studio',
    {
      'export.json': JSON.stringify([
        task({
          annotations: [
            {
              result: [
                {
                  ...size,
                  id: 'r',
                  from_name: 'box',
                  type: 'rectangle',
                  value: { x: 0, y: 0, width: 50, height: 50, rotation: 0 },
                },
                {
                  ...size,
                  id: 'r',
                  from_name: 'label',
                  type: 'labels',
                  value: { x: 0, y: 0, width: 50, height: 50, labels: ['cat'] },
                },
                { type: 'relation', from_id: 'r', to_id: 'q', direction: 'right' },
              ],
            },
            {
              result: [
                {
                  ...size,
                  type: 'ellipselabels',
                  value: { x: 50, y: 50, radiusX: 10, radiusY: 10, rotation: 0, ellipselabels: ['dog'] },
                },
              ],
            },
          ],
          predictions: [
            {
              score: 0.25,
              model_version: 'x',
              result: [{ ...size, type: 'rectanglelabels', score: 0.75, value: { ...rectangle, rotation: 0 } }],
            },
          ],
        }),
      ]),
    },
    ['a.jpg cat 0,0,320,240', 'a.jpg dog 256,192,128,96', 'a.jpg cat 160,120,64,96 proposed 0.75'],
    { notes: [/several people/, /Relations/, /ellipses/] },
  ],
  [
    'LabelMe: backwards corners, a circle, lines, turned rectangles, other JSON beside',
    'labelme',
    {
      'a.json': labelme([
        shape(
          'rectangle',
          [
            [50, 60],
            [10, 20],
          ],
          { flags: { crowd: true }, group_id: 2, description: '' },
        ),
        shape('circle', [
          [100, 100],
          [103, 104],
        ]),
        shape('linestrip', [
          [1, 1],
          [5, 5],
        ]),
        shape('oriented_rectangle', [
          [10, 0],
          [20, 10],
          [10, 20],
          [0, 10],
        ]),
      ]),
      'classes.json': '{"names":["cup"]}',
    },
    ['a.jpg cup 10,20,40,40', 'a.jpg cup 95,95,10,10', 'a.jpg cup 0,0,20,20'],
    { notes: [/circles/, /Points and lines/, 'classes.json is no LabelMe file and is left out.'] },
  ],
  [
    'LabelMe: the picture inside, its path of another system, no sizes',
    'labelme',
    {
      'a.json': labelme(
        [
          shape('rectangle', [
            [1, 2],
            [4, 6],
          ]),
        ],
        {
          imageData: 'iVBORw0KGgo=',
          imagePath: 'D:\\data\\a.jpg',
          imageHeight: null,
          imageWidth: null,
        },
      ),
    },
    ['a.jpg cup 1,2,3,4'],
  ],
  [
    'VOC: no size, difficult, corners of parts',
    'voc',
    {
      'a.xml': voc(
        bndbox([11.5, 21, 40, 60.25], '<pose>Unspecified</pose><truncated>0</truncated><difficult>1</difficult>'),
      ),
    },
    ['a.jpg cup 10.5,20,29.5,40.25'],
  ],
  [
    'VOC: a tool that counts from 0, in all of its files',
    'voc',
    {
      'Annotations/a.xml': voc(bndbox([0, 0, 640, 480])),
      'Annotations/b.xml': voc(bndbox([10, 20, 40, 60]), '<filename>b.jpg</filename>'),
    },
    ['a.jpg cup 0,0,640,480', 'b.jpg cup 10,20,30,40'],
    { notes: [/counted from 0/] },
  ],
  [
    'VOC: pictures renamed after labelling',
    'voc',
    {
      'a.xml': voc(
        bndbox([11, 21, 40, 60]),
        '<folder>x</folder><filename>IMG_2031.JPG</filename><path>/old/IMG_2031.JPG</path>',
      ),
    },
    ['a.jpg cup 10,20,30,40'],
  ],
  [
    'YOLO: predictions, polygons with and without confidence, a tracker’s numbers',
    'yolo',
    {
      'classes.txt': 'cup\r\ndog\r\n',
      'labels/a.txt': [
        '0 0.5 0.5 0.25 0.5 0.9',
        '1 0.1 0.1 0.3 0.1 0.3 0.2',
        '1 0.1 0.1 0.3 0.1 0.3 0.2 0.8',
        '0 0.5 0.5 0.25 0.5 0.7 12',
        '0 0.5 0.5 0.25 0.5 12',
        '1 0 0 0.5 0 0.5 0.5 0 0.5',
      ].join('\n'),
    },
    [
      'a.jpg cup 240,120,160,240 proposed 0.9',
      'a.jpg dog 64,48,128,48',
      'a.jpg dog 64,48,128,48 proposed 0.8',
      'a.jpg cup 240,120,160,240 proposed 0.7',
      'a.jpg cup 240,120,160,240',
      'a.jpg dog 0,0,320,240',
    ],
    { notes: [/confidence/] },
  ],
  [
    'YOLO of a pose model: its key points',
    'yolo',
    { 'data.yaml': 'kpt_shape: [1, 3]\nnames:\n  0: man\n', 'labels/a.txt': '0 0.5 0.5 0.25 0.5 0.5 0.5 2' },
    ['a.jpg man 240,120,160,240'],
    { notes: ['Key points are left out.'] },
  ],
  [
    'YOLO: lists of pictures with paths of another machine, names as a mapping, folders in capitals',
    'yolo',
    {
      'data.yaml': 'path: /home/u/set\ntrain: train.txt\nval: val2017.txt\nnames:\n  0: cup\n  1: dog\n',
      'train.txt': '/home/u/set/images/train/a.jpg\n',
      'val2017.txt': './images/val/b.jpg\n./images/val/c.jpg\n',
      'Labels/train/a.txt': '1 0.5 0.5 0.25 0.5',
      'Labels/val/b.txt': '0 0.5 0.5 0.25 0.5',
    },
    ['train/a.jpg dog 240,120,160,240', 'val/b.jpg cup 240,120,160,240'],
    { images: ['train/a.jpg', 'val/b.jpg', 'val/c.jpg'] },
  ],
  [
    'YOLO of darknet: texts beside the pictures and a list of any name',
    'yolo',
    {
      'obj.names': 'cup\n',
      'data/trainval.txt': 'data/obj/a.jpg\r\n',
      'data/obj/a.jpg': '',
      'data/obj/a.txt': '0 0.5 0.5 0.25 0.5',
    },
    ['obj/a.jpg cup 240,120,160,240'],
    { images: ['obj/a.jpg'] },
  ],
  [
    'YOLO: a data.yaml that lies apart from its data',
    'yolo',
    {
      'configs/data.yaml': 'path: ../sets/x\ntrain: images/train\nval: [images/val, images/more]\nnames: {0: cup}\n',
      'sets/x/images/train/a.jpg': '',
      'sets/x/images/val/b.jpg': '',
      'sets/x/labels/train/a.txt': '0 0.5 0.5 0.25 0.5',
    },
    ['a.jpg cup 240,120,160,240'],
    { at: 'configs/data.yaml', notes: [/^Labels are read from .*sets\/x, where data.yaml says/] },
  ],
  [
    'CSV: sides of the box called width and height',
    'csv',
    { 'x.csv': 'image_name;label;x;y;width;height;image_width;image_height\na.jpg;cup;10,5;20;30;40;640;480\n' },
    ['a.jpg cup 10.5,20,30,40'],
  ],
  [
    'CSV: a box in one field, pictures without ending',
    'csv',
    { 'train.csv': 'image_id,width,height,bbox,source\na,640,480,"[10.0, 20.0, 30.0, 40.0]",x\n' },
    ['a.jpg null 10,20,30,40'],
  ],
  [
    'CSV: parts of the sides',
    'csv',
    { 'x.csv': 'filename,class,xmin,ymin,xmax,ymax\na.jpg,cup,0.25,0.25,0.5,0.5\n' },
    ['a.jpg cup 160,120,160,120'],
    { notes: [/parts of the image/] },
  ],
  [
    'VOC in the letters of its first line',
    'voc',
    {
      'a.xml': Buffer.concat([
        Buffer.from('<?xml version="1.0" encoding="GB2312"?><annotation><filename>a.jpg</filename><object><name>'),
        Buffer.from([0xb3, 0xb5]), // 车
        Buffer.from(
          '</name><bndbox><xmin>11</xmin><ymin>21</ymin><xmax>40</xmax><ymax>60</ymax></bndbox></object></annotation>',
        ),
      ]),
    },
    ['a.jpg 车 10,20,30,40'],
  ],
  [
    'CSV in letters that nothing names: said',
    'csv',
    { 'x.csv': Buffer.from('filename,class,xmin,ymin,xmax,ymax\na.jpg,caf\xe9,10,20,40,60\n', 'latin1') },
    ['a.jpg caf\ufffd 10,20,30,40'],
    { notes: [/not in UTF-8/] },
  ],
  [
    'CSV: centres',
    'csv',
    { 'x.csv': 'image,label,x_center,y_center,width,height\na.jpg,cup,25,40,30,40\n' },
    ['a.jpg cup 10,20,30,40'],
  ],
  [
    'CVAT for video: tracks on frames, not where the object is outside',
    'cvat',
    {
      'annotations.xml': `<annotations><version>1.1</version><meta><task><original_size><width>640</width><height>480</height></original_size>
        <labels><label><name>car</name><color>#ff0000</color></label><label><name>1</name><type>points</type><parent>man</parent></label></labels></task></meta>
        <track id="0" label="car" source="manual">
          <box frame="0" keyframe="1" outside="0" occluded="0" xtl="10.00" ytl="20.00" xbr="40.00" ybr="60.00" z_order="0"></box>
          <box frame="7" keyframe="0" outside="0" occluded="1" xtl="11.00" ytl="20.00" xbr="41.00" ybr="60.00" z_order="0"></box>
          <box frame="8" keyframe="1" outside="1" occluded="0" xtl="11.00" ytl="20.00" xbr="41.00" ybr="60.00" z_order="0"></box>
        </track></annotations>`,
    },
    ['video/frame_000000.png car 10,20,30,40', 'video/frame_000007.png car 11,20,30,40'],
    { images: ['video/frame_000000.png', 'video/frame_000007.png'] },
  ],
  [
    'CSV of makesense.ai, without names',
    'csv',
    { 'labels.csv': 'cup,10,20,30,40,a.jpg,640,480\n' },
    ['a.jpg cup 10,20,30,40'],
  ],
  [
    'CSV: a file for each split, tabs',
    'csv',
    {
      'train_labels.csv': 'filename\tclass\txmin\tymin\txmax\tymax\na.jpg\tcup\t10\t20\t40\t60\n',
      'test_labels.csv': '\ufefffilename,class,xmin,ymin,xmax,ymax\r\nb.jpg,cup,1,2,4,6\r\n',
    },
    ['a.jpg cup 10,20,30,40', 'b.jpg cup 1,2,3,4'],
  ],
]

test.each(CASES)(
  '%s',
  async (_, format, files, expected, { notes = [], at = '', images = ['a.jpg', 'b.jpg'] } = {}) => {
    const { boxes, plan } = await imported(format, files, images, at)
    expect(boxes).toEqual(expected)
    expect(plan.images.missing).toBe(0)
    expect(plan.notes).toEqual(notes.map((note) => expect.stringMatching(note)))
  },
)

test('Roboflow: a picture that was uploaded is known by its own name', async () => {
  const image = { id: 0, file_name: 'a_jpg.rf.0123456789abcdef.jpg', width: 640, height: 480, extra: { name: 'a.jpg' } }
  const annotations = [{ id: 0, image_id: 0, category_id: 1, bbox: [1, 2, 3, 4] }]
  const file = { categories: [{ id: 1, name: 'cup' }], images: [image], annotations }
  const { boxes } = await imported('coco', { '_annotations.coco.json': JSON.stringify(file) }, ['a.jpg'])
  expect(boxes).toEqual(['a.jpg cup 1,2,3,4'])
})

test('YOLO: lines that end as on old Macs', async () => {
  const files = { 'labels/a.txt': '0 0.5 0.5 0.1 0.1\r1 0.25 0.5 0.1 0.1\r', 'classes.txt': 'cup\rdog\r' }
  const { boxes } = await imported('yolo', files, ['a.jpg'])
  expect(boxes).toEqual(['a.jpg cup 288,216,64,48', 'a.jpg dog 128,216,64,48'])
})
