/** COCO captions: sentences about whole images. `{id, image_id, caption}`, no categories. */
import { basename } from 'node:path'
import { readCocoImage } from './cocoReader.ts'
import { isCaptions, sniffCoco } from './cocoSniff.ts'
import { CONTRIBUTOR } from './cocoWriter.ts'
import type { Format } from './format.ts'
import { type ImportItem, isRow, keyOf, problem, textOf } from './items.ts'
import { readJson } from './jsonStream.ts'
import { EXIF_NOTE, exportFile } from './output.ts'
import { isSentence, sentenceItem } from './sentences.ts'
import { type ImportInput, readBytes } from './textFile.ts'

function* read(input: ImportInput): Generator<ImportItem> {
  for (const { list, index, value, error } of readJson(readBytes(input.path, input.onBytes), basename(input.path))) {
    if (index === null || (list !== 'images' && list !== 'annotations')) continue
    const where = `${list}[${index}]`
    if (error !== undefined || !isRow(value)) {
      yield problem(where, error ?? 'is no object')
      continue
    }
    if (list === 'images') {
      yield* readCocoImage(value, where, input)
      continue
    }
    const imageKey = keyOf(value.image_id)
    const caption = textOf(value.caption)
    if (imageKey === null) yield problem(where, 'image_id names no image')
    else if (caption === null) yield problem(where, 'it has no caption')
    else yield sentenceItem(imageKey, caption, where)
  }
}

export const cocoCaptions: Format = {
  name: 'COCO captions',
  shape: 'file',
  extension: '.json',
  keeps: 'Sentences about whole images; of images that have none, the captions of their boxes.',
  loses: 'Boxes, classes and the talk.',
  reader: { sniff: (probe) => sniffCoco(probe, (sight) => (isCaptions(sight) ? 0.95 : 0)), read },
  export(source, options) {
    const info = { description: source.name, url: '', version: '1.0', contributor: CONTRIBUTOR, note: EXIF_NOTE }
    const images: string[] = []
    let id = 0
    return exportFile(source, options, {
      head: `{"info":${JSON.stringify(info)},\n"licenses":[],\n"annotations":[`,
      image({ item: { image }, fileName, boxes }) {
        const { width, height } = image
        images.push(JSON.stringify({ id: image.id, file_name: fileName, width, height }))
        const sentences = source
          .messages(image.id)
          .filter(isSentence)
          .map(({ text }) => text)
        const captions = sentences.length > 0 ? sentences : boxes.flatMap(({ row }) => row.caption ?? [])
        return captions.map((caption) => `\n${JSON.stringify({ id: ++id, image_id: image.id, caption })}`).join(',')
      },
      separator: ',',
      tail: () => `\n],\n"images":[${images.map((row) => `\n${row}`).join(',')}\n]}\n`,
    })
  },
}
