/** Label Studio's JSON: tasks with results, boxes in per cent of the image's sides. */
import { basename } from 'node:path'
import type { AnnotationExtras } from '../records/records.ts'
import { fittingSegmentation, pairsOf } from './boxes.ts'
import type { Format } from './format.ts'
import { type ImportItem, isRow, type Key, keyOf, note, numberOf, problem, type Row, sideOf, textOf } from './items.ts'
import { readJson } from './jsonStream.ts'
import { labelsOf, placeOf, SHAPES } from './labelStudioShapes.ts'
import { exportFile, type OutBox } from './output.ts'
import { bestOf } from './probe.ts'
import { type ImportInput, readBytes } from './textFile.ts'

/** `/data/upload/3/1a2b3c4d-cat.jpg`, `/data/local-files/?d=set/cat.jpg`, or an address. */
function fileNameOf(data: Row): string | null {
  const value =
    textOf(data.image) ??
    textOf(data.img) ??
    Object.values(data)
      .map(textOf)
      .find((text) => text !== null && /\.(jpe?g|png|webp|gif|tiff?|bmp|avif)(\?|$)/i.test(text)) ??
    null
  if (value === null) return null
  const local = /[?&]d=([^&]+)/.exec(value)?.[1]
  try {
    if (local !== undefined) return decodeURIComponent(local)
    if (!/^(https?:|s3:|gs:|\/data\/)/.test(value)) return value
    const name = basename(decodeURIComponent(value.split('?')[0] ?? ''))
    return value.includes('/upload/') ? name.replace(/^[0-9a-f]{8}-/, '') : name
  } catch {
    return null
  }
}

class Task {
  readonly key: Key
  readonly #where: string
  readonly #classes: Set<string>

  constructor(key: Key, where: string, classes: Set<string>) {
    this.key = key
    this.#where = where
    this.#classes = classes
  }

  *results(
    results: readonly unknown[],
    place: string,
    status: 'accepted' | 'proposed',
    score: number | null,
  ): Generator<ImportItem> {
    const captions = new Map<unknown, string>()
    const labels = new Map<unknown, string[]>()
    for (const result of results) {
      if (!isRow(result) || !isRow(result.value) || SHAPES.has(String(result.type))) continue
      if (result.type === 'labels') labels.set(result.id, labelsOf(result.value))
      if (result.type !== 'textarea') continue
      const text = Array.isArray(result.value.text)
        ? result.value.text.filter((line) => typeof line === 'string').join('\n')
        : textOf(result.value.text)
      if (text) captions.set(result.id, text)
    }
    for (const [index, result] of results.entries()) {
      const where = `${this.#where}.${place}.result[${index}]`
      if (!isRow(result)) yield problem(where, 'is no result')
      else if (result.type === 'relation') yield note('Relations are left out.')
      else if (!isRow(result.value)) yield problem(where, 'is no result')
      else {
        const said = { labels: labels.get(result.id) ?? [], caption: captions.get(result.id) ?? null }
        yield* this.#result(result, result.value, where, status, score, said)
      }
    }
  }

  *#result(
    result: Row,
    value: Row,
    where: string,
    status: 'accepted' | 'proposed',
    score: number | null,
    said: { labels: string[]; caption: string | null },
  ): Generator<ImportItem> {
    const type = String(result.type)
    if (type === 'textarea' || type === 'labels') return
    if (!SHAPES.has(type)) return yield note('Key points and choices are no boxes and are left out.')
    const [width, height] = [sideOf(result.original_width), sideOf(result.original_height)]
    const placed = placeOf(type, value, width === null || height === null ? null : { width, height })
    if (placed === null)
      return yield problem(
        where,
        type.startsWith('brush') ? 'the brush marks nothing, or cannot be read' : 'the shape lacks its numbers',
      )
    if (placed.note !== undefined) yield note(placed.note)
    const [label = null, ...others] = [...labelsOf(value), ...said.labels]
    if (others.length > 0) yield note('Of several labels of a shape, the first is taken.')
    if (label !== null && !this.#classes.has(label)) yield { kind: 'category', key: label, name: label, where }
    if (label !== null) this.#classes.add(label)
    const segmentation = placed.mask ?? (placed.polygon === null ? undefined : [placed.polygon])
    const extras: AnnotationExtras = segmentation === undefined ? {} : { segmentation }
    const own = numberOf(result.score) ?? score
    yield {
      kind: 'annotation',
      imageKey: this.key,
      categoryKey: label,
      bboxXywh: placed.bbox,
      relative: true,
      caption: said.caption,
      status,
      where,
      ...(status === 'proposed' && own !== null ? { score: own } : {}),
      ...(Object.keys(extras).length === 0 ? {} : { extras }),
    }
  }
}

function sizeOf(groups: readonly unknown[]): { width: number | null; height: number | null } {
  for (const group of groups) {
    for (const result of isRow(group) && Array.isArray(group.result) ? group.result : []) {
      if (isRow(result) && sideOf(result.original_width) !== null)
        return { width: sideOf(result.original_width), height: sideOf(result.original_height) }
    }
  }
  return { width: null, height: null }
}

/** A shape of JSON-MIN: the value alone, with the sides of its picture. */
const isMinShape = (shape: unknown): shape is Row =>
  isRow(shape) && 'original_width' in shape && ('x' in shape || 'points' in shape)

/** A row of JSON-MIN as the task it was made from; any other row as it is. */
function taskOf(row: Row): Row {
  if (isRow(row.data)) return row
  const shapes = Object.values(row).flatMap((field) => (Array.isArray(field) ? field.filter(isMinShape) : []))
  const data = Object.fromEntries(Object.entries(row).filter(([, field]) => typeof field === 'string'))
  const result = shapes.map(({ original_width, original_height, ...value }) => ({
    type: 'points' in value ? 'polygon' : 'radiusX' in value ? 'ellipse' : 'rectangle',
    original_width,
    original_height,
    value,
  }))
  return { id: row.id, data, annotations: [{ result }] }
}

function* read(input: ImportInput): Generator<ImportItem> {
  const classes = new Set<string>()
  for (const { list, index, value: given, error } of readJson(
    readBytes(input.path, input.onBytes),
    basename(input.path),
  )) {
    if (list !== '' || index === null) continue
    const where = `[${index}]`
    const value = isRow(given) ? taskOf(given) : given
    const fileName = isRow(value) && isRow(value.data) ? fileNameOf(value.data) : null
    if (error !== undefined || !isRow(value) || fileName === null) {
      yield problem(where, error ?? 'the task has no image')
      continue
    }
    const key = keyOf(value.id) ?? `#${index}`
    const listOf = (field: unknown): unknown[] => (Array.isArray(field) ? field : [])
    const annotations = listOf(value.annotations ?? value.completions)
    const predictions = listOf(value.predictions)
    yield { kind: 'image', key, fileName, ...sizeOf([...annotations, ...predictions]), where }
    const task = new Task(key, where, classes)
    if (annotations.filter((annotation) => isRow(annotation) && annotation.was_cancelled !== true).length > 1)
      yield note('Tasks that several people annotated bring the boxes of all of them.')
    for (const [position, annotation] of annotations.entries()) {
      if (!isRow(annotation) || annotation.was_cancelled === true) continue
      yield* task.results(listOf(annotation.result), `annotations[${position}]`, 'accepted', null)
    }
    for (const [position, prediction] of predictions.entries()) {
      if (isRow(prediction))
        yield* task.results(
          listOf(prediction.result),
          `predictions[${position}]`,
          'proposed',
          numberOf(prediction.score),
        )
    }
  }
}

function resultsOf({ row, bbox: [x, y, w, h], className }: OutBox, width: number, height: number): Row[] {
  const common = {
    id: `r${row.id}`,
    to_name: 'image',
    original_width: width,
    original_height: height,
    image_rotation: 0,
  }
  const place = {
    x: (x / width) * 100,
    y: (y / height) * 100,
    width: (w / width) * 100,
    height: (h / height) * 100,
    rotation: 0,
  }
  const segmentation = fittingSegmentation(row.extras, [x, y, w, h])
  const [polygon] = Array.isArray(segmentation) && segmentation.length === 1 ? segmentation : []
  const labels = [className ?? 'object']
  const score = row.status === 'proposed' && row.modelScore !== null ? { score: row.modelScore } : {}
  const shape: Row =
    polygon === undefined
      ? {
          ...common,
          from_name: 'label',
          type: 'rectanglelabels',
          value: { ...place, rectanglelabels: labels },
          ...score,
        }
      : {
          ...common,
          from_name: 'label',
          type: 'polygonlabels',
          value: {
            points: [...pairsOf(polygon)].map(([px, py]) => [(px / width) * 100, (py / height) * 100]),
            closed: true,
            polygonlabels: labels,
          },
          ...score,
        }
  if (row.caption === null) return [shape]
  return [shape, { ...common, from_name: 'caption', type: 'textarea', value: { ...place, text: [row.caption] } }]
}

export const labelStudio: Format = {
  name: 'Label Studio JSON',
  shape: 'file',
  extension: '.json',
  keeps: 'Boxes, polygons of one piece, classes, captions; undecided boxes as predictions with their scores.',
  loses: 'Verdicts, run lengths, attributes and the talk. Boxes without a class become "object".',
  reader: {
    sniff: (probe) =>
      bestOf(probe, ['.json'], (name) => {
        const first = probe.json(name)?.get('')
        if (!isRow(first)) return 0
        const isTask = isRow(first.data) && ('annotations' in first || 'predictions' in first || 'completions' in first)
        const isMin = Object.values(first).some((field) => Array.isArray(field) && isMinShape(field[0]))
        return isTask || (isMin && fileNameOf(first) !== null) ? 0.95 : 0
      }),
    read,
  },
  export(source, options) {
    return exportFile(source, options, {
      head: '[',
      image({ item: { image }, fileName, boxes }) {
        const { width, height } = image
        const of = (proposed: boolean): Row[] =>
          boxes
            .filter(({ row }) => (row.status === 'proposed') === proposed)
            .flatMap((box) => resultsOf(box, width, height))
        const predictions = of(true)
        const task = {
          id: image.id,
          data: { image: fileName },
          annotations: [{ id: image.id, result: of(false), was_cancelled: false, ground_truth: false }],
          predictions: predictions.length === 0 ? [] : [{ model_version: 'Gromatic', result: predictions }],
        }
        return `\n${JSON.stringify(task)}`
      },
      separator: ',',
      tail: () => '\n]\n',
    })
  },
}
