/**
 * YOLO: a text file for each image, `class cx cy w h` in parts of its sides (or a polygon's points), and the names of the
 * classes in data.yaml, classes.txt or a .names file. Any layout of splits is read.
 */
import { basename, dirname, join } from 'node:path'
import { DbError } from '../errors.ts'
import type { BboxXywh } from '../records/records.ts'
import { polygonBounds } from './boxes.ts'
import type { Format } from './format.ts'
import { type ImportItem, note, parseNumber, problem } from './items.ts'
import { exportFolder, objectNumber } from './output.ts'
import { bestOf } from './probe.ts'
import { type ImportInput, readLines } from './textFile.ts'
import { writeYaml } from './yamlFile.ts'
import { keyOf, layoutOf, type Names, NOT_LABELS, readNames, rootElsewhere } from './yoloLayout.ts'

/** The numbers behind a class: a box or a polygon's points, and what a model adds to them. */
interface Shape {
  bbox: BboxXywh | null
  polygon: number[] | null
  score: number | null
  note?: string
}

function shapeOf(rest: readonly number[], points: boolean): Shape {
  const [cx, cy, w, h, fifth = Number.NaN, sixth = Number.NaN] = rest as [number, number, number, number, ...number[]]
  const bbox: BboxXywh = [cx - w / 2, cy - h / 2, w, h]
  const isPart = (value: number): boolean => value >= 0 && value <= 1
  if (rest.length === 4 || points) return { bbox, polygon: null, score: null, ...(points ? { note: POINTS } : {}) }
  // a tracker's number of the object comes last; a corner of a polygon is no whole number above 1
  if (rest.length === 5 && !isPart(fifth) && Number.isInteger(fifth)) return { bbox, polygon: null, score: null }
  if (rest.length === 5 || (rest.length === 6 && sixth > 1 && Number.isInteger(sixth)))
    return { bbox, polygon: null, score: fifth }
  // a model's polygon has its confidence behind it
  const scored = rest.length % 2 === 1
  const polygon = scored ? rest.slice(0, -1) : [...rest]
  return { bbox: polygonBounds([polygon]), polygon, score: scored ? (rest.at(-1) as number) : null }
}

const SCORED = 'Boxes with a confidence are a model’s: they come in as proposals.'
const POINTS = 'Key points are left out.'

function* readLabels(root: string, name: string, key: string, names: Names, told: Set<number>, input: ImportInput) {
  for (const { line, number } of readLines(join(root, name), input.onBytes)) {
    const fields = line.trim().split(/\s+/)
    if (fields.length === 1 && fields[0] === '') continue
    const where = `${name} line ${number}`
    const [category = Number.NaN, ...rest] = fields.map(parseNumber)
    if (fields.length < 5) {
      yield problem(where, `a box has five numbers, this line has ${fields.length} fields`)
      continue
    }
    if (!Number.isSafeInteger(category) || category < 0 || !rest.every((value) => Number.isFinite(value))) {
      yield problem(where, `${JSON.stringify(line.slice(0, 80))} is not a class and numbers`)
      continue
    }
    if (!told.has(category)) {
      told.add(category)
      const known = names.classes.get(category)
      if (known === undefined) yield note('Classes that no file names are called by their number.')
      yield { kind: 'category' as const, key: category, name: known ?? `class ${category}`, where }
    }
    const { bbox, polygon, score, note: said } = shapeOf(rest, names.points)
    if (bbox === null) {
      yield problem(where, 'the polygon has no area')
      continue
    }
    if (said !== undefined) yield note(said)
    if (score !== null) yield note(SCORED)
    yield {
      kind: 'annotation' as const,
      imageKey: key,
      categoryKey: category,
      bboxXywh: bbox,
      relative: true,
      where,
      ...(score === null ? {} : { score, status: 'proposed' as const }),
      ...(polygon === null ? {} : { extras: { segmentation: [polygon] } }),
    }
  }
}

function* read(input: ImportInput): Generator<ImportItem> {
  if (!input.isFolder && !/\.ya?ml$/i.test(input.path))
    throw new DbError(
      'INVALID_INPUT',
      `${basename(input.path)} is no YOLO data set: name its folder, or its data.yaml.`,
    )
  // a data.yaml speaks of the folder it lies in, or of another one
  let layout = layoutOf(input.isFolder ? input.path : dirname(input.path))
  if (!input.isFolder && layout.labels.length === 0) {
    const elsewhere = rootElsewhere(input.path)
    if (elsewhere !== null) {
      layout = { ...layoutOf(elsewhere), names: layout.names }
      yield note(`Labels are read from ${elsewhere}, where ${basename(input.path)} says they are.`)
    }
  }
  const { root, labels, pictures, names } = layout
  const besides = names.filter((name) => !/\.ya?ml$/i.test(name))
  const known = input.isFolder
    ? readNames(root, names, input.onBytes)
    : readNames(dirname(input.path), [basename(input.path), ...besides], input.onBytes)
  yield* known.problems
  if (labels.length === 0) yield problem(basename(input.path), 'there is no file of labels in it')
  const told = new Set<number>()
  for (const [number, name] of known.classes) {
    told.add(number)
    yield { kind: 'category', key: number, name, where: 'names' }
  }
  const seen = new Set<string>()
  for (const name of labels) {
    const key = keyOf(name)
    if (seen.has(key)) {
      yield problem(name, 'another file is about the same image')
      continue
    }
    seen.add(key)
    yield { kind: 'image', key, fileName: pictures.get(key) ?? key, width: null, height: null, where: name }
    yield* readLabels(root, name, key, known, told, input)
  }
  for (const [key, name] of pictures) {
    if (!seen.has(key)) yield { kind: 'image', key, fileName: name, width: null, height: null, where: name }
  }
}

export const yolo: Format = {
  name: 'YOLO',
  shape: 'folder',
  extension: '',
  keeps: 'Boxes, classes, which images have none; polygons of one piece are read.',
  loses: 'Captions, scores, polygons, verdicts and the talk. Boxes without a class become "object".',
  reader: {
    folders: true,
    sniff(probe) {
      const named = bestOf(probe, ['.yaml', '.yml'], (name) => (/^names\s*:/m.test(probe.head(name)) ? 0.9 : 0))
      if (named > 0) return named
      if (!probe.isFolder) return 0
      const labelled = bestOf(probe, ['.txt'], (name) =>
        !NOT_LABELS.test(basename(name)) && /^\s*\d+(\s+[-+.\deE]+){4,}\s*$/m.test(probe.head(name)) ? 0.7 : 0,
      )
      return labelled
    },
    read,
  },
  async export(source, options) {
    const subsets = new Set<string>()
    const notes: string[] = []
    let nameless = false
    const object = objectNumber(source)
    const report = await exportFolder(source, options, yolo, {
      imagesFolder: ({ subset }) => `images/${subset ?? 'train'}`,
      async image({ item, fileName, boxes }, write) {
        const { width, height } = item.image
        const subset = item.subset ?? 'train'
        subsets.add(subset)
        const label = `labels/${subset}/${fileName.replace(/\.[^./]+$/, '')}.txt`
        const lines = boxes.map(({ bbox: [x, y, w, h], classNumber }) => {
          if (classNumber === null) nameless = true
          return `${(classNumber ?? object) - 1} ${(x + w / 2) / width} ${(y + h / 2) / height} ${w / width} ${h / height}\n`
        })
        await write(label, lines.join(''))
      },
      async finish(write) {
        const names = source.categories.map(({ name }) => name)
        if (nameless && object > names.length) names.push('object')
        const has = (subset: string): string => `images/${subset}`
        const [first = 'train'] = subsets
        if (subsets.size === 1)
          notes.push(
            `There is one part only: data.yaml names ${first} to train on and to measure with. A split makes two.`,
          )
        // no `path`: ultralytics takes the folder of the file then, and the folder it was started in for "."
        const data = {
          train: has(subsets.has('train') ? 'train' : first),
          val: has(subsets.has('val') ? 'val' : subsets.has('train') ? 'train' : first),
          ...(subsets.has('test') ? { test: has('test') } : {}),
          nc: names.length,
          names,
        }
        await write('data.yaml', writeYaml(data))
      },
    })
    return { ...report, notes: [...report.notes, ...notes] }
  },
}
