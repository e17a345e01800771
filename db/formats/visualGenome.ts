/** Visual Genome: regions (phrases with integer boxes) or objects, image by image, and where each image comes from. */

import { existsSync } from 'node:fs'
import { basename, dirname, extname, join } from 'node:path'
import type { Format } from './format.ts'
import { type ImportItem, isRow, type Key, keyOf, note, numberOf, problem, sideOf, textOf } from './items.ts'
import { readJson } from './jsonStream.ts'
import { exportFolder } from './output.ts'
import { bestOf, probePath } from './probe.ts'
import { type ImportInput, listFilesBelow, readBytes } from './textFile.ts'
import { wholePixels } from './wholePixels.ts'

const REGIONS = 'region_descriptions.json'
const OBJECTS = 'objects.json'
const IMAGES = 'image_data.json'

interface Known {
  fileName: string
  copyName?: string
  width: number | null
  height: number | null
}

function readImages(path: string): Map<number | string, Known> {
  const images = new Map<number | string, Known>()
  if (!existsSync(path)) return images
  for (const { value } of readJson(readBytes(path), basename(path))) {
    if (!isRow(value)) continue
    const key = keyOf(value.image_id ?? value.id)
    const url = textOf(value.url)?.split('/').slice(-2).join('/')
    const fileName = textOf(value.file_name) ?? url ?? null
    const source = textOf(value.source_file_name) // ours: of a picture that was copied under its number
    if (key !== null && fileName !== null)
      images.set(key, {
        fileName: source ?? fileName,
        copyName: fileName,
        width: sideOf(value.width),
        height: sideOf(value.height),
      })
  }
  return images
}

/** What an entry of one of its files has: regions have phrases, objects have names. */
interface Kind {
  list: 'regions' | 'objects' | 'attributes'
  id: 'region_id' | 'object_id'
}
const KINDS: Kind[] = [
  { list: 'regions', id: 'region_id' },
  { list: 'objects', id: 'object_id' },
  { list: 'attributes', id: 'object_id' },
]
const kindOf = (entry: unknown): Kind | undefined =>
  isRow(entry) && !('conversation' in entry) ? KINDS.find(({ list }) => Array.isArray(entry[list])) : undefined

interface Reading {
  known: Map<number | string, Known>
  told: Set<number | string>
  classes: Set<string>
  /** Ids are kept where they are of one kind. */
  keepIds: boolean
}

function* readBox(
  box: unknown,
  kind: Kind,
  key: Key,
  where: string,
  { classes, keepIds }: Reading,
): Generator<ImportItem> {
  const sides = isRow(box) ? [box.x, box.y, box.width ?? box.w, box.height ?? box.h] : []
  if (!isRow(box) || sides.length !== 4 || !sides.every((side) => typeof side === 'number'))
    return yield problem(where, 'x, y, width and height are not four numbers')
  const isObject = kind.list !== 'regions'
  const name = isObject ? (Array.isArray(box.names) ? textOf(box.names[0]) : textOf(box.name)) : null
  if (isObject && name === null) return yield problem(where, 'the object has no name')
  if (name !== null && !classes.has(name)) yield { kind: 'category', key: name, name, where }
  if (name !== null) classes.add(name)
  const id = numberOf(box[kind.id] ?? box.id)
  const said =
    isObject && Array.isArray(box.attributes) ? box.attributes.filter((word) => typeof word === 'string') : []
  yield {
    kind: 'annotation',
    imageKey: key,
    categoryKey: name,
    bboxXywh: sides as [number, number, number, number],
    caption: isObject ? null : textOf(box.phrase),
    where,
    ...(said.length === 0 ? {} : { extras: { attributes: { attributes: said.join(', ') } } }),
    ...(keepIds && id !== null && Number.isSafeInteger(id) && id > 0 ? { id } : {}),
  }
}

function* readEntries(path: string, name: string, input: ImportInput, reading: Reading): Generator<ImportItem> {
  const { known, told } = reading
  for (const { list, index, value, error } of readJson(readBytes(path, input.onBytes), name)) {
    if (list !== '' || index === null) continue
    const where = `${reading.keepIds ? '' : name}[${index}]`
    const kind = kindOf(value)
    const key = isRow(value) ? keyOf(value.image_id ?? value.id) : null
    if (error !== undefined || !isRow(value) || key === null || kind === undefined) {
      yield problem(where, error ?? 'the entry lacks its image id, or its regions or objects')
      continue
    }
    const url = textOf(value.image_url)?.split('/').slice(-2).join('/')
    const image = known.get(key) ?? { fileName: url ?? `${key}.jpg`, width: null, height: null }
    if (!told.has(key))
      yield { kind: 'image', key, ...image, ...(typeof key === 'number' && key > 0 ? { id: key } : {}), where }
    told.add(key)
    for (const [position, box] of (value[kind.list] as unknown[]).entries())
      yield* readBox(box, kind, key, `${where}.${kind.list}[${position}]`, reading)
  }
}

function* read(input: ImportInput): Generator<ImportItem> {
  const folder = input.isFolder ? input.path : dirname(input.path)
  const names = input.isFolder ? listFilesBelow(folder).filter((name) => /\.json$/i.test(name)) : [basename(input.path)]
  const found = input.isFolder ? names.filter((name) => listOf(join(folder, name)) !== null) : names
  // attributes.json and scene_graphs.json have the objects of objects.json once more
  const doubles = found.filter((name) => listOf(join(folder, name)) !== 'regions').slice(1)
  const files = found.filter((name) => !doubles.includes(name))
  for (const name of doubles) yield note(`${name} is left out: its boxes are in another file of the folder.`)
  const [first] = files
  if (first === undefined) return yield problem(input.path, `there is no ${REGIONS} and no ${OBJECTS}`)
  const known = readImages(join(folder, dirname(first), IMAGES))
  const reading: Reading = { known, told: new Set(), classes: new Set(), keepIds: files.length === 1 }
  for (const name of files) yield* readEntries(join(folder, name), basename(name), input, reading)
  for (const [key, image] of known) {
    if (!reading.told.has(key))
      yield { kind: 'image', key, ...image, ...(typeof key === 'number' && key > 0 ? { id: key } : {}), where: IMAGES }
  }
}

/** What a file lists; null for one of another kind. */
const listOf = (path: string): Kind['list'] | null => {
  const probe = probePath(path)
  return kindOf(probe.json(probe.names[0] ?? '')?.get(''))?.list ?? null
}

export const visualGenome: Format = {
  name: 'Visual Genome regions',
  shape: 'folder',
  extension: '',
  keeps: 'Boxes in whole pixels, and their captions as phrases; objects with their first name are read.',
  loses: 'Classes, parts of pixels, scores, verdicts and the talk.',
  reader: {
    folders: true,
    sniff: (probe) => bestOf(probe, ['.json'], (name) => (kindOf(probe.json(name)?.get('')) === undefined ? 0 : 0.95)),
    read,
  },
  export(source, options) {
    const regions: string[] = []
    const images: string[] = []
    return exportFolder(source, options, visualGenome, {
      imagesFolder: () => 'VG_100K',
      // its tools look for the picture of an entry by its number
      pictureName: ({ image }) => `${image.id}${extname(image.fileName)}`,
      async image({ item: { image }, fileName, boxes }) {
        const { id, width, height } = image
        images.push(
          JSON.stringify({
            image_id: id,
            url: `VG_100K/${fileName}`,
            file_name: fileName,
            ...(fileName === image.fileName ? {} : { source_file_name: image.fileName }),
            width,
            height,
            coco_id: null,
            flickr_id: null,
          }),
        )
        const rows = boxes.map(({ row, bbox, className }) => {
          const [x, y, w, h] = wholePixels(bbox, width, height)
          return { region_id: row.id, width: w, height: h, image_id: id, phrase: row.caption ?? className ?? '', y, x }
        })
        regions.push(JSON.stringify({ regions: rows, id }))
      },
      async finish(write) {
        await write(REGIONS, `[${regions.map((row) => `\n${row}`).join(',')}\n]\n`)
        await write(IMAGES, `[${images.map((row) => `\n${row}`).join(',')}\n]\n`)
      },
    })
  },
}
