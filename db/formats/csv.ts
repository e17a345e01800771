/** CSV: a line for each box. Columns by their names: ours, TensorFlow's, OpenImages'; without names, RetinaNet's six. */
import { basename } from 'node:path'
import type { BboxXywh } from '../records/records.ts'
import { csvLine, readCsv, separatorOf } from './csvText.ts'
import type { Format } from './format.ts'
import { type ImportItem, parseNumber, problem, sideOf } from './items.ts'
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
  | 'w'
  | 'h'
  | 'xmax'
  | 'ymax'
  | 'caption'
  | 'score'
  | 'status'
  | 'id'

// biome-ignore format: a table
const NAMES: Record<string, Column> = {
  file_name: 'file', filename: 'file', image: 'file', image_path: 'file', path: 'file', imageid: 'file', image_id: 'file', file: 'file',
  width: 'width', image_width: 'width', height: 'height', image_height: 'height',
  class: 'class', label: 'class', category: 'class', class_name: 'class', labelname: 'class', name: 'class',
  x: 'x', xmin: 'x', x1: 'x', x_min: 'x', left: 'x', bbox_x: 'x',
  y: 'y', ymin: 'y', y1: 'y', y_min: 'y', top: 'y', bbox_y: 'y',
  w: 'w', bbox_width: 'w', box_width: 'w', h: 'h', bbox_height: 'h', box_height: 'h',
  xmax: 'xmax', x2: 'xmax', x_max: 'xmax', right: 'xmax', ymax: 'ymax', y2: 'ymax', y_max: 'ymax', bottom: 'ymax',
  caption: 'caption', description: 'caption', score: 'score', confidence: 'score', status: 'status', id: 'id',
}
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
  relative: boolean
  headless: boolean
}

function layoutOf(first: readonly string[]): Layout | null {
  const names = first.map((field) => field.trim().toLowerCase())
  const columns = new Map<Column, number>()
  for (const [index, name] of names.entries()) {
    const column = Object.hasOwn(NAMES, name) ? NAMES[name] : undefined
    if (column !== undefined && !columns.has(column)) columns.set(column, index)
  }
  const corners = columns.has('xmax') && columns.has('ymax')
  if (
    columns.has('file') &&
    columns.has('x') &&
    columns.has('y') &&
    (corners || (columns.has('w') && columns.has('h')))
  ) {
    return { columns, relative: names.includes('imageid'), headless: false }
  }
  const numbers = first.slice(1, 5).every((field) => field === '' || Number.isFinite(parseNumber(field)))
  if (first.length !== 6 || !numbers) return null
  const retina = new Map<Column, number>([
    ['file', 0],
    ['x', 1],
    ['y', 2],
    ['xmax', 3],
    ['ymax', 4],
    ['class', 5],
  ])
  return { columns: retina, relative: false, headless: true }
}

function* read(input: ImportInput): Generator<ImportItem> {
  const file = basename(input.path)
  const images = new Set<string>()
  const classes = new Set<string>()
  let layout: Layout | null = null
  for (const { fields, line } of readCsv(
    readTextPieces(input.path, input.onBytes),
    separatorOf(readHead(input.path, 4096)),
    file,
  )) {
    if (layout === null) {
      layout = layoutOf(fields)
      if (layout === null)
        return yield problem(
          `${file} line ${line}`,
          'the columns are not known: file_name, class, x, y, w, h (or xmin, ymin, xmax, ymax) are needed',
        )
      if (!layout.headless) continue
    }
    const { columns, relative } = layout
    const text = (column: Column): string => fields[columns.get(column) ?? -1]?.trim() ?? ''
    const where = `${file} line ${line}`
    const key = text('file')
    if (key === '') {
      yield problem(where, 'the line names no image')
      continue
    }
    if (!images.has(key))
      yield {
        kind: 'image',
        key,
        fileName: key,
        width: sideOf(parseNumber(text('width'))),
        height: sideOf(parseNumber(text('height'))),
        where,
      }
    images.add(key)
    const corner = columns.has('xmax')
    const sides = (corner ? (['x', 'y', 'xmax', 'ymax'] as const) : (['x', 'y', 'w', 'h'] as const)).map(text)
    if (sides.every((side) => side === '')) continue // an image without boxes
    const [x, y, a, b] = sides.map(parseNumber) as [number, number, number, number]
    const bboxXywh: BboxXywh = corner ? [x, y, a - x, b - y] : [x, y, a, b]
    if (!bboxXywh.every(Number.isFinite)) {
      yield problem(where, `the box ${sides.join(', ')} is not four numbers`)
      continue
    }
    const className = text('class')
    if (className !== '' && !classes.has(className)) yield { kind: 'category', key: className, name: className, where }
    classes.add(className)
    const [score, status, id] = [text('score'), text('status'), Number(text('id') || Number.NaN)]
    if (score !== '' && !Number.isFinite(parseNumber(score))) {
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
        : { score: parseNumber(score), ...(STATUSES.has(status) ? {} : { status: 'proposed' as const }) }),
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
          const [record] = readCsv([head.split(/\r?\n/)[0] ?? ''], separatorOf(head), name)
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
