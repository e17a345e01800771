/**
 * YOLO: a text file for each image, `class cx cy w h` in parts of its sides (or a polygon's points), and the names of the
 * classes in data.yaml, classes.txt or a .names file. Any layout of splits is read.
 */
import { basename, extname, join } from 'node:path'
import { DbError, toDbError } from '../errors.ts'
import type { BboxXywh } from '../records/records.ts'
import { polygonBounds } from './boxes.ts'
import type { Format } from './format.ts'
import { type ImportItem, note, parseNumber, problem } from './items.ts'
import { exportFolder, objectNumber } from './output.ts'
import { bestOf } from './probe.ts'
import { type ImportInput, listFilesBelow, readLines } from './textFile.ts'
import { readYaml, writeYaml } from './yamlFile.ts'

const IMAGE = /\.(jpe?g|png|webp|gif|tiff?|avif|bmp)$/i
const NOT_LABELS =
  /^(classes|obj|_darknet|readme.*|train|val|valid|test|labels|requirements|licen[cs]e.*)\.(txt|labels|names|data)$/i

/** `train/labels/a.txt` and `train/images/a.jpg` are about the same picture: their common key. */
const keyOf = (name: string): string =>
  name
    .slice(0, name.length - extname(name).length)
    .split('/')
    .filter((part) => part !== 'images' && part !== 'labels' && part !== 'obj_train_data' && part !== 'JPEGImages')
    .join('/')

interface Names {
  classes: Map<number, string>
  /** A pose model's points follow each box. */
  points: boolean
  problems: ImportItem[]
}

function readNames(root: string, names: readonly string[]): Names {
  const found: Names = { classes: new Map(), points: false, problems: [] }
  const take = (entries: Iterable<[unknown, unknown]>): void => {
    for (const [key, name] of entries) {
      const number = Number(key)
      if (Number.isSafeInteger(number) && number >= 0 && (typeof name === 'string' || typeof name === 'number')) {
        found.classes.set(number, String(name))
      }
    }
  }
  for (const name of names.filter((candidate) => /\.ya?ml$/i.test(candidate))) {
    try {
      const data = readYaml(join(root, name))
      if (Array.isArray(data.names)) take(data.names.entries())
      else if (typeof data.names === 'object' && data.names !== null) take(Object.entries(data.names))
      found.points ||= data.kpt_shape !== undefined
    } catch (error) {
      found.problems.push(problem(name, toDbError(error, name).message))
    }
    if (found.classes.size > 0) return found
  }
  const list = names.find((name) => /^(classes\.txt|.*\.names|_darknet\.labels)$/i.test(basename(name)))
  if (list !== undefined) {
    const lines = [...readLines(join(root, list))].map(({ line }) => line.trim())
    while (lines.at(-1) === '') lines.pop()
    take(lines.entries())
  }
  return found
}

function* readLabels(
  input: ImportInput,
  name: string,
  key: string,
  names: Names,
  told: Set<number>,
): Generator<ImportItem> {
  for (const { line, number } of readLines(join(input.path, name), input.onBytes)) {
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
      yield { kind: 'category', key: category, name: known ?? `class ${category}`, where }
    }
    const isPolygon = !names.points && rest.length >= 6 && rest.length % 2 === 0
    if (!isPolygon) {
      const [cx, cy, w, h, score] = rest as [number, number, number, number, number?]
      const bboxXywh: BboxXywh = [cx - w / 2, cy - h / 2, w, h]
      const scored = rest.length === 5 && score !== undefined
      if (scored) yield note('Boxes with a confidence are a model’s: they come in as proposals.')
      const proposal = scored ? { score, status: 'proposed' as const } : {}
      yield { kind: 'annotation', imageKey: key, categoryKey: category, bboxXywh, relative: true, where, ...proposal }
      continue
    }
    const bbox = polygonBounds([rest])
    if (bbox === null) yield problem(where, 'the polygon has no area')
    else {
      const extras = { segmentation: [rest] }
      yield { kind: 'annotation', imageKey: key, categoryKey: category, bboxXywh: bbox, relative: true, extras, where }
    }
  }
}

function* read(given: ImportInput): Generator<ImportItem> {
  // a data.yaml speaks of the folder it lies in
  const input = given.isFolder ? given : { ...given, path: join(given.path, '..'), isFolder: true }
  const names = listFilesBelow(input.path)
  const known = readNames(input.path, names)
  yield* known.problems
  const pictures = new Map(names.filter((name) => IMAGE.test(name)).map((name) => [keyOf(name), name]))
  const inLabels = names.some((name) => /(^|\/)labels\//.test(name))
  const labels = names.filter(
    (name) =>
      name.toLowerCase().endsWith('.txt') &&
      !NOT_LABELS.test(basename(name)) &&
      (!inLabels || /(^|\/)labels\//.test(name)),
  )
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
    yield* readLabels(input, name, key, known, told)
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
  export(source, options) {
    const subsets = new Set<string>()
    const written = new Set<string>()
    let nameless = false
    const object = objectNumber(source)
    return exportFolder(source, options, yolo, {
      imagesFolder: ({ subset }) => `images/${subset ?? 'train'}`,
      async image({ item, fileName, boxes }, write) {
        const { width, height } = item.image
        const subset = item.subset ?? 'train'
        subsets.add(subset)
        const label = `labels/${subset}/${fileName.replace(/\.[^./]+$/, '')}.txt`
        if (written.has(label))
          throw new DbError(
            'INVALID_INPUT',
            `Two pictures would share ${label}: copy the images along to give them names of their own.`,
          )
        written.add(label)
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
  },
}
