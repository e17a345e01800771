/** Reads a labelled data set as the importers read it, into images with what can be asked about them. */
import { existsSync, statSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { expressionsOf } from '../../../db/formats/expressions.ts'
import type { ImportAnnotation, ImportImage, ImportItem, ImportMessage, Key } from '../../../db/formats/items.ts'
import { formats } from '../../../db/formats/registry.ts'
import type { Xywh } from '../../../native-models/metrics/detection.ts'
import { AppError } from '../../contract/errors.ts'
import { uprightSize } from '../pixels.ts'
import type { EvaluationImage, EvaluationObject } from './evaluationTypes.ts'

/** What an evaluation knows of each format beyond its records. */
const known = {
  /** Every object is labelled and its caption says all there is: what is not labelled is not there. */
  synthetic: { closedCategories: true, closedCaptions: true },
  /** Every object of its classes is labelled. */
  coco: { closedCategories: true, closedCaptions: false },
  lvis: { closedCategories: false, closedCaptions: false },
  refcoco: { closedCategories: false, closedCaptions: false },
  flickr30k: { closedCategories: false, closedCaptions: false },
  'visual-genome': { closedCategories: false, closedCaptions: false },
} as const
export type EvaluationFormat = keyof typeof known
export const EVALUATION_FORMATS = Object.keys(known) as EvaluationFormat[]

export interface EvaluationData {
  /** In the order of their ids. */
  images: EvaluationImage[]
  /** Rows that could not be taken: how many, and the first of them. */
  problems: { count: number; first: string | null }
}

interface Loose {
  image: ImportImage
  objects: { item: ImportAnnotation; object: Omit<EvaluationObject, 'bboxXywh'>; expressions: string[] }[]
  sentences: ImportMessage[]
}

/**
 * @param options.path the annotations' file, or the folder that holds them
 * @param options.imagesDir where the pictures lie; default: the folder itself
 * @throws NOT_FOUND, INVALID_INPUT for a file that is not of this format, NO_IMAGES
 */
export async function readEvaluationData(options: {
  path: string
  format: EvaluationFormat
  imagesDir?: string | undefined
  /** Ask only about what belongs to this part of the data (RefCOCO: val, testA, testB, train). */
  split?: string | undefined
  signal?: AbortSignal | undefined
}): Promise<EvaluationData> {
  const path = resolve(options.path)
  if (!existsSync(path)) throw new AppError('NOT_FOUND', `There is no file or folder ${path}.`)
  const isFolder = statSync(path).isDirectory()
  const root = resolve(options.imagesDir ?? (isFolder ? path : dirname(path)))
  const loose = new Map<Key, Loose>()
  const later: (ImportAnnotation | ImportMessage)[] = []
  const categories = new Map<Key, string>()
  const problems: EvaluationData['problems'] = { count: 0, first: null }
  const reading = formats[options.format].reader.read({
    path,
    isFolder,
    onBytes: () => {
      if (options.signal?.aborted) throw new AppError('CANCELLED', 'Stopped.')
    },
  })
  for (const item of reading) take(item)

  function take(item: ImportItem): void {
    if (item.kind === 'image') loose.set(item.key, { image: item, objects: [], sentences: [] })
    else if (item.kind === 'category') categories.set(item.key, item.name)
    else if (item.kind === 'annotation' || item.kind === 'message') later.push(item)
    else if (item.kind === 'problem') {
      problems.count++
      problems.first ??= `${item.where}: ${item.reason}`
    }
  }

  for (const item of later) {
    const found = loose.get(item.imageKey)
    if (found === undefined) take({ kind: 'problem', where: item.where, reason: `there is no image ${item.imageKey}` })
    else if (item.kind === 'message') found.sentences.push(item)
    else found.objects.push({ item, ...objectOf(item, categories, options) })
  }
  if (loose.size === 0) throw new AppError('NO_IMAGES', `There is no image in ${path}.`)
  const images: EvaluationImage[] = []
  for (const entry of loose.values()) images.push(await imageOf(entry, root, categories))
  addAbsent(images, [...new Set(categories.values())], options.format)
  return { images: images.sort(byId), problems }
}

function objectOf(
  item: ImportAnnotation,
  categories: ReadonlyMap<Key, string>,
  { format, split }: { format: EvaluationFormat; split?: string | undefined },
): { object: Omit<EvaluationObject, 'bboxXywh'>; expressions: string[] } {
  const given = item.extras?.attributes ?? {}
  const asked = split === undefined || given.split === split
  const said = expressionsOf(item.extras)
  // An only expression of RefCOCO is its box's caption.
  const sole = format === 'refcoco' && said.length === 0 && item.caption ? [item.caption] : said
  const expressions = asked ? sole : []
  const captions = asked && item.caption ? [item.caption] : []
  const { expressions: _, ...attributes } = given
  const object = {
    category: item.categoryKey === null ? null : (categories.get(item.categoryKey) ?? null),
    area: item.area,
    crowd: item.extras?.iscrowd === 1,
    // RefCOCOg's captions are its expressions, each as right as the others.
    captions: format === 'refcoco' ? expressions : captions,
    attributes: format === 'synthetic' ? words(attributes) : {},
  }
  return { object, expressions }
}

const words = (attributes: Readonly<Record<string, unknown>>): Record<string, string> =>
  Object.fromEntries(
    Object.entries(attributes).filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
  )

async function imageOf(
  { image, objects, sentences }: Loose,
  root: string,
  categories: ReadonlyMap<Key, string>,
): Promise<EvaluationImage> {
  const names = (keys: readonly Key[] = []) => keys.flatMap((key) => categories.get(key) ?? [])
  const path =
    [join(root, image.fileName), join(root, 'images', image.fileName)].find(existsSync) ?? join(root, image.fileName)
  const size =
    image.width !== null && image.height !== null
      ? { width: image.width, height: image.height }
      : existsSync(path)
        ? await uprightSize(path)
        : { width: 1, height: 1 } // it is passed over when its turn comes
  const pixels = ({ bboxXywh: [x, y, w, h], relative }: ImportAnnotation): Xywh =>
    relative ? [x * size.width, y * size.height, w * size.width, h * size.height] : [x, y, w, h]
  const whole = ({ bboxXywh }: { bboxXywh: Xywh }) =>
    bboxXywh.every(Number.isFinite) && bboxXywh[2] > 0 && bboxXywh[3] > 0
  return {
    id: image.key,
    fileName: image.fileName,
    path,
    ...size,
    objects: objects.map(({ item, object }) => ({ ...object, bboxXywh: pixels(item) })).filter(whole),
    references: [
      ...objects.flatMap(({ item, expressions }) => expressions.map((phrase) => ({ phrase, bboxXywh: pixels(item) }))),
      ...sentences.flatMap(groundedPhrases),
    ].filter(whole),
    absentPhrases: [],
    absentCategories: names(image.absent),
    notExhaustive: names(image.notExhaustive),
  }
}

/** The phrases of a sentence that have boxes; several boxes of one phrase count as the box round them (the merged-box protocol). */
function groundedPhrases({ message }: ImportMessage): EvaluationImage['references'] {
  return message.spans.flatMap(({ text, boxes }) => {
    if (text === '' || boxes.length === 0) return []
    const corners = boxes.map(({ bboxXywh: [x, y, w, h] }) => [x, y, x + w, y + h] as const)
    const left = Math.min(...corners.map(([x]) => x))
    const top = Math.min(...corners.map(([, y]) => y))
    const bboxXywh: Xywh = [
      left,
      top,
      Math.max(...corners.map(([, , x]) => x)) - left,
      Math.max(...corners.map(([, , , y]) => y)) - top,
    ]
    return [{ phrase: text, bboxXywh }]
  })
}

/** What is surely not in an image: what other images have, where everything is labelled. */
function addAbsent(images: EvaluationImage[], categories: readonly string[], format: EvaluationFormat): void {
  const { closedCategories, closedCaptions } = known[format]
  const captions = [...new Set(images.flatMap(({ objects }) => objects.flatMap((object) => object.captions)))].sort()
  for (const image of images) {
    const here = new Set(image.objects.flatMap((object) => object.captions))
    const kinds = new Set(image.objects.map(({ category }) => category))
    if (closedCategories) image.absentCategories = categories.filter((name) => !kinds.has(name))
    if (closedCaptions) {
      image.absentPhrases = captions
        .filter((caption) => !here.has(caption))
        .map((caption) => caption.replace(/^an? /, 'the '))
    }
  }
}

const byId = ({ id: a }: EvaluationImage, { id: b }: EvaluationImage) =>
  typeof a === 'number' && typeof b === 'number' ? a - b : String(a) < String(b) ? -1 : 1
