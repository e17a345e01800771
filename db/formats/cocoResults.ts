/** COCO results: `[{image_id, category_id, bbox, score}]`, what a model said; its images and classes are another file's. */
import { basename } from 'node:path'
import { DbError } from '../errors.ts'
import { cocoKey, readCocoBox, readCocoCategory, readCocoImage } from './cocoReader.ts'
import type { Format } from './format.ts'
import { type ImportImage, type ImportItem, isRow, type Key, numberOf, problem } from './items.ts'
import { readJson } from './jsonStream.ts'
import { exportFile, objectNumber } from './output.ts'
import { bestOf } from './probe.ts'
import { type ImportInput, readBytes } from './textFile.ts'

/** What a COCO file calls its images and classes. */
export interface CocoNumbers {
  images: Map<Key, ImportImage>
  categories: Map<Key, string>
}

/** Reads images and classes alone. @throws INVALID_INPUT for a file that has none, NOT_FOUND */
export function readCocoNumbers(path: string, onBytes: (bytes: number) => void = () => {}): CocoNumbers {
  const numbers: CocoNumbers = { images: new Map(), categories: new Map() }
  const options = { path, onBytes }
  for (const { list, index, value } of readJson(readBytes(path), basename(path))) {
    if (index === null || !isRow(value)) continue
    if (list === 'images') {
      for (const item of readCocoImage(value, '', options))
        if (item.kind === 'image') numbers.images.set(item.key, item)
    } else if (list === 'categories') {
      for (const item of readCocoCategory(value, '', options))
        if (item.kind === 'category') numbers.categories.set(item.key, item.name)
    }
  }
  if (numbers.images.size === 0)
    throw new DbError(
      'INVALID_INPUT',
      `${basename(path)} has no images: it is not the COCO file that results belong to.`,
    )
  return numbers
}

/** Each image and class that results speak of, once. Rows that say nothing of them are passed over. */
export function readResultNumbers(path: string): { images: Set<Key>; categories: Set<Key> } {
  const used = { images: new Set<Key>(), categories: new Set<Key>() }
  for (const { list, value } of readJson(readBytes(path), basename(path))) {
    if (list !== '' || !isRow(value)) continue
    const [image, category] = [cocoKey(value.image_id), cocoKey(value.category_id)]
    if (image !== null) used.images.add(image)
    if (category !== null) used.categories.add(category)
  }
  return used
}

/** The project finds these by its own numbers: its ids of images, and 1..N of its classes as its COCO export has them. */
const ownImage = (key: Key): Partial<ImportImage> => ({
  fileName: '',
  ...(typeof key === 'number' && key > 0 ? { id: key } : {}),
})

function* read(input: ImportInput): Generator<ImportItem> {
  const { instances = 'project' } = input
  const known = instances === 'project' ? null : readCocoNumbers(instances)
  const file = basename(instances)
  const images = new Set<Key>()
  const classes = new Set<Key>()
  for (const { list, index, value, error } of readJson(readBytes(input.path, input.onBytes), basename(input.path))) {
    if (list !== '' || index === null) continue
    const where = `[${index}]`
    if (error !== undefined || !isRow(value)) {
      yield problem(where, error ?? 'is no object')
      continue
    }
    if (numberOf(value.score) === null) {
      yield problem(where, `the score ${JSON.stringify(value.score) ?? 'is missing'} is no number`)
      continue
    }
    const [image, category] = [cocoKey(value.image_id), cocoKey(value.category_id)]
    const lacks = (what: string, key: Key): ImportItem => problem(where, `${what} ${key} is not in ${file}`)
    if (image !== null && known !== null && !known.images.has(image)) {
      yield lacks('image', image)
      continue
    }
    if (category !== null && known !== null && !known.categories.has(category)) {
      yield lacks('class', category)
      continue
    }
    if (image !== null && !images.has(image)) {
      images.add(image)
      const { id: _id, ...theirs } = known?.images.get(image) ?? { fileName: '' }
      yield {
        kind: 'image',
        width: null,
        height: null,
        ...(known === null ? ownImage(image) : theirs),
        key: image,
        where,
      } as ImportImage
    }
    if (category !== null && !classes.has(category)) {
      classes.add(category)
      yield { kind: 'category', key: category, name: known?.categories.get(category) ?? '', where }
    }
    const { id: _id, ...row } = value
    for (const item of readCocoBox(row, where, input)) {
      yield item.kind === 'annotation' ? { ...item, score: numberOf(value.score) } : item
    }
  }
}

export const cocoResults: Format = {
  name: 'COCO results',
  shape: 'file',
  extension: '.json',
  keeps: 'Boxes, classes and scores of what a model proposed; a box that a person made has the score 1.',
  loses: 'Names of images and classes (they are numbers of the COCO instances file), captions, verdicts and the talk.',
  reader: {
    results: true,
    sniff: (probe) =>
      bestOf(probe, ['.json'], (name) => {
        const first = probe.json(name)?.get('')
        return isRow(first) && 'image_id' in first && 'score' in first && ('bbox' in first || 'segmentation' in first)
          ? probe.isFolder
            ? 0.85 // beside the instances they belong to, those are meant
            : 0.95
          : 0
      }),
    read,
  },
  export(source, options) {
    // classes are numbered as in the COCO instances file; "object" comes behind them there
    const object = objectNumber(source)
    return exportFile(source, options, {
      head: '[',
      image: ({ item: { image }, boxes }) =>
        boxes
          .map(({ row, bbox, classNumber }) => {
            const result = { image_id: image.id, category_id: classNumber ?? object, bbox, score: row.modelScore ?? 1 }
            return `\n${JSON.stringify(result)}`
          })
          .join(','),
      separator: ',',
      tail: () => '\n]\n',
    })
  },
}
