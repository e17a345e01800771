/** Groma Instruct: boxes of an image and a talk whose answers name them, `<p>two men</p><roi><ground_box><ground_box></roi>`. */
import { basename } from 'node:path'
import type { BboxXywh, GroundedSpan, Message } from '../records/records.ts'
import type { Format } from './format.ts'
import { bboxOf, type ImportItem, isRow, problem, type Row, sideOf, textOf } from './items.ts'
import { readJson } from './jsonStream.ts'
import { exportFile, type OutImage } from './output.ts'
import { bestOf } from './probe.ts'
import { sentenceItem } from './sentences.ts'
import { type ImportInput, readBytes } from './textFile.ts'

const DESCRIBE = 'Describe the image in detail.'
const BOX = '<ground_box>'

/** An answer as people read it: tags gone, phrases with their boxes, offsets in code points. */
function parseAnswer(value: string, boxes: readonly BboxXywh[]): { text: string; spans: GroundedSpan[]; used: number } {
  const spans: GroundedSpan[] = []
  let text = ''
  let length = 0
  let used = 0
  let phrase: { start: number; end: number } | null = null
  const append = (piece: string): void => {
    text += piece
    length += [...piece].length
  }
  for (const token of value.split(/(<\/?p>|<\/?roi>|<ground_box>)/)) {
    if (token === '<p>') phrase = { start: length, end: length }
    else if (token === '</p>') {
      if (phrase !== null) phrase.end = length
    } else if (token === '<roi>') {
      const { start, end } = phrase ?? { start: length, end: length }
      const said = [...text].slice(start, end).join('')
      spans.push({ text: said, start, end, boxes: [], unresolved: [] })
    } else if (token === BOX) {
      const bboxXywh = boxes[used++]
      const span = spans.at(-1)
      if (bboxXywh !== undefined && span !== undefined) span.boxes.push({ region: used - 1, bboxXywh, score: 1 })
    } else if (token === '</roi>') phrase = null
    else append(token.replace(/<[a-z_]*>/g, ''))
  }
  return { text: text.trimEnd(), spans: spans.filter((span) => span.boxes.length > 0), used }
}

function* readItem(row: Row, where: string, index: number): Generator<ImportItem> {
  const fileName = textOf(row.file_name)
  if (fileName === null || !Array.isArray(row.boxes) || !Array.isArray(row.conversation)) {
    return yield problem(where, 'the item lacks its file_name, boxes or conversation')
  }
  const [width, height] = [sideOf(row.width), sideOf(row.height)]
  yield { kind: 'image', key: index, fileName, width, height, where }
  const boxes = row.boxes.map(bboxOf)
  const captions = new Map<number, string>()
  for (const [position, turn] of row.conversation.entries()) {
    const place = `${where}.conversation[${position}]`
    const value = isRow(turn) ? turn.value : null
    if (!isRow(turn) || typeof value !== 'string') {
      yield problem(place, 'the turn has no value')
      continue
    }
    if (position % 2 === 0) {
      const { message, ...item } = sentenceItem(index, value.replace(/<[a-z_]*>/g, '').trim(), place)
      yield { ...item, message: { ...message, role: 'user' } }
      continue
    }
    const named = Array.isArray(turn.box_inds) ? turn.box_inds : []
    const inds = named.filter((ind): ind is number => Number.isSafeInteger(ind) && boxes[ind as number] != null)
    if (inds.length !== named.length) yield problem(place, 'box_inds name boxes that are not there')
    const { text, spans, used } = parseAnswer(
      value,
      inds.map((ind) => boxes[ind] as BboxXywh),
    )
    if (used !== inds.length) yield problem(place, `${used} boxes are meant in the text, box_inds name ${inds.length}`)
    for (const span of spans) {
      for (const { region } of span.boxes) {
        const ind = inds[region]
        if (ind !== undefined && span.text !== '' && !captions.has(ind)) captions.set(ind, span.text)
      }
    }
    const good = spans.map((span) => ({
      ...span,
      boxes: span.boxes.filter(({ bboxXywh: [, , w, h] }) => w > 0 && h > 0),
    }))
    yield sentenceItem(index, text, place, good)
  }
  for (const [position, bbox] of boxes.entries()) {
    const place = `${where}.boxes[${position}]`
    if (bbox === null) yield problem(place, 'the box is not four numbers')
    else
      yield {
        kind: 'annotation',
        imageKey: index,
        categoryKey: null,
        bboxXywh: bbox,
        caption: captions.get(position) ?? null,
        where: place,
      }
  }
}

function* read(input: ImportInput): Generator<ImportItem> {
  for (const { list, index, value, error } of readJson(readBytes(input.path, input.onBytes), basename(input.path))) {
    if (list !== '' || index === null) continue
    const where = `[${index}]`
    if (error !== undefined || !isRow(value)) yield problem(where, error ?? 'is no object')
    else yield* readItem(value, where, index)
  }
}

/** The boxes of one item, each once, by their numbers. */
class Boxes {
  readonly list: BboxXywh[]
  constructor(list: BboxXywh[]) {
    this.list = list
  }
  indexOf(bbox: BboxXywh): number {
    const found = this.list.findIndex((other) =>
      other.every((side, axis) => Math.abs(side - (bbox[axis] as number)) < 1e-6),
    )
    if (found >= 0) return found
    this.list.push(bbox)
    return this.list.length - 1
  }
}

function answer({ text, spans }: Pick<Message, 'text' | 'spans'>, boxes: Boxes): Row {
  const letters = [...text]
  const inds: number[] = []
  let value = ''
  let at = 0
  for (const span of [...spans].sort((a, b) => a.start - b.start)) {
    if (span.start < at || span.boxes.length === 0) continue
    value += letters.slice(at, span.start).join('')
    const phrase = letters.slice(span.start, span.end).join('')
    inds.push(...span.boxes.map(({ bboxXywh }) => boxes.indexOf(bboxXywh)))
    value += `${phrase === '' ? '' : `<p>${phrase}</p>`}<roi>${BOX.repeat(span.boxes.length)}</roi>`
    at = span.end
  }
  return { value: value + letters.slice(at).join(''), box_inds: inds }
}

/** Questions and answers in turn; a sentence that nobody asked for gets a question. */
function conversationOf(messages: readonly Message[], boxes: Boxes): Row[] {
  const turns: Row[] = []
  let question: string | null = null
  for (const message of messages) {
    if (message.role === 'user') question = message.text
    else if (message.text.trim() !== '') {
      turns.push({ value: question ?? DESCRIBE }, answer(message, boxes))
      question = null
    }
  }
  return turns
}

/** Captioned boxes of an image that nobody talked about, as one grounded answer. */
function captionsAnswer({ boxes }: OutImage): Pick<Message, 'text' | 'spans'> | null {
  const spans: GroundedSpan[] = []
  let text = ''
  for (const { row, bbox } of boxes) {
    if (row.caption === null) continue
    if (text !== '') text += ', '
    const start = [...text].length
    text += row.caption
    const place = { region: 0, bboxXywh: bbox, score: 1 }
    spans.push({ text: row.caption, start, end: [...text].length, boxes: [place], unresolved: [] })
  }
  return spans.length === 0 ? null : { text, spans }
}

export const gromaInstruct: Format = {
  name: 'Groma Instruct',
  shape: 'file',
  extension: '.json',
  keeps: 'The talk about each image, and which boxes its answers name; captioned boxes as one grounded answer.',
  loses: 'Classes, scores, verdicts, and images of which nothing is said.',
  reader: {
    sniff: (probe) =>
      bestOf(probe, ['.json'], (name) => {
        const first = probe.json(name)?.get('')
        return isRow(first) && Array.isArray(first.conversation) && Array.isArray(first.boxes) ? 0.97 : 0
      }),
    read,
  },
  async export(source, options) {
    let silent = 0
    let boxCount = 0
    const report = await exportFile(source, options, {
      head: '[',
      image(image) {
        const { width, height, id } = image.item.image
        const boxes = new Boxes(image.boxes.map(({ bbox }) => bbox))
        let conversation = conversationOf(source.messages(id), boxes)
        const captions = conversation.length === 0 ? captionsAnswer(image) : null
        if (captions !== null) conversation = [{ value: DESCRIBE }, answer(captions, boxes)]
        // its reader needs a talk, and at least one box that it names
        if (!conversation.some(({ box_inds }) => Array.isArray(box_inds) && box_inds.length > 0)) {
          silent++
          return ''
        }
        boxCount += boxes.list.length
        return `\n${JSON.stringify({ file_name: image.fileName, width, height, boxes: boxes.list, conversation })}`
      },
      separator: ',',
      tail: () => '\n]\n',
    })
    const left = silent === 1 ? '1 image is' : `${silent} images are`
    const note = `${left} not in it: nothing that names a box is said of ${silent === 1 ? 'it' : 'them'}.`
    const notes = silent === 0 ? report.notes : [...report.notes, note]
    return { ...report, images: report.images - silent, annotations: boxCount, notes }
  },
}
