/**
 * Flickr30k Entities: sentences in which phrases name their boxes (`[/EN#12/people Two men]`), and the boxes of each entity
 * as XML with whole pixels from 1. The natural home of grounded answers.
 */
import { basename, dirname, join } from 'node:path'
import { DbError } from '../errors.ts'
import type { BboxXywh, GroundedSpan, Message } from '../records/records.ts'
import type { Format } from './format.ts'
import { type ImportItem, parseNumber, problem, sideOf } from './items.ts'
import { exportFolder, type OutImage } from './output.ts'
import { sentenceItem } from './sentences.ts'
import { type ImportInput, listFilesBelow, readLines } from './textFile.ts'
import { wholePixels } from './wholePixels.ts'
import { child, childText, escapeXml, readXml, reasonOf, type XmlElement } from './xml.ts'

const TYPES = new Set([
  'people',
  'clothing',
  'bodyparts',
  'animals',
  'vehicles',
  'instruments',
  'scene',
  'notvisual',
  'other',
])
const PHRASE = /\[\/EN#(\d+)((?:\/[^\s\]/]+)+) ([^\]]*)\]/g
const stemOf = (name: string): string => basename(name).replace(/\.[^.]+$/, '')

interface Entity {
  boxes: BboxXywh[]
  phrase: string | null
  type: string | null
}

/** A sentence as people read it, and its phrases: offsets in code points. */
function parseSentence(line: string): {
  text: string
  phrases: { id: string; type: string; text: string; start: number; end: number }[]
} {
  const phrases: { id: string; type: string; text: string; start: number; end: number }[] = []
  let text = ''
  let length = 0
  let last = 0
  const append = (piece: string): void => {
    text += piece
    length += [...piece].length
  }
  for (const match of line.matchAll(PHRASE)) {
    append(line.slice(last, match.index))
    const start = length
    append(match[3] ?? '')
    phrases.push({
      id: match[1] ?? '',
      type: (match[2] ?? '').split('/')[1] ?? 'other',
      text: match[3] ?? '',
      start,
      end: length,
    })
    last = match.index + match[0].length
  }
  append(line.slice(last))
  return { text, phrases }
}

function* readObjects(annotation: XmlElement, name: string, entities: Map<string, Entity>): Generator<ImportItem> {
  for (const object of annotation.children) {
    if (object.name !== 'object') continue
    const box = child(object, 'bndbox')
    if (box === undefined) continue // <nobndbox>, <scene>: an entity without a place
    const [xmin, ymin, xmax, ymax] = ['xmin', 'ymin', 'xmax', 'ymax'].map((side) =>
      parseNumber(childText(box, side)),
    ) as [number, number, number, number]
    if (![xmin, ymin, xmax, ymax].every(Number.isFinite)) {
      yield problem(`${name} line ${object.line}`, 'the box is not four numbers')
      continue
    }
    const bbox: BboxXywh = [xmin - 1, ymin - 1, xmax - xmin + 1, ymax - ymin + 1]
    for (const id of object.children.filter((element) => element.name === 'name').map(({ text }) => text.trim())) {
      const entity = entities.get(id) ?? { boxes: [], phrase: null, type: null }
      entity.boxes.push(bbox)
      entities.set(id, entity)
    }
  }
}

function* read(input: ImportInput): Generator<ImportItem> {
  if (!input.isFolder)
    throw new DbError('INVALID_INPUT', 'Flickr30k Entities is a folder of Sentences and Annotations.')
  const names = listFilesBelow(input.path)
  const sentences = new Map<string, string>()
  const annotations = new Map<string, string>()
  for (const name of names) {
    const folder = basename(dirname(name)).toLowerCase()
    if (folder === 'sentences' && name.endsWith('.txt')) sentences.set(stemOf(name), name)
    if (folder === 'annotations' && name.endsWith('.xml')) annotations.set(stemOf(name), name)
  }
  const types = new Set<string>()
  for (const stem of new Set([...annotations.keys(), ...sentences.keys()])) {
    const entities = new Map<string, Entity>()
    const xml = annotations.get(stem)
    let fileName = stem
    let size: { width: number | null; height: number | null } = { width: null, height: null }
    try {
      if (xml !== undefined) {
        for (const annotation of readXml(join(input.path, xml), (name) => name === 'annotation', input.onBytes)) {
          fileName = childText(annotation, 'filename') || stem
          const sizes = child(annotation, 'size')
          const side = (name: string): number | null =>
            sizes === undefined ? null : sideOf(parseNumber(childText(sizes, name)))
          size = { width: side('width'), height: side('height') }
          yield* readObjects(annotation, xml, entities)
        }
      }
      const where = xml ?? sentences.get(stem) ?? stem
      yield { kind: 'image', key: stem, fileName, otherNames: [stem], ...size, where }
      yield* readSentences(input, stem, sentences.get(stem), entities)
    } catch (error) {
      yield problem(xml ?? stem, reasonOf(error, xml ?? stem))
      continue
    }
    for (const [id, { boxes, phrase, type }] of entities) {
      const categoryKey = type ?? null
      if (categoryKey !== null && !types.has(categoryKey))
        yield { kind: 'category', key: categoryKey, name: categoryKey, where: stem }
      if (categoryKey !== null) types.add(categoryKey)
      for (const bboxXywh of boxes) {
        yield {
          kind: 'annotation',
          imageKey: stem,
          categoryKey,
          bboxXywh,
          caption: phrase,
          where: `${xml ?? stem}: ${id}`,
        }
      }
    }
  }
}

function* readSentences(
  input: ImportInput,
  stem: string,
  name: string | undefined,
  entities: Map<string, Entity>,
): Generator<ImportItem> {
  if (name === undefined) return
  for (const { line, number } of readLines(join(input.path, name), input.onBytes)) {
    if (line.trim() === '') continue
    const { text, phrases } = parseSentence(line)
    const spans: GroundedSpan[] = []
    for (const phrase of phrases) {
      const entity = entities.get(phrase.id)
      if (entity === undefined) continue
      entity.phrase ??= phrase.text
      entity.type ??= phrase.type
      const boxes = entity.boxes
        .filter(([, , w, h]) => w > 0 && h > 0)
        .map((bboxXywh, region) => ({ region, bboxXywh, score: 1 }))
      if (boxes.length > 0)
        spans.push({ text: phrase.text, start: phrase.start, end: phrase.end, boxes, unresolved: [] })
    }
    yield sentenceItem(stem, text, `${name} line ${number}`, spans)
  }
}

/** Entities of one image in the making: the same boxes are the same entity. */
class Entities {
  readonly #ids = new Map<string, { id: number; boxes: BboxXywh[] }>()
  readonly #types = new Map<string, string>()
  readonly #next: () => number
  readonly #image: OutImage

  constructor(image: OutImage, next: () => number) {
    this.#image = image
    this.#next = next
    for (const { bbox, className } of image.boxes) {
      if (className !== null && TYPES.has(className)) this.#types.set(this.#keyOf([bbox]), className)
    }
  }

  #whole(bbox: BboxXywh): BboxXywh {
    const { width, height } = this.#image.item.image
    return wholePixels(bbox, width, height)
  }

  #keyOf(boxes: readonly BboxXywh[]): string {
    return boxes
      .map((bbox) => this.#whole(bbox).join(','))
      .sort()
      .join(';')
  }

  /** `[/EN#12/people Two men]` */
  phrase(text: string, boxes: readonly BboxXywh[]): string {
    const key = this.#keyOf(boxes)
    const known = this.#ids.get(key) ?? { id: this.#next(), boxes: boxes.map((bbox) => this.#whole(bbox)) }
    this.#ids.set(key, known)
    const [first] = boxes
    const type = (first === undefined ? undefined : this.#types.get(this.#keyOf([first]))) ?? 'other'
    return `[/EN#${known.id}/${type} ${text.replace(/[[\]]/g, '').trim() || 'object'}]`
  }

  has(bbox: BboxXywh): boolean {
    const whole = this.#whole(bbox).join(',')
    return [...this.#ids.values()].some(({ boxes }) => boxes.some((other) => other.join(',') === whole))
  }

  objects(): string {
    return [...this.#ids.values()]
      .flatMap(({ id, boxes }) =>
        boxes.map(
          ([x, y, w, h]) =>
            `\t<object>\n\t\t<name>${id}</name>\n\t\t<bndbox>\n\t\t\t<xmin>${x + 1}</xmin>\n\t\t\t<ymin>${y + 1}</ymin>\n` +
            `\t\t\t<xmax>${x + w}</xmax>\n\t\t\t<ymax>${y + h}</ymax>\n\t\t</bndbox>\n\t</object>\n`,
        ),
      )
      .join('')
  }
}

function sentenceOf({ text, spans }: Message, entities: Entities): string {
  const letters = [...text.replace(/[\r\n]/g, ' ')].map((letter) =>
    letter === '[' ? '(' : letter === ']' ? ')' : letter,
  )
  let line = ''
  let at = 0
  for (const span of [...spans].sort((a, b) => a.start - b.start)) {
    if (span.start < at || span.end <= span.start || span.boxes.length === 0) continue
    line += letters.slice(at, span.start).join('')
    line += entities.phrase(
      letters.slice(span.start, span.end).join(''),
      span.boxes.map(({ bboxXywh }) => bboxXywh),
    )
    at = span.end
  }
  return line + letters.slice(at).join('')
}

export const flickr30k: Format = {
  name: 'Flickr30k Entities',
  shape: 'folder',
  extension: '',
  keeps: 'Grounded answers and sentences, their phrases and boxes in whole pixels; captioned boxes as phrases.',
  loses: 'Classes other than its own eight kinds, parts of pixels, scores, verdicts and questions.',
  reader: {
    folders: true,
    sniff: (probe) =>
      probe.names.some((name) => /(^|\/)sentences\/[^/]+\.txt$/i.test(name)) ||
      probe.names.some(
        (name) => name.endsWith('.txt') && /\[\/EN#\d+\//.test(probe.head(name).slice(0, 2000)) && probe.isFolder,
      )
        ? 0.95
        : 0,
    read,
  },
  async export(source, options) {
    let lastId = 0
    let unnamed = 0
    const lists = new Map<string, string[]>()
    const report = await exportFolder(source, options, flickr30k, {
      imagesFolder: () => 'Images',
      async image(image, write) {
        const { width, height, id } = image.item.image
        const stem = image.fileName.replace(/\.[^.]+$/, '').replaceAll('/', '_')
        const subset = image.item.subset ?? 'train'
        lists.set(subset, [...(lists.get(subset) ?? []), stem])
        const entities = new Entities(image, () => ++lastId)
        const lines = source
          .messages(id)
          .filter(({ role, text }) => role === 'assistant' && text.trim() !== '')
          .map((message) => sentenceOf(message, entities))
        for (const { row, bbox } of image.boxes) {
          if (row.caption !== null && !entities.has(bbox))
            lines.push(entities.phrase(row.caption.replace(/[\r\n]/g, ' '), [bbox]))
        }
        unnamed += image.boxes.filter(({ bbox }) => !entities.has(bbox)).length
        await write(`Sentences/${stem}.txt`, lines.map((line) => `${line}\n`).join(''))
        const size = `\t<size>\n\t\t<width>${width}</width>\n\t\t<height>${height}</height>\n\t\t<depth>3</depth>\n\t</size>\n`
        await write(
          `Annotations/${stem}.xml`,
          `<annotation>\n\t<filename>${escapeXml(image.fileName)}</filename>\n${size}${entities.objects()}</annotation>\n`,
        )
      },
      async finish(write) {
        for (const [subset, stems] of lists) await write(`${subset}.txt`, stems.map((stem) => `${stem}\n`).join(''))
      },
    })
    if (unnamed === 0) return report
    const said = unnamed === 1 ? '1 box is' : `${unnamed} boxes are`
    const note = `${said} not in it: neither a caption nor a sentence says what to call ${unnamed === 1 ? 'it' : 'them'}.`
    return { ...report, annotations: report.annotations - unnamed, notes: [...report.notes, note] }
  },
}
