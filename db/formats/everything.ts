/**
 * Everything: a line of JSON for each class, image, box and turn of the talk, with who said what and when. What comes out
 * of an import of it into an empty project over the same pictures is the same file, to the byte.
 */
import { basename } from 'node:path'
import { z } from 'zod'
import { Annotation, Category, ImageRecord, Message } from '../records/records.ts'
import type { Format } from './format.ts'
import { type ImportItem, problem } from './items.ts'
import { exportFile } from './output.ts'
import { bestOf } from './probe.ts'
import { type ImportInput, readLines } from './textFile.ts'

const VERSION = 1
const EverythingImage = ImageRecord.pick({
  fileName: true,
  width: true,
  height: true,
  contentSha256: true,
  done: true,
  proposedAt: true,
})
const EverythingBox = Annotation.omit({ imageId: true, categoryId: true }).extend({
  image: z.string(),
  category: z.string().nullable(),
})
const EverythingTurn = Message.omit({ imageId: true }).extend({ image: z.string() })
const Line = z.union([
  z.object({ gromatic: z.literal(VERSION) }),
  z.object({ category: Category }),
  z.object({ image: EverythingImage }),
  z.object({ annotation: EverythingBox }),
  z.object({ message: EverythingTurn }),
])

function itemOf(line: z.infer<typeof Line>, where: string): ImportItem | null {
  if ('gromatic' in line) return null
  if ('category' in line) {
    const { id, name, color } = line.category
    return { kind: 'category', key: name, id, name, color, where }
  }
  if ('image' in line) {
    const { fileName, width, height, contentSha256, done, proposedAt } = line.image
    return { kind: 'image', key: fileName, fileName, width, height, contentSha256, state: { done, proposedAt }, where }
  }
  if ('message' in line) {
    const { image, id, ...message } = line.message
    return { kind: 'message', imageKey: image, id, message, where }
  }
  const { id, image, category, bboxXywh, caption, provenance, status, extras, decidedAt, decisionMs, ...model } =
    line.annotation
  return {
    kind: 'annotation',
    imageKey: image,
    categoryKey: category,
    id,
    bboxXywh,
    exact: true,
    caption,
    provenance,
    status,
    model: {
      bboxXywh: model.modelBboxXywh,
      caption: model.modelCaption,
      score: model.modelScore,
      hash: model.modelHash,
    },
    decided: { at: decidedAt, ms: decisionMs },
    where,
    ...(extras === undefined ? {} : { extras }),
  }
}

function* read(input: ImportInput): Generator<ImportItem> {
  const file = basename(input.path)
  for (const { line, number } of readLines(input.path, input.onBytes)) {
    if (line.trim() === '') continue
    const where = `${file} line ${number}`
    let value: unknown
    try {
      value = JSON.parse(line)
    } catch (error) {
      yield problem(where, `is no JSON (${(error as Error).message})`)
      continue
    }
    const parsed = Line.safeParse(value)
    if (!parsed.success) {
      const kind = typeof value === 'object' && value !== null ? (Object.keys(value)[0] ?? 'line') : 'line'
      yield problem(where, `the ${kind.slice(0, 40)} is not as it should be`)
      continue
    }
    const item = itemOf(parsed.data, where)
    if (item !== null) yield item
  }
}

export const everything: Format = {
  name: 'Everything (JSON lines)',
  shape: 'file',
  extension: '.jsonl',
  keeps:
    'All of it: boxes of every verdict, who made them, times, what the model said, classes with colours, the talk.',
  loses: 'Only the history of changes, and the pictures themselves.',
  reader: {
    sniff: (probe) =>
      bestOf(probe, ['.jsonl', '.ndjson'], (name) => (/^\{"gromatic":1\}/.test(probe.head(name)) ? 1 : 0)),
    read,
  },
  async export(source, options) {
    const names = new Map(source.categories.map(({ id, name }) => [id, name]))
    const lines = (rows: object[]): string => rows.map((row) => `${JSON.stringify(row)}\n`).join('')
    let count = 0
    const report = await exportFile(source, options, {
      head: lines([
        { gromatic: VERSION },
        ...source.categories.map(({ id, name, color }) => ({ category: { id, name, color } })),
      ]),
      image({ item: { image, annotations } }) {
        const { fileName, width, height, contentSha256, done, proposedAt } = image
        count += annotations.length
        return lines([
          { image: { fileName, width, height, contentSha256, done, proposedAt } },
          ...annotations.map(({ imageId: _imageId, categoryId, id, ...row }) => ({
            annotation: {
              id,
              image: fileName,
              category: categoryId === null ? null : (names.get(categoryId) ?? null),
              ...row,
            },
          })),
          ...source
            .messages(image.id)
            .map(({ imageId: _imageId, id, ...row }) => ({ message: { id, image: fileName, ...row } })),
        ])
      },
      tail: () => '',
    })
    return { ...report, annotations: count, categories: source.categories.length, notes: [] }
  },
}
