/** Label Studio's JSON: tasks with results, boxes in per cent of the image's sides. */
import { basename } from 'node:path'
import type { AnnotationExtras, BboxXywh } from '../records/records.ts'
import { boundsOf, fittingSegmentation, MAX_VERTICES, pairsOf } from './boxes.ts'
import type { Format } from './format.ts'
import { type ImportItem, isRow, type Key, keyOf, note, numberOf, problem, type Row, sideOf, textOf } from './items.ts'
import { readJson } from './jsonStream.ts'
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

/** A result's shape in parts of the image's sides. */
function placeOf(type: string, value: Row): { bbox: BboxXywh; polygon: number[] | null; turned: boolean } | null {
  if (type === 'polygonlabels' || type === 'polygon') {
    const points = Array.isArray(value.points) && value.points.length <= MAX_VERTICES ? value.points : []
    const flat = points.flat().map((side) => (typeof side === 'number' ? side / 100 : Number.NaN))
    const bbox = flat.length >= 6 && flat.length % 2 === 0 ? boundsOf(pairsOf(flat)) : null
    return bbox === null ? null : { bbox, polygon: flat, turned: false }
  }
  const sides = [value.x, value.y, value.width, value.height].map((side) =>
    typeof side === 'number' ? side / 100 : Number.NaN,
  )
  if (!sides.every(Number.isFinite)) return null
  const [x, y, w, h] = sides as BboxXywh
  const rotation = numberOf(value.rotation) ?? 0
  return { bbox: [x, y, w, h], polygon: null, turned: rotation % 360 !== 0 }
}

const LABELS: Record<string, string> = {
  rectanglelabels: 'rectanglelabels',
  polygonlabels: 'polygonlabels',
  ellipselabels: 'ellipselabels',
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
    for (const result of results) {
      if (!isRow(result) || result.type !== 'textarea' || !isRow(result.value)) continue
      const text = Array.isArray(result.value.text)
        ? result.value.text.filter((line) => typeof line === 'string').join('\n')
        : textOf(result.value.text)
      if (text) captions.set(result.id, text)
    }
    for (const [index, result] of results.entries()) {
      const where = `${this.#where}.${place}.result[${index}]`
      if (!isRow(result) || !isRow(result.value)) yield problem(where, 'is no result')
      else yield* this.#result(result, result.value, where, status, score, captions.get(result.id) ?? null)
    }
  }

  *#result(
    result: Row,
    value: Row,
    where: string,
    status: 'accepted' | 'proposed',
    score: number | null,
    caption: string | null,
  ): Generator<ImportItem> {
    const type = String(result.type)
    if (type === 'textarea') return
    if (type === 'ellipselabels') {
      const [x, y, rx, ry] = [value.x, value.y, value.radiusX, value.radiusY].map(Number) as [
        number,
        number,
        number,
        number,
      ]
      value = { x: x - rx, y: y - ry, width: 2 * rx, height: 2 * ry, ellipselabels: value.ellipselabels }
    } else if (!['rectanglelabels', 'rectangle', 'polygonlabels', 'polygon'].includes(type)) {
      return yield note('Key points, brushes and choices are no boxes and are left out.')
    }
    const placed = placeOf(type, value)
    if (placed === null) return yield problem(where, 'the shape lacks its numbers')
    if (placed.turned) yield note('Boxes that are turned are taken unturned.')
    const labels = value[LABELS[type] ?? '']
    const label = Array.isArray(labels) ? textOf(labels[0]) : null
    if (label !== null && !this.#classes.has(label)) yield { kind: 'category', key: label, name: label, where }
    if (label !== null) this.#classes.add(label)
    const extras: AnnotationExtras = placed.polygon === null ? {} : { segmentation: [placed.polygon] }
    const own = numberOf(result.score) ?? score
    yield {
      kind: 'annotation',
      imageKey: this.key,
      categoryKey: label,
      bboxXywh: placed.bbox,
      relative: true,
      caption,
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

function* read(input: ImportInput): Generator<ImportItem> {
  const classes = new Set<string>()
  for (const { list, index, value, error } of readJson(readBytes(input.path, input.onBytes), basename(input.path))) {
    if (list !== '' || index === null) continue
    const where = `[${index}]`
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
        return isRow(first) &&
          isRow(first.data) &&
          ('annotations' in first || 'predictions' in first || 'completions' in first)
          ? 0.95
          : 0
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
