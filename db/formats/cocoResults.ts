/** COCO results: `[{image_id, category_id, bbox, score}]`, what a model said; its images and classes are another file's. */
import { basename } from 'node:path'
import { readCocoBox } from './cocoReader.ts'
import type { Format } from './format.ts'
import { type ImportItem, isRow, type Key, keyOf, numberOf, problem } from './items.ts'
import { readJson } from './jsonStream.ts'
import { exportFile, objectNumber } from './output.ts'
import { bestOf } from './probe.ts'
import { type ImportInput, readBytes } from './textFile.ts'

/** Images are found by the project's ids and classes by their numbers 1..N: those that our own COCO export has. */
function* read(input: ImportInput): Generator<ImportItem> {
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
    const image = keyOf(value.image_id)
    if (typeof image === 'number' && !images.has(image)) {
      images.add(image)
      yield {
        kind: 'image',
        key: image,
        fileName: '',
        width: null,
        height: null,
        where,
        ...(image > 0 ? { id: image } : {}),
      }
    }
    const category = keyOf(value.category_id)
    if (typeof category === 'number' && !classes.has(category)) {
      classes.add(category)
      yield { kind: 'category', key: category, name: '', where }
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
          ? 0.95
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
