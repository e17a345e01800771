/**
 * Reads the COCO family: instances, captions, results, LVIS, referring expressions and our own additions are all lists of
 * images, annotations and categories under one object.
 */
import { basename, dirname, join } from 'node:path'
import type { AnnotationExtras, BboxXywh } from '../records/records.ts'
import { readSegmentation } from './boxes.ts'
import {
  attributesFrom,
  bboxOf,
  type ImportAnnotation,
  type ImportCategory,
  type ImportImage,
  type ImportItem,
  isRow,
  type Key,
  keyOf,
  note,
  numberOf,
  problem,
  type Row,
  sideOf,
  textOf,
} from './items.ts'
import { type JsonEntry, readJson } from './jsonStream.ts'
import { type ImportInput, isFileInside, listFilesBelow, type OnBytes, readBytes } from './textFile.ts'

/** Attributes that our own export writes: they are fields of ours again, not extras. */
const OWN = new Set([
  'caption',
  'status',
  'provenance',
  'model_caption',
  'model_score',
  'model_hash',
  'model_x',
  'model_y',
  'model_width',
  'model_height',
  'decided_at',
  'decision_ms',
])
const STATUSES = new Set(['proposed', 'accepted', 'edited', 'rejected'])
const ZERO_IDS = 'Ids that are 0 (which evaluation tools do not count) get new numbers.'
const TEXT_IDS = 'Ids that are text get new numbers.'

/** An id; one written as text (`"12"`) means the same as the number. */
export function cocoKey(value: unknown): Key | null {
  const key = keyOf(value)
  return typeof key === 'string' && /^(0|[1-9]\d{0,14})$/.test(key) ? Number(key) : key
}

export interface CocoFileOptions {
  /** Absolute. */
  path: string
  /** Put before file names: the folder that the file lies in, where pictures lie beside it. */
  folder?: string
  /** Keeps the ids of several files apart; ids are not kept then. */
  prefix?: string
  onBytes: OnBytes
  /** Makes boxes of rows that need more than this reader knows; null: not such a row. */
  refine?: (annotation: ImportAnnotation, row: Row) => ImportAnnotation
}

/** A row's id as a number to keep, as a problem, or as nothing (0, or several files). */
function ownId(row: Row, options: CocoFileOptions): number | undefined {
  const { id } = row
  return options.prefix === undefined && Number.isSafeInteger(id) && (id as number) > 0 ? (id as number) : undefined
}

const prefixed = (key: Key, { prefix }: CocoFileOptions): Key => (prefix === undefined ? key : `${prefix}#${key}`)

/** `.../val2017/000000397133.jpg` of an address. */
function nameFromAddress(address: unknown): string | null {
  const text = textOf(address)
  return text === null ? null : text.split(/[?#]/)[0]?.split('/').slice(-2).join('/') || null
}

/** LVIS's lists of classes on an image. */
function classList(field: 'absent' | 'notExhaustive', value: unknown, options: CocoFileOptions): Partial<ImportImage> {
  const keys = Array.isArray(value) ? value.map(cocoKey).filter((key) => key !== null) : []
  return keys.length === 0 ? {} : { [field]: keys.map((key) => prefixed(key, options)) }
}

export function* readCocoImage(row: Row, where: string, options: CocoFileOptions): Generator<ImportItem> {
  const key = cocoKey(row.id)
  if (key === null) return yield problem(where, `the image's id ${JSON.stringify(row.id) ?? ''} is no whole number`)
  if (typeof key === 'number' && key < 0) return yield problem(where, `the image's id ${key} is negative`)
  const fileName = textOf(row.file_name) ?? nameFromAddress(row.coco_url) ?? nameFromAddress(row.url)
  if (fileName === null) return yield problem(where, 'the image has no file_name')
  if (key === 0) yield note(ZERO_IDS)
  const attributes = isRow(row.attributes) ? row.attributes : {}
  const original = textOf(attributes.source_file_name)
  // what Roboflow's picture was called before it was uploaded
  const uploaded = isRow(row.extra) ? textOf(row.extra.name) : null
  const id = ownId(row, options)
  const image: ImportImage = {
    kind: 'image',
    key: prefixed(key, options),
    fileName: original ?? (options.folder === undefined ? fileName : `${options.folder}/${fileName}`),
    width: sideOf(row.width),
    height: sideOf(row.height),
    where,
    ...(original === null ? {} : { copyName: fileName }),
    ...(uploaded === null ? {} : { otherNames: [uploaded] }),
    ...(id === undefined ? {} : { id }),
    ...(options.prefix === undefined ? {} : { shared: true }),
    ...classList('absent', row.neg_category_ids, options),
    ...classList('notExhaustive', row.not_exhaustive_category_ids, options),
  }
  yield image
}

export function* readCocoCategory(row: Row, where: string, options: CocoFileOptions): Generator<ImportItem> {
  const key = cocoKey(row.id)
  if (key === null) return yield problem(where, `the class's id ${JSON.stringify(row.id) ?? ''} is no whole number`)
  const name = textOf(row.name)
  if (name === null) return yield problem(where, `class ${key} has no name`)
  const id = ownId(row, options)
  const category: ImportCategory = {
    kind: 'category',
    key: prefixed(key, options),
    name,
    where,
    ...(id === undefined ? {} : { id }),
  }
  yield category
}

/** What our own export wrote into `attributes` (and `score`). */
function ownFields(row: Row, attributes: Row): Partial<ImportAnnotation> {
  const fields: Partial<ImportAnnotation> = {}
  const status = attributes.status
  if (typeof status === 'string' && STATUSES.has(status)) fields.status = status as 'accepted'
  const sides = [attributes.model_x, attributes.model_y, attributes.model_width, attributes.model_height]
  const modelBbox = bboxOf(sides)
  const known = modelBbox?.every(Number.isFinite) === true && modelBbox[2] > 0 && modelBbox[3] > 0
  const score = numberOf(attributes.model_score) ?? numberOf(row.score)
  const caption = textOf(attributes.model_caption)
  const hash = textOf(attributes.model_hash)
  if (known || score !== null || caption !== null || hash !== null) {
    fields.score = score
    fields.model = { bboxXywh: known ? modelBbox : null, caption, score, hash }
  }
  const at = attributes.decided_at
  const ms = attributes.decision_ms
  if (Number.isSafeInteger(at) && (at as number) >= 0) {
    fields.decided = { at: at as number, ms: Number.isSafeInteger(ms) && (ms as number) >= 0 ? (ms as number) : null }
  }
  return fields
}

export function* readCocoBox(row: Row, where: string, options: CocoFileOptions): Generator<ImportItem> {
  const imageKey = cocoKey(row.image_id)
  if (imageKey === null)
    return yield problem(where, `image_id ${JSON.stringify(row.image_id) ?? 'is missing'} names no image`)
  const id = row.id
  const isText = typeof id === 'string' && id !== ''
  if (id !== undefined && id !== null && !isText && !(Number.isSafeInteger(id) && (id as number) >= 0)) {
    return yield problem(where, `the id ${JSON.stringify(id)} is no whole number from 1`)
  }
  if (id === 0) yield note(ZERO_IDS)
  if (isText) yield note(TEXT_IDS)
  const categoryKey = row.category_id === undefined || row.category_id === null ? null : cocoKey(row.category_id)
  if (categoryKey === null && row.category_id !== undefined && row.category_id !== null) {
    return yield problem(where, `category_id ${JSON.stringify(row.category_id)} names no class`)
  }
  const shape = readSegmentation(row.segmentation)
  if (shape !== null && 'reason' in shape) return yield problem(where, shape.reason)
  let bbox: BboxXywh | null = bboxOf(row.bbox)
  if (
    bbox === null &&
    row.bbox !== undefined &&
    row.bbox !== null &&
    !(Array.isArray(row.bbox) && row.bbox.length === 0)
  ) {
    return yield problem(where, `bbox ${JSON.stringify(row.bbox)?.slice(0, 80)} is not four numbers`)
  }
  bbox ??= shape?.bbox ?? null
  if (bbox === null) return yield problem(where, 'it has neither a bbox nor a segmentation')
  if (Array.isArray(row.keypoints)) yield note('Key points are left out.')
  const given = isRow(row.attributes) ? row.attributes : {}
  const attributes = attributesFrom(given, OWN)
  const extras: AnnotationExtras = {
    ...(shape === null ? {} : { segmentation: shape.segmentation }),
    ...(row.iscrowd === 1 ? { iscrowd: 1 as const } : {}),
    ...(attributes === null ? {} : { attributes }),
  }
  const kept = ownId(row, options)
  const caption = textOf(row.caption) ?? textOf(given.caption)
  const annotation: ImportAnnotation = {
    kind: 'annotation',
    imageKey: prefixed(imageKey, options),
    // a box without a class of its own was called "object" by our export
    categoryKey: categoryKey === null ? null : prefixed(categoryKey, options),
    bboxXywh: bbox,
    caption,
    where,
    ...(kept === undefined ? {} : { id: kept }),
    ...((numberOf(row.area) ?? 0) > 0 ? { area: row.area as number } : {}),
    ...(Object.keys(extras).length === 0 ? {} : { extras }),
    ...ownFields(row, given),
  }
  yield options.refine === undefined ? annotation : options.refine(annotation, row)
}

/** `annotations[7]`, behind the file's name where there are several. */
export function placeOf({ list, index }: JsonEntry, { prefix }: CocoFileOptions): string {
  const place = index === null ? list : `${list}[${index}]`
  return prefix === undefined ? place : `${prefix}: ${place}`
}

/** One file of images, annotations and categories, in whatever order. */
export function* readCocoFile(options: CocoFileOptions): Generator<ImportItem> {
  for (const entry of readJson(readBytes(options.path, options.onBytes), basename(options.path))) {
    const { list, value, index, error } = entry
    if (list !== 'images' && list !== 'annotations' && list !== 'categories') continue
    const where = placeOf(entry, options)
    if (error !== undefined) yield problem(where, error)
    else if (!isRow(value) || index === null) yield problem(where, 'is no object')
    else if (list === 'annotations') yield* readCocoBox(value, where, options)
    else if (list === 'images') yield* readCocoImage(value, where, options)
    else yield* readCocoCategory(value, where, options)
  }
}

/** Names of a folder's JSON files that are of a kind. */
export const jsonFilesIn = (folder: string, wanted: (path: string) => boolean): string[] =>
  listFilesBelow(folder, undefined, (name) => name.toLowerCase().endsWith('.json')).filter((name) =>
    wanted(join(folder, name)),
  )

/** How one file of a folder is to be read: with ids of its own where there are `several`, pictures beside it or not. */
export function optionsFor(input: ImportInput, name: string, several: boolean): CocoFileOptions {
  const folder = dirname(name)
  const beside = folder !== '.' && firstImageLiesIn(input.path, folder, name)
  return {
    path: join(input.path, name),
    onBytes: input.onBytes,
    ...(several ? { prefix: name } : {}),
    ...(beside ? { folder } : {}),
  }
}

/** The files of a folder that `wanted` says are of this format, each read with ids of its own. */
export function* readCocoFiles(
  input: ImportInput,
  wanted: (path: string) => boolean,
  refine?: CocoFileOptions['refine'],
): Generator<ImportItem> {
  const refining = refine === undefined ? {} : { refine }
  if (!input.isFolder) return yield* readCocoFile({ path: input.path, onBytes: input.onBytes, ...refining })
  const names = jsonFilesIn(input.path, wanted)
  for (const name of names) yield* readCocoFile({ ...optionsFor(input, name, names.length > 1), ...refining })
}

/** Whether pictures lie beside their file, as in `train/_annotations.coco.json`. */
function firstImageLiesIn(root: string, folder: string, name: string): boolean {
  for (const { list, value } of readJson(readBytes(join(root, name)), name)) {
    if (list === 'images' && isRow(value)) return isFileInside(root, `${folder}/${String(value.file_name)}`)
  }
  return false
}
