/** CVAT for images 1.1: one XML of labels and images; boxes by their corners, polygons by their points, in pixels. */
import { basename, join } from 'node:path'
import type { AnnotationExtras, BboxXywh } from '../records/records.ts'
import { fittingSegmentation, pairsOf, polygonBounds, rleOfMask, type Segmentation, TURNED, turned } from './boxes.ts'
import type { Format } from './format.ts'
import { type ImportItem, note, parseNumber, problem, sideOf } from './items.ts'
import { exportFile } from './output.ts'
import { bestOf } from './probe.ts'
import { type ImportInput, listFilesBelow } from './textFile.ts'
import { attributesXml, childText, escapeXml, readXml, type XmlElement } from './xml.ts'

/** Cells of a mask's box that are looked at one by one. */
const MAX_MASK = 2 ** 27
const WITHOUT_AREA = new Set(['points', 'polyline', 'skeleton', 'cuboid', 'tag'])

interface Place {
  bbox: BboxXywh
  segmentation?: Segmentation
  note?: string
}

const WITH_AREA = new Set(['box', 'polygon', 'ellipse', 'mask'])
const ROWS = new Set(['image', 'label', 'track', 'original_size'])

function extrasOf(
  shape: XmlElement,
  segmentation: Segmentation | undefined,
): { caption: string | null; extras: AnnotationExtras | undefined } {
  const attributes: Record<string, string | boolean | number> = {}
  let caption: string | null = null
  for (const { name, attributes: own, text } of shape.children) {
    if (name !== 'attribute') continue
    const key = own.name ?? ''
    if (key === 'caption') caption = text.trim() || null
    else if (key !== '' && key !== '__proto__') attributes[key] = text.trim()
  }
  if (shape.attributes.occluded === '1') attributes.occluded = true
  const group = parseNumber(shape.attributes.group_id)
  if (Number.isSafeInteger(group) && group > 0) attributes.group_id = group
  const extras: AnnotationExtras = {
    ...(segmentation === undefined ? {} : { segmentation }),
    ...(Object.keys(attributes).length === 0 ? {} : { attributes }),
  }
  return { caption, extras: Object.keys(extras).length === 0 ? undefined : extras }
}

/** The runs of a mask, row by row inside its box: first what is not in it. */
function maskOf(bbox: BboxXywh, runs: string, image: { width: number; height: number } | null): Segmentation | null {
  const [, , width, height] = bbox
  if (image === null || width * height > MAX_MASK) return null
  const marked = new Uint8Array(width * height)
  let at = 0
  for (const [index, count] of runs.split(',').map(parseNumber).entries()) {
    if (!Number.isSafeInteger(count) || count < 0 || at + count > marked.length) return null
    if (index % 2 === 1) marked.fill(1, at, at + count)
    at += count
  }
  return rleOfMask(bbox, (index) => marked[index] === 1, image)
}

/** The box of a shape, and its mask where it has one; the reason when there is none. */
function placeOf(
  { name, attributes }: XmlElement,
  image: { width: number; height: number } | null,
): Place | { reason: string } {
  const numbers = (...names: string[]): number[] => names.map((key) => parseNumber(attributes[key]))
  const rotation = parseNumber(attributes.rotation ?? '0') % 360 || 0
  if (name === 'box') {
    const [left, top, right, bottom] = numbers('xtl', 'ytl', 'xbr', 'ybr') as [number, number, number, number]
    const bbox: BboxXywh = [left, top, right - left, bottom - top]
    if (!bbox.every(Number.isFinite)) return { reason: 'the corners are not four numbers' }
    if (rotation === 0) return { bbox }
    const { bbox: round, corners } = turned(
      'rectangle',
      [left + bbox[2] / 2, top + bbox[3] / 2],
      [bbox[2] / 2, bbox[3] / 2],
      rotation,
    )
    return round === null || corners === null ? { bbox } : { bbox: round, segmentation: [corners], note: TURNED }
  }
  if (name === 'ellipse') {
    const [x, y, rx, ry] = numbers('cx', 'cy', 'rx', 'ry') as [number, number, number, number]
    const { bbox } = turned('ellipse', [x, y], [rx, ry], rotation)
    return bbox === null
      ? { reason: 'the ellipse is not four numbers' }
      : { bbox, note: 'Of ellipses, the box is taken.' }
  }
  if (name === 'mask') {
    const bbox = numbers('left', 'top', 'width', 'height') as BboxXywh
    if (!bbox.every((side) => Number.isSafeInteger(side) && side >= 0)) return { reason: 'the mask lacks its place' }
    const segmentation = maskOf(bbox, attributes.rle ?? '', image)
    return segmentation === null
      ? { bbox, note: 'Of masks that cannot be read, the box is taken.' }
      : { bbox, segmentation }
  }
  const polygon = (attributes.points ?? '').split(/[;,]/).map(parseNumber)
  if (polygon.length < 6 || polygon.length % 2 !== 0 || polygon.length > 20_000)
    return { reason: 'the points are not three pairs of numbers or more' }
  const bbox = polygonBounds([polygon])
  return bbox === null ? { reason: 'the polygon has no area' } : { bbox, segmentation: [polygon] }
}

interface Reading {
  /** Where it is said to be. */
  file: string
  classes: Set<string>
  images: Set<string>
}

type Size = { width: number; height: number } | null

/** One shape on an image; `label` of the shape, or of the track it is part of. */
function* readShape(
  shape: XmlElement,
  on: { key: string; size: Size; label: string; track?: string },
  { file, classes }: Reading,
): Generator<ImportItem> {
  const { key, size, label, track } = on
  const where = `${file} line ${shape.line}`
  if (WITHOUT_AREA.has(shape.name)) return yield note('Points, lines and tags are no boxes and are left out.')
  if (!WITH_AREA.has(shape.name)) return
  const placed = placeOf(shape, size)
  if (label === '' || 'reason' in placed)
    return yield problem(where, 'reason' in placed ? placed.reason : 'the shape has no label')
  if (placed.note !== undefined) yield note(placed.note)
  if (!classes.has(label)) yield { kind: 'category', key: label, name: label, where }
  classes.add(label)
  const { caption, extras: own } = extrasOf(shape, placed.segmentation)
  const extras = track === undefined ? own : { ...own, attributes: { ...own?.attributes, track_id: track } }
  yield {
    kind: 'annotation',
    imageKey: key,
    categoryKey: label,
    bboxXywh: placed.bbox,
    caption,
    where,
    ...(extras === undefined ? {} : { extras }),
  }
}

function* readImage(image: XmlElement, reading: Reading): Generator<ImportItem> {
  const fileName = image.attributes.name ?? ''
  const where = `${reading.file} line ${image.line}`
  if (fileName === '') return yield problem(where, 'the image has no name')
  const key = `${image.attributes.subset ?? ''}/${fileName}`
  if (reading.images.has(key)) return yield problem(where, `${fileName} is in the file twice`)
  reading.images.add(key)
  const [width, height] = ['width', 'height'].map((name) => sideOf(parseNumber(image.attributes[name])))
  yield { kind: 'image', key, fileName, width: width ?? null, height: height ?? null, where }
  const size = width && height ? { width, height } : null
  for (const shape of image.children)
    yield* readShape(shape, { key, size, label: shape.attributes.label ?? '' }, reading)
}

/** Videos name no pictures: CVAT calls those of a frame `frame_000012`. */
function* readTrack(track: XmlElement, size: Size, reading: Reading): Generator<ImportItem> {
  const label = track.attributes.label ?? ''
  for (const shape of track.children) {
    const frame = parseNumber(shape.attributes.frame)
    const where = `${reading.file} line ${shape.line}`
    if (shape.attributes.outside === '1') continue // it is not to be seen there
    if (!Number.isSafeInteger(frame) || frame < 0) {
      yield problem(where, 'the shape is on no frame')
      continue
    }
    const key = `${reading.file} frame ${frame}`
    if (!reading.images.has(key)) {
      reading.images.add(key)
      const fileName = `frame_${String(frame).padStart(6, '0')}`
      yield { kind: 'image', key, fileName, width: size?.width ?? null, height: size?.height ?? null, where }
    }
    yield* readShape(shape, { key, size, label, track: track.attributes.id ?? '' }, reading)
  }
}

function* readLabel(label: XmlElement, { file, classes }: Reading): Generator<ImportItem> {
  const name = childText(label, 'name') ?? ''
  const color = childText(label, 'color')?.toLowerCase() ?? ''
  if (childText(label, 'parent')) return // a point of a skeleton
  if (name === '') return yield problem(`${file} line ${label.line}`, 'the label has no name')
  if (classes.has(name)) return
  classes.add(name)
  yield { kind: 'category', key: name, name, where: file, ...(/^#[0-9a-f]{6}$/.test(color) ? { color } : {}) }
}

function* read(input: ImportInput): Generator<ImportItem> {
  const names = input.isFolder ? listFilesBelow(input.path).filter((name) => /\.xml$/i.test(name)) : ['']
  const reading: Reading = { file: '', classes: new Set(), images: new Set() }
  for (const name of names) {
    const path = input.isFolder ? join(input.path, name) : input.path
    reading.file = name || basename(path)
    let size: Size = null
    for (const row of readXml(path, (element) => ROWS.has(element), input.onBytes)) {
      if (row.name === 'image') yield* readImage(row, reading)
      else if (row.name === 'label') yield* readLabel(row, reading)
      else if (row.name === 'track') yield* readTrack(row, size, reading)
      else {
        const [width, height] = ['width', 'height'].map((side) => sideOf(parseNumber(childText(row, side))))
        size = width && height ? { width, height } : null
      }
    }
  }
}

export const cvat: Format = {
  name: 'CVAT for images 1.1',
  shape: 'file',
  extension: '.xml',
  keeps: 'Boxes, polygons of one piece, classes with their colours, captions and attributes.',
  loses: 'Scores, verdicts, run lengths and the talk. Boxes without a class become "object".',
  reader: {
    folders: true,
    sniff: (probe) =>
      bestOf(probe, ['.xml'], (name) =>
        /<annotations[\s>]/.test(probe.head(name)) && /<version>1\.1<|<image\s[^>]*\bname=/.test(probe.head(name))
          ? 0.95
          : 0,
      ),
    read,
  },
  export(source, options) {
    const label = (name: string, color: string): string =>
      `      <label>\n        <name>${escapeXml(name)}</name>\n        <color>${color}</color>\n        <type>any</type>\n        <attributes>\n          <attribute>\n            <name>caption</name>\n            <mutable>False</mutable>\n            <input_type>text</input_type>\n            <default_value></default_value>\n            <values></values>\n          </attribute>\n        </attributes>\n      </label>\n`
    const named = source.categories.some(({ name }) => name === 'object')
    const labels =
      source.categories.map(({ name, color }) => label(name, color)).join('') +
      (named ? '' : label('object', '#7d7468'))
    let index = 0
    return exportFile(source, options, {
      head: `<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n  <meta>\n    <task>\n      <name>${escapeXml(source.name)}</name>\n      <size>${source.imageCount}</size>\n      <mode>annotation</mode>\n      <labels>\n${labels}      </labels>\n    </task>\n  </meta>\n`,
      image({ item: { image, subset }, fileName, boxes }) {
        const shapes = boxes.map(({ row, bbox, className }) => {
          const { occluded, ...attributes } = row.extras?.attributes ?? {}
          const inner = Object.entries({ ...(row.caption === null ? {} : { caption: row.caption }), ...attributes })
            .map(
              ([key, value]) =>
                `      <attribute${attributesXml({ name: key })}>${escapeXml(String(value))}</attribute>\n`,
            )
            .join('')
          const common = { label: className ?? 'object', source: 'manual', occluded: occluded === true ? 1 : 0 }
          const segmentation = fittingSegmentation(row.extras, bbox)
          const [polygon] = Array.isArray(segmentation) && segmentation.length === 1 ? segmentation : []
          if (polygon !== undefined) {
            const points = [...pairsOf(polygon)].map((pair) => pair.join(',')).join(';')
            return `    <polygon${attributesXml({ ...common, points, z_order: 0 })}>\n${inner}    </polygon>\n`
          }
          const [x, y, w, h] = bbox
          return `    <box${attributesXml({ ...common, xtl: x, ytl: y, xbr: x + w, ybr: y + h, z_order: 0 })}>\n${inner}    </box>\n`
        })
        const about = { id: index++, name: fileName, subset, width: image.width, height: image.height }
        return `  <image${attributesXml(about)}>\n${shapes.join('')}  </image>\n`
      },
      tail: () => '</annotations>\n',
    })
  },
}
