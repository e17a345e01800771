/** Files that are broken, careless or meant to hurt: told row by row, nothing imported, nothing lost, nothing falls over. */
import { mkdirSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { formats } from '../../db/formats/registry.ts'
import type { ProjectStore } from '../../db/project.ts'
import { FORMAT_NAMES, type FormatName } from '../../db/records/formatNames.ts'
import { boxesOf, importFrom, newProject, planFrom } from '../support/formats.ts'
import { annotationRow, imageRow, tempFolder } from './support.ts'

const IMAGES = { images: [imageRow(1, 'a.jpg'), imageRow(2, 'b.jpg')], annotations: [annotationRow(1, 2)] }

function lay(folder: string, files: Record<string, string | Buffer>): string {
  const root = join(folder, 'set')
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(root, name)), { recursive: true })
    writeFileSync(join(root, name), content)
  }
  const [only, ...more] = Object.keys(files)
  return more.length === 0 && only !== undefined ? join(root, only) : root
}

const coco = (change: object, annotation: object = {}): string =>
  JSON.stringify({
    images: [{ id: 1, file_name: 'a.jpg', width: 640, height: 480 }],
    annotations: [
      { id: 1, image_id: 1, category_id: 1, bbox: [1, 2, 3, 4] },
      { id: 2, image_id: 1, category_id: 1, bbox: [10, 20, 30, 40], ...annotation },
    ],
    categories: [{ id: 1, name: 'cup' }],
    ...change,
  })
const raw = (annotation: string): string =>
  coco({}).replace('{"id":2,"image_id":1,"category_id":1,"bbox":[10,20,30,40]}', annotation)

/** What the second annotation is, and what is said of it; the first one is good and comes in with `skipBad`. */
const BAD_ROWS: [string, string, RegExp][] = [
  ['a duplicate id', coco({}, { id: 1 }), /id 1 is in the file twice/],
  ['a negative id', coco({}, { id: -5 }), /whole number/],
  ['an id of parts', coco({}, { id: 1.5 }), /whole number/],
  [
    'an id beyond the integers',
    raw('{"id":9007199254740993,"image_id":1,"category_id":1,"bbox":[1,1,2,2]}'),
    /whole number/,
  ],
  ['a list for an id', coco({}, { id: [2] }), /whole number/],
  ['an image that is not there', coco({}, { image_id: 9 }), /names image 9/],
  ['no image', coco({}, { image_id: null }), /names no image/],
  ['a class that is not there', coco({}, { category_id: 9 }), /names class 9/],
  ['an object for a class', coco({}, { category_id: {} }), /names no class/],
  ['a box outside', coco({}, { bbox: [700, 10, 5, 5] }), /outside of the image/],
  ['a negative side', coco({}, { bbox: [10, 10, -5, 5] }), /negative side/],
  ['no area', coco({}, { bbox: [10, 10, 0, 5] }), /no area/],
  ['NaN', raw('{"id":2,"image_id":1,"category_id":1,"bbox":[NaN,1,2,2]}'), /NaN, which JSON does not know/],
  ['infinity', raw('{"id":2,"image_id":1,"category_id":1,"bbox":[1,1,Infinity,2]}'), /Infinity/],
  ['1e999', raw('{"id":2,"image_id":1,"category_id":1,"bbox":[1e999,1,2,2]}'), /no number/],
  ['1e308', coco({}, { bbox: [1e308, 1e308, 1e308, 1e308] }), /no number|outside/],
  ['strings for numbers', coco({}, { bbox: ['10', '20', '30', '40'] }), /not four numbers/],
  ['three numbers', coco({}, { bbox: [1, 2, 3] }), /not four numbers/],
  ['neither box nor polygon', coco({}, { bbox: null }), /neither a bbox nor a segmentation/],
  ['a polygon of text', coco({}, { segmentation: [['1', 2, 3, 4, 5, 6]] }), /something other than numbers/],
  ['a polygon of odd length', coco({}, { segmentation: [[1, 2, 3, 4, 5, 6, 7]] }), /odd number/],
  [
    'a huge polygon',
    coco({}, { segmentation: [Array.from({ length: 20_002 }, (_, i) => i % 400)] }),
    /more than 10000 corners/,
  ],
  [
    'run lengths that do not add up',
    coco({}, { segmentation: { size: [480, 640], counts: [5, 5] } }),
    /cover 10 pixels of 307200/,
  ],
  ['run lengths of nonsense', coco({}, { segmentation: { size: [480, 640], counts: '\u0001~~' } }), /cannot be read/],
  ['a score above 1', coco({}, { score: 17 }), /not between 0 and 1/],
  ['a row that is no object', raw('[1,2,3]'), /no object/],
  ['a row that is no JSON', raw('{"id":2,,}'), /no JSON/],
  ['a caption without end', coco({}, { caption: 'x'.repeat(30_000) }), /more than 20000 letters/],
  [
    'a class without a name',
    coco(
      {
        categories: [
          { id: 1, name: 'cup' },
          { id: 2, name: ' ' },
        ],
      },
      { category_id: 2 },
    ),
    /no name/,
  ],
  [
    'a duplicate class',
    coco(
      {
        categories: [
          { id: 1, name: 'cup' },
          { id: 1, name: 'mug' },
        ],
      },
      { bbox: [0, 0, 0, 0] },
    ),
    /class 1 is in the file twice/,
  ],
  [
    'a duplicate image',
    coco(
      {
        images: [
          { id: 1, file_name: 'a.jpg', width: 640, height: 480 },
          { id: 1, file_name: 'b.jpg', width: 640, height: 480 },
        ],
      },
      { bbox: [0, 0, 0, 0] },
    ),
    /image 1 is in the file twice/,
  ],
  [
    'two images of one file',
    coco(
      {
        images: [
          { id: 1, file_name: 'a.jpg', width: 640, height: 480 },
          { id: 3, file_name: './A.JPG', width: 640, height: 480 },
        ],
      },
      { image_id: 3, bbox: [0, 0, 0, 0] },
    ),
    /both a.jpg/,
  ],
  [
    'a picture of another size',
    coco(
      {
        images: [
          { id: 1, file_name: 'a.jpg', width: 640, height: 480 },
          { id: 3, file_name: 'b.jpg', width: 480, height: 640 },
        ],
      },
      { image_id: 3, bbox: [0, 0, 0, 0] },
    ),
    /turned by its camera/,
  ],
]

const unchanged = (store: ProjectStore): void => {
  expect(boxesOf(store).map(({ row }) => row.id)).toEqual([1])
  expect(store.categories.list()).toEqual([])
  expect(store.summary().headSeq).toBe(1)
}

test.each(BAD_ROWS)('%s: told with its place, refused whole, left out when asked', async (_, text, reason) => {
  const folder = tempFolder(true)
  const path = lay(folder, { 'instances.json': text })
  const store = newProject(folder, 'p', IMAGES)
  const plan = await planFrom(store, 'coco', path)
  expect(plan.problems.first.map((problem) => `${problem.where}: ${problem.reason}`).join('\n')).toMatch(reason)
  for (const { where } of plan.problems.first) expect(where).toMatch(/^(annotations|categories|images)\[\d+\]$/)
  expect(plan.refusal).not.toBeNull()
  await expect(importFrom(store, 'coco', path)).rejects.toMatchObject({ code: 'INVALID_INPUT' })
  unchanged(store)
  const { plan: taken } = await importFrom(store, 'coco', path, { skipBad: true })
  expect(taken.annotations.toAdd).toBe(1)
  expect(
    boxesOf(store)
      .filter(({ image }) => image === 'a.jpg')
      .map(({ row }) => row.bboxXywh),
  ).toEqual([[1, 2, 3, 4]])
  store.close()
})

const deep = (levels: number): string => '['.repeat(levels) + ']'.repeat(levels)
const bomb = `<!DOCTYPE lolz [<!ENTITY lol "lol">${Array.from({ length: 9 }, (_, i) => `<!ENTITY lol${i + 1} "${`&lol${i || ''};`.repeat(10)}">`).join('')}]><annotation><filename>&lol9;</filename></annotation>`
const xml = (inner: string): string =>
  `<annotation><filename>a.jpg</filename><size><width>640</width><height>480</height></size>${inner}</annotation>`

/** Files of which nothing can be taken; [name, format, files, what is said]. */
const REFUSED: [string, FormatName, Record<string, string | Buffer>, RegExp][] = [
  ['an empty file', 'coco', { 'x.json': '' }, /is empty/],
  ['only spaces', 'coco', { 'x.json': ' \n\t ' }, /is empty/],
  ['lists of nothing that is known', 'coco', { 'x.json': '{"a":[1]}' }, /holds nothing in the format COCO instances/],
  ['a folder without a single XML', 'voc', { 'a.txt': 'x', 'b.txt': 'y' }, /holds nothing in the format Pascal VOC/],
  ['YOLO by a file that is no data.yaml', 'yolo', { 'x.json': coco({}) }, /name its folder, or its data.yaml/],
  ['YOLO without labels', 'yolo', { 'data.yaml': 'names: [x]', 'notes.md': '' }, /no file of labels/],
  ['references by a file that is none', 'refcoco', { 'x.json': coco({}) }, /no file of references/],
  [
    'a video’s frame that is none',
    'cvat',
    { 'a.xml': '<annotations><version>1.1</version><track id="0" label="car"><box frame="x"/></track></annotations>' },
    /on no frame/,
  ],
  ['another format', 'coco', { 'x.json': '<html>' }, /not a JSON file/],
  ['bytes', 'coco', { 'x.json': Buffer.from([0x7b, 0, 0, 0, 1]) }, /lacks|no text/],
  ['cut short', 'coco', { 'x.json': coco({}).slice(0, 200) }, /ends/],
  ['two files in one', 'coco', { 'x.json': coco({}) + coco({}) }, /goes on after its end/],
  ['JSON that is too deep', 'coco', { 'x.json': `{"annotations":${deep(5000)}}` }, /deeper than 32/],
  ['a list without commas', 'coco', { 'x.json': '{"annotations":[{} {}]}' }, /comma/],
  ['an entity bomb', 'voc', { 'a.xml': bomb }, /document type|entity/],
  [
    'an outside entity',
    'voc',
    {
      'a.xml':
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation><filename>&x;</filename></annotation>',
    },
    /document type|entity/,
  ],
  ['an unknown entity', 'voc', { 'a.xml': xml('<object><name>&x;</name></object>') }, /entity/],
  ['XML that never closes', 'voc', { 'a.xml': '<annotation><object>' }, /unclosed|unexpected/],
  [
    'XML that is too deep',
    'voc',
    { 'a.xml': `<annotation>${'<a>'.repeat(100)}${'</a>'.repeat(100)}</annotation>` },
    /deeper than 32/,
  ],
  [
    'a VOC box of words',
    'voc',
    {
      'a.xml': xml(
        '<object><name>x</name><bndbox><xmin>one</xmin><ymin>1</ymin><xmax>2</xmax><ymax>3</ymax></bndbox></object>',
      ),
    },
    /not four numbers/,
  ],
  [
    'a VOC box the wrong way round',
    'voc',
    {
      'a.xml': xml(
        '<object><name>x</name><bndbox><xmin>50</xmin><ymin>1</ymin><xmax>20</xmax><ymax>30</ymax></bndbox></object>',
      ),
    },
    /negative side/,
  ],
  [
    'a YAML bomb',
    'yolo',
    {
      'data.yaml': `a: &a [x,x,x,x,x,x,x,x,x]\n${'bcdefghi'
        .split('')
        .map((l, i) => `${l}: &${l} [${Array(9).fill(`*${'abcdefghi'[i]}`).join(',')}]`)
        .join('\n')}\nnames: *i\n`,
      'labels/a.txt': '',
    },
    /alias/i,
  ],
  [
    'YAML that holds itself',
    'yolo',
    { 'data.yaml': 'names: &n\n  - x\n  - *n\n', 'labels/a.txt': '' },
    /alias|circular/i,
  ],
  [
    'YAML that makes objects',
    'yolo',
    { 'data.yaml': 'names: !!python/object/apply:os.system ["true"]\n', 'labels/a.txt': '' },
    /tag/i,
  ],
  [
    'YOLO words for numbers',
    'yolo',
    { 'data.yaml': 'names: [x]', 'labels/a.txt': '0 0.5 0.5 nan 0.5\n0 inf 0 1 1' },
    /not a class and numbers/,
  ],
  ['a YOLO line that is short', 'yolo', { 'data.yaml': 'names: [x]', 'labels/a.txt': '0 0.5 0.5' }, /five numbers/],
  ['a YOLO box outside', 'yolo', { 'data.yaml': 'names: [x]', 'labels/a.txt': '0 5 5 1 1' }, /outside/],
  [
    'CSV with a quote that stays open',
    'csv',
    { 'x.csv': 'file_name,class,x,y,w,h\na.jpg,"cat,1,2,3,4\n' },
    /never closed/,
  ],
  ['CSV without known columns', 'csv', { 'x.csv': 'foo,bar\n1,2\n' }, /columns are not known/],
  ['an empty CSV', 'csv', { 'x.csv': '' }, /empty/],
  [
    'CSV with words for numbers',
    'csv',
    { 'x.csv': 'file_name,class,x,y,w,h\na.jpg,cat,1,two,3,4\n' },
    /not four numbers/,
  ],
  ['LabelMe without shapes', 'labelme', { 'a.json': '{"shapes":7}' }, /no shapes/],
  ['LabelMe that is no JSON', 'labelme', { 'a.json': '{"shapes":' }, /JSON/],
  [
    'a CVAT box without a label',
    'cvat',
    {
      'a.xml':
        '<annotations><image name="a.jpg" width="640" height="480"><box xtl="1" ytl="1" xbr="5" ybr="5"/></image></annotations>',
    },
    /no label/,
  ],
  [
    'results without a score',
    'coco-results',
    { 'r.json': '[{"image_id":1,"category_id":1,"bbox":[1,2,3,4]}]' },
    /score/,
  ],
  [
    'results of an unknown class',
    'coco-results',
    { 'r.json': '[{"image_id":1,"category_id":93,"bbox":[1,2,3,4],"score":0.5}]' },
    /class 93 is not in the project/,
  ],
  [
    'a pickle that runs a program',
    'refcoco',
    { 'instances.json': coco({}), 'refs(x).p': Buffer.from("cos\nsystem\n(S'true'\ntR.") },
    /plain data does not need/,
  ],
  [
    'a pickle cut short',
    'refcoco',
    { 'instances.json': coco({}), 'refs(x).p': Buffer.from([0x80, 2, 0x5d, 0x28, 0x58, 0xff]) },
    /early|range|bounds/i,
  ],
  [
    'an everything file of nonsense',
    'everything',
    { 'x.jsonl': '{"gromatic":1}\n{"annotation":{"id":"x"}}\n' },
    /not as it should be/,
  ],
  [
    'Groma Instruct that names boxes which are not there',
    'groma-instruct',
    {
      'g.json':
        '[{"file_name":"a.jpg","boxes":[],"conversation":[{"value":"q"},{"value":"<roi><ground_box></roi>","box_inds":[4]}]}]',
    },
    /not there/,
  ],
]

test.each(REFUSED)('%s', async (_, format, files, reason) => {
  const folder = tempFolder(true)
  const path = lay(folder, files)
  const store = newProject(folder, 'p', IMAGES)
  const failed = await importFrom(store, format, path).then(
    () => ({ code: 'done', message: '' }),
    (error: { code: string; message: string }) => error,
  )
  expect(failed.code).toBe('INVALID_INPUT')
  expect(failed.message).toMatch(reason)
  expect(failed.message).not.toMatch(/\n/)
  unchanged(store)
  store.close()
})

/** Oddities that harm nobody: the second box comes in. */
const TAKEN: [string, Buffer | string, string?][] = [
  ['a byte order mark and CRLF', `\ufeff${JSON.stringify(JSON.parse(coco({})), null, 1).replaceAll('\n', '\r\n')}`],
  ['UTF-16, little end first', Buffer.from(`\ufeff${coco({})}`, 'utf16le')],
  ['UTF-16, big end first', Buffer.from(`\ufeff${coco({})}`, 'utf16le').swap16()],
  ['a wrong ending', coco({}), 'x.txt'],
  [
    'zero ids',
    coco({ images: [{ id: 0, file_name: 'a.jpg', width: 640, height: 480 }], categories: [{ id: 0, name: 'cup' }] })
      .replaceAll('"image_id":1', '"image_id":0')
      .replaceAll('"category_id":1', '"category_id":0')
      .replace('"id":1', '"id":0'),
  ],
  [
    'keys that would poison objects',
    coco({}, { attributes: JSON.parse('{"__proto__":{"polluted":1},"constructor":"x","toString":"y"}') }),
  ],
  [
    'backslashes and another case',
    coco({ images: [{ id: 1, file_name: 'C:\\data\\A.JPG', width: 640, height: 480 }] }),
  ],
  [
    'names that lead out (and find nothing out there)',
    coco({ images: [{ id: 1, file_name: '../../a.jpg', width: 640, height: 480 }] }),
  ],
  ['text for an id', coco({}, { id: 'two' })],
  ['numbers in quotes for ids', coco({}, { image_id: '1', category_id: '1' })],
  ['images without sizes', coco({ images: [{ id: 1, file_name: 'a.jpg' }] })],
]
test.each(TAKEN)('%s: taken', async (_, content, name = 'x.json') => {
  const folder = tempFolder(true)
  const path = lay(folder, { [name]: content })
  const store = newProject(folder, 'p', IMAGES)
  const { plan } = await importFrom(store, 'coco', path)
  expect(plan.annotations.toAdd).toBe(2)
  expect(({} as Record<string, unknown>).polluted).toBeUndefined()
  expect(store.categories.list().map((category) => category.name)).toEqual(['cup'])
  store.close()
})

test('images that come in as missing files never get a name that leads out, nor two that differ by case only', async () => {
  const folder = tempFolder(true)
  const store = newProject(folder, 'p')
  const names = [
    '../evil.png',
    '/etc/passwd',
    'C:\\x.png',
    'a/../../b.png',
    'x\u0000.png',
    'good/one.png',
    'Good/One.png',
  ]
  const images = names.map((file_name, index) => ({ id: index + 1, file_name, width: 5, height: 5 }))
  const path = lay(folder, { 'x.json': JSON.stringify({ images, annotations: [], categories: [] }) })
  const { plan } = await importFrom(store, 'coco', path, { missingImages: 'add', skipBad: true })
  expect(plan.problems.count).toBe(6)
  expect(store.images.list().items.map(({ fileName }) => fileName)).toEqual(['good/one.png'])
  store.close()
})

test('a file of 5 GB that is nothing is refused at its first bytes', async () => {
  const folder = tempFolder(true)
  const path = lay(folder, { 'x.json': '{"annotations":[' })
  truncateSync(path, 5 * 1024 ** 3)
  const store = newProject(folder, 'p', IMAGES)
  await expect(importFrom(store, 'coco', path)).rejects.toMatchObject({ code: 'INVALID_INPUT' })
  unchanged(store)
  store.close()
})

test('a link that leads out of a data set is not followed', async () => {
  const folder = tempFolder(true)
  writeFileSync(join(folder, 'secret.txt'), '0 0.5 0.5 0.5 0.5')
  const path = lay(folder, { 'data.yaml': 'names: [x]', 'labels/b.txt': '0 0.5 0.5 0.25 0.25' })
  symlinkSync(join(folder, 'secret.txt'), join(path, 'labels', 'a.txt'))
  const store = newProject(folder, 'p', { images: [imageRow(1, 'a.jpg'), imageRow(2, 'b.jpg')] })
  await importFrom(store, 'yolo', path)
  expect(boxesOf(store).map(({ image }) => image)).toEqual(['b.jpg'])
  store.close()
})

test('every format has a reader, a writer and its words', () => {
  for (const name of FORMAT_NAMES) {
    expect(formats[name].keeps).toMatch(/\.$/)
    expect(formats[name].loses).toMatch(/\.$/)
  }
})
