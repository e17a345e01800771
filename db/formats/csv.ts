/** CSV: a line for each box. Columns by their names: ours, TensorFlow's, OpenImages'; without names, RetinaNet's six. */
import { basename } from 'node:path'
import type { BboxXywh } from '../records/records.ts'
import { csvLine, headerLine, isSeparatorLine, readCsv, separatorOf } from './csvText.ts'
import type { Format } from './format.ts'
import { type ImportItem, note, parseNumber, problem, sideOf } from './items.ts'
import { exportFile } from './output.ts'
import { bestOf } from './probe.ts'
import { type ImportInput, readHead, readTextPieces } from './textFile.ts'

type Column =
  | 'file'
  | 'width'
  | 'height'
  | 'class'
  | 'x'
  | 'y'
  | 'cx'
  | 'cy'
  | 'w'
  | 'h'
  | 'xmax'
  | 'ymax'
  | 'box'
  | 'caption'
  | 'score'
  | 'status'
  | 'id'

// biome-ignore format: a table
const NAMES: Record<string, Column> = {
  file_name: 'file', filename: 'file', image: 'file', image_path: 'file', path: 'file', imageid: 'file', image_id: 'file', file: 'file',
  image_name: 'file', imagename: 'file', img: 'file', img_name: 'file', file_path: 'file', filepath: 'file', image_file: 'file',
  width: 'width', image_width: 'width', height: 'height', image_height: 'height',
  class: 'class', label: 'class', category: 'class', class_name: 'class', labelname: 'class', name: 'class',
  label_name: 'class', category_name: 'class', object: 'class', cls: 'class',
  x: 'x', xmin: 'x', x1: 'x', x_min: 'x', xtl: 'x', bbox_xmin: 'x', left: 'x', bbox_x: 'x',
  y: 'y', ymin: 'y', y1: 'y', y_min: 'y', ytl: 'y', bbox_ymin: 'y', top: 'y', bbox_y: 'y',
  w: 'w', bbox_width: 'w', box_width: 'w', h: 'h', bbox_height: 'h', box_height: 'h',
  xmax: 'xmax', x2: 'xmax', x_max: 'xmax', right: 'xmax', xbr: 'xmax', bbox_xmax: 'xmax',
  ybr: 'ymax', bbox_ymax: 'ymax', ymax: 'ymax', y2: 'ymax', y_max: 'ymax', bottom: 'ymax',
  x_center: 'cx', xcenter: 'cx', center_x: 'cx', cx: 'cx', y_center: 'cy', ycenter: 'cy', center_y: 'cy', cy: 'cy',
  bbox: 'box', box: 'box', bounding_box: 'box',
  caption: 'caption', description: 'caption', score: 'score', confidence: 'score', status: 'status', id: 'id',
}
const CLASS_NUMBERS = new Set(['class_id', 'classid', 'category_id', 'label_id', 'cls_id'])
const HEADER = [
  'id',
  'file_name',
  'width',
  'height',
  'class',
  'x',
  'y',
  'w',
  'h',
  'caption',
  'status',
  'score',
] as const
const STATUSES = new Set(['proposed', 'accepted', 'edited', 'rejected'])

interface Layout {
  columns: Map<Column, number>
  /** small: where all sides of a box are at most 1. */
  relative: 'always' | 'never' | 'small'
  headless: boolean
}

/** The ways to say a box, the surest first. */
interface Way {
  fields: readonly Column[]
  box(numbers: readonly [number, number, number, number]): BboxXywh
}
const WAYS: readonly Way[] = [
  { fields: ['x', 'y', 'xmax', 'ymax'], box: ([x, y, right, bottom]) => [x, y, right - x, bottom - y] },
  { fields: ['x', 'y', 'w', 'h'], box: ([x, y, w, h]) => [x, y, w, h] },
  { fields: ['cx', 'cy', 'w', 'h'], box: ([cx, cy, w, h]) => [cx - w / 2, cy - h / 2, w, h] },
  { fields: ['box'], box: ([x, y, w, h]) => [x, y, w, h] },
]
const partsOf = (field: string): string[] => field.replace(/^[[(]|[\])]$/g, '').split(/[,;\s]+/)

/** `a.jpg,10,20,40,60,cat` (RetinaNet) and `cat,10,20,30,40,a.jpg,640,480` (makesense.ai) have no names of columns. */
const HEADLESS: Column[][] = [
  ['file', 'x', 'y', 'xmax', 'ymax', 'class'],
  ['class', 'x', 'y', 'w', 'h', 'file', 'width', 'height'],
]
const isNumber = (field: string | undefined): boolean => Number.isFinite(parseNumber(field))

function headlessLayout(first: readonly string[]): Layout | null {
  const order = HEADLESS.find(({ length }) => length === first.length)
  const sides = first.slice(1, 5)
  const whole = sides.every(isNumber) || (order?.[0] === 'file' && sides.every((field) => field === ''))
  if (order === undefined || !whole) return null
  return { columns: new Map(order.map((column, index) => [column, index])), relative: 'never', headless: true }
}

function layoutOf(first: readonly string[]): Layout | null {
  const names = first.map((field) => field.trim().toLowerCase())
  const columns = new Map<Column, number>()
  for (const [index, name] of names.entries()) {
    const column = Object.hasOwn(NAMES, name) ? NAMES[name] : undefined
    if (column !== undefined && !columns.has(column)) columns.set(column, index)
  }
  // numbers are names where there are no others
  const numbers = names.findIndex((name) => CLASS_NUMBERS.has(name))
  if (numbers >= 0 && !columns.has('class')) columns.set('class', numbers)
  const has = (...wanted: Column[]): boolean => wanted.every((column) => columns.has(column))
  if (
    (has('x', 'y') || has('cx', 'cy')) &&
    !has('xmax', 'ymax') &&
    !has('w', 'h') &&
    names.includes('width') &&
    names.includes('height')
  ) {
    // nothing else says how large the box is
    columns.set('w', names.indexOf('width')).set('h', names.indexOf('height'))
    for (const [column, name] of [
      ['width', 'image_width'],
      ['height', 'image_height'],
    ] as const) {
      if (names.includes(name)) columns.set(column, names.indexOf(name))
      else columns.delete(column)
    }
  }
  if (!has('file') || !WAYS.some(({ fields }) => has(...fields))) return headlessLayout(first)
  // Open Images' boxes were all looked at by people: their confidence is 1, always
  if (names.includes('imageid') && names.includes('source')) columns.delete('score')
  const isOurs = HEADER.every((name, index) => names[index] === name)
  return { columns, relative: isOurs ? 'never' : names.includes('imageid') ? 'always' : 'small', headless: false }
}

/** Parts of the image's sides: sides of at most one, which would be less than a pixel. */
const isRelative = (numbers: readonly number[]): boolean =>
  numbers.every((side) => side >= 0 && side <= 1) && !numbers.every(Number.isInteger)

function* read(input: ImportInput): Generator<ImportItem> {
  const file = basename(input.path)
  const images = new Set<string>()
  const classes = new Set<string>()
  let layout: Layout | null = null
  const separator = separatorOf(readHead(input.path, 4096))
  // where commas are not between fields they may be inside of numbers
  const numeric = (text: string): string => (separator === ',' ? text : text.replace(/^([+-]?\d+),(\d+)$/, '$1.$2'))
  for (const { fields, line } of readCsv(readTextPieces(input.path, input.onBytes), separator, file)) {
    if (layout === null) {
      if (isSeparatorLine(fields.join(separator))) continue
      layout = layoutOf(fields)
      if (layout === null)
        return yield problem(
          `${file} line ${line}`,
          'the columns are not known: file_name, class, x, y, w, h (or xmin, ymin, xmax, ymax) are needed',
        )
      if (!layout.headless) continue
    }
    const { columns } = layout
    const text = (column: Column): string => fields[columns.get(column) ?? -1]?.trim() ?? ''
    const where = `${file} line ${line}`
    const name = text('file')
    // a name may begin or end with a space, which mostly is one round the comma
    const key = fields[columns.get('file') ?? -1] ?? ''
    if (name === '') {
      yield problem(where, 'the line names no image')
      continue
    }
    if (!images.has(key))
      yield {
        kind: 'image',
        key,
        fileName: key,
        ...(name === key ? {} : { otherNames: [name] }),
        width: sideOf(parseNumber(text('width'))),
        height: sideOf(parseNumber(text('height'))),
        where,
      }
    images.add(key)
    const way = WAYS.find(({ fields }) => fields.every((column) => columns.has(column))) as Way
    // one field may hold it all: "[834.0, 222.0, 56.0, 36.0]"
    const sides = way.fields.length > 1 ? way.fields.map(text) : partsOf(text('box'))
    if (sides.every((side) => side === '')) continue // an image without boxes
    const numbers = sides.map((side) => parseNumber(numeric(side)))
    const bboxXywh = way.box(numbers as [number, number, number, number])
    if (numbers.length !== 4 || !numbers.every(Number.isFinite)) {
      yield problem(where, `the box ${sides.join(', ')} is not four numbers`)
      continue
    }
    const relative = layout.relative === 'always' || (layout.relative === 'small' && isRelative(numbers))
    if (relative && layout.relative === 'small') yield note('Boxes of at most 1 are parts of the image’s sides.')
    const className = text('class')
    if (className !== '' && !classes.has(className)) yield { kind: 'category', key: className, name: className, where }
    classes.add(className)
    const [score, status, id] = [text('score'), text('status'), Number(text('id') || Number.NaN)]
    if (score !== '' && !Number.isFinite(parseNumber(numeric(score)))) {
      yield problem(where, `the score ${JSON.stringify(score)} is no number`)
      continue
    }
    yield {
      kind: 'annotation',
      imageKey: key,
      categoryKey: className === '' ? null : className,
      bboxXywh,
      caption: fields[columns.get('caption') ?? -1] || null,
      where,
      ...(relative ? { relative } : {}),
      ...(score === ''
        ? {}
        : { score: parseNumber(numeric(score)), ...(STATUSES.has(status) ? {} : { status: 'proposed' as const }) }),
      ...(STATUSES.has(status) ? { status: status as 'accepted' } : {}),
      ...(Number.isSafeInteger(id) && id > 0 ? { id } : {}),
    }
  }
  if (layout === null) yield problem(file, 'the file is empty')
}

export const csv: Format = {
  name: 'CSV',
  shape: 'file',
  extension: '.csv',
  keeps: 'Boxes, classes, captions, verdicts, scores, ids, and which images have none.',
  loses: 'Polygons, attributes, what the model said, and the talk.',
  reader: {
    sniff: (probe) =>
      bestOf(probe, ['.csv', '.tsv'], (name) => {
        const head = probe.head(name)
        if (/^\s*[[{<]/.test(head)) return 0
        try {
          const [record] = readCsv([headerLine(head)], separatorOf(head), name)
          return record !== undefined && layoutOf(record.fields) !== null ? 0.9 : 0
        } catch {
          return 0 // a quote that the first line does not close
        }
      }),
    read,
  },
  export(source, options) {
    return exportFile(source, options, {
      head: csvLine(HEADER),
      image({ item: { image }, fileName, boxes }) {
        const { width, height } = image
        if (boxes.length === 0) return csvLine(['', fileName, width, height, '', '', '', '', '', '', '', ''])
        return boxes
          .map(({ row, bbox, className }) =>
            csvLine([row.id, fileName, width, height, className, ...bbox, row.caption, row.status, row.modelScore]),
          )
          .join('')
      },
      tail: () => '',
    })
  },
}
