/** COCO captions: sentences about whole images. `{id, image_id, caption}`, no categories. */
import { basename } from 'node:path'
import { type CocoFileOptions, cocoKey, placeOf, readCocoImage } from './cocoReader.ts'
import { isCaptions, sniffCoco } from './cocoSniff.ts'
import { CONTRIBUTOR } from './cocoWriter.ts'
import type { Format } from './format.ts'
import { type ImportItem, isRow, type Key, problem, textOf } from './items.ts'
import { readJson } from './jsonStream.ts'
import { EXIF_NOTE, exportFile } from './output.ts'
import { isSentence, sentenceItem } from './sentences.ts'
import { readBytes } from './textFile.ts'

/** The images and sentences of one file. */
export function* readCaptionsFile(options: CocoFileOptions): Generator<ImportItem> {
  const apart = (key: Key): Key => (options.prefix === undefined ? key : `${options.prefix}#${key}`)
  for (const entry of readJson(readBytes(options.path, options.onBytes), basename(options.path))) {
    const { list, index, value, error } = entry
    if (index === null || (list !== 'images' && list !== 'annotations')) continue
    const where = placeOf(entry, options)
    if (error !== undefined || !isRow(value)) {
      yield problem(where, error ?? 'is no object')
      continue
    }
    if (list === 'images') {
      yield* readCocoImage(value, where, options)
      continue
    }
    const imageKey = cocoKey(value.image_id)
    const caption = textOf(value.caption)
    if (imageKey === null) yield problem(where, 'image_id names no image')
    else if (caption === null) yield problem(where, 'it has no caption')
    else yield sentenceItem(apart(imageKey), caption, where)
  }
}

export const cocoCaptions: Format = {
  name: 'COCO captions',
  shape: 'file',
  extension: '.json',
  keeps: 'Sentences about whole images; of images that have none, the captions of their boxes.',
  loses: 'Boxes, classes and the talk.',
  reader: {
    // in a folder they may lie beside the instances, whose reader takes both
    sniff: (probe) => sniffCoco(probe, (sight) => (isCaptions(sight) ? (probe.isFolder ? 0.6 : 0.95) : 0)),
    read: readCaptionsFile,
  },
  async export(source, options) {
    const info = { description: source.name, url: '', version: '1.0', contributor: CONTRIBUTOR, note: EXIF_NOTE }
    const images: string[] = []
    let id = 0
    const report = await exportFile(source, options, {
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
      saysUpright: true,
      tail: () => `\n],\n"images":[${images.map((row) => `\n${row}`).join(',')}\n]}\n`,
    })
    return { ...report, annotations: id, categories: 0 }
  },
}
