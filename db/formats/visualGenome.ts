/** Visual Genome regions: phrases with integer boxes, image by image, and where each image comes from. */

import { existsSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import type { Format } from './format.ts'
import { type ImportItem, isRow, keyOf, numberOf, problem, sideOf, textOf } from './items.ts'
import { readJson } from './jsonStream.ts'
import { exportFolder } from './output.ts'
import { bestOf } from './probe.ts'
import { type ImportInput, listFilesBelow, readBytes } from './textFile.ts'
import { wholePixels } from './wholePixels.ts'

const REGIONS = 'region_descriptions.json'
const IMAGES = 'image_data.json'

interface Known {
  fileName: string
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
    if (key !== null && fileName !== null)
      images.set(key, { fileName, width: sideOf(value.width), height: sideOf(value.height) })
  }
  return images
}

function* read(input: ImportInput): Generator<ImportItem> {
  const names = input.isFolder ? listFilesBelow(input.path) : [basename(input.path)]
  const folder = input.isFolder ? input.path : dirname(input.path)
  const regions =
    names.find((name) => basename(name) === REGIONS) ??
    names.find((name) => name.endsWith('.json') && basename(name) !== IMAGES)
  if (regions === undefined) return yield problem(input.path, `there is no ${REGIONS}`)
  const known = readImages(join(folder, dirname(regions), IMAGES))
  const told = new Set<number | string>()
  for (const { list, index, value, error } of readJson(
    readBytes(join(folder, regions), input.onBytes),
    basename(regions),
  )) {
    if (list !== '' || index === null) continue
    const where = `[${index}]`
    const key = isRow(value) ? keyOf(value.id ?? value.image_id) : null
    if (error !== undefined || !isRow(value) || key === null || !Array.isArray(value.regions)) {
      yield problem(where, error ?? 'the entry lacks its image id or its regions')
      continue
    }
    const image = known.get(key) ?? { fileName: `${key}.jpg`, width: null, height: null }
    const id = typeof key === 'number' && key > 0 ? { id: key } : {}
    if (!told.has(key)) yield { kind: 'image', key, ...image, ...id, where }
    told.add(key)
    for (const [position, region] of value.regions.entries()) {
      const place = `${where}.regions[${position}]`
      const sides = isRow(region) ? [region.x, region.y, region.width, region.height] : []
      if (!isRow(region) || !sides.every((side) => typeof side === 'number')) {
        yield problem(place, 'x, y, width and height are not four numbers')
        continue
      }
      const regionId = numberOf(region.region_id)
      yield {
        kind: 'annotation',
        imageKey: key,
        categoryKey: null,
        bboxXywh: sides as [number, number, number, number],
        caption: textOf(region.phrase),
        where: place,
        ...(regionId !== null && Number.isSafeInteger(regionId) && regionId > 0 ? { id: regionId } : {}),
      }
    }
  }
  for (const [key, image] of known) {
    if (!told.has(key))
      yield { kind: 'image', key, ...image, ...(typeof key === 'number' && key > 0 ? { id: key } : {}), where: IMAGES }
  }
}

export const visualGenome: Format = {
  name: 'Visual Genome regions',
  shape: 'folder',
  extension: '',
  keeps: 'Boxes in whole pixels, and their captions as phrases.',
  loses: 'Classes, parts of pixels, scores, verdicts and the talk.',
  reader: {
    folders: true,
    sniff: (probe) =>
      bestOf(probe, ['.json'], (name) => {
        const first = probe.json(name)?.get('')
        return isRow(first) &&
          Array.isArray(first.regions) &&
          isRow(first.regions[0] ?? {}) &&
          !('conversation' in first)
          ? 0.95
          : 0
      }),
    read,
  },
  export(source, options) {
    const regions: string[] = []
    const images: string[] = []
    return exportFolder(source, options, visualGenome, {
      imagesFolder: () => 'VG_100K',
      async image({ item: { image }, fileName, boxes }) {
        const { id, width, height } = image
        images.push(
          JSON.stringify({
            image_id: id,
            url: `VG_100K/${fileName}`,
            file_name: fileName,
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
