/** How each record lies in its table. JSON columns are parsed with zod on the way out; the rest is held by STRICT tables. */
import { z } from 'zod'
import { DbError } from './errors.ts'
import type { RecordOf, TableName } from './records/diff.ts'
import {
  Annotation,
  AnnotationExtras,
  BboxXywh,
  Category,
  GroundedSpan,
  ImageRecord,
  Message,
} from './records/records.ts'
import { naturalSortKey, searchKey } from './sortKey.ts'

export type SqlValue = string | number | null
export type SqlRow = Record<string, SqlValue>

export interface Codec<R> {
  schema: z.ZodType<R>
  /** Columns that a record fills, `id` first. */
  columns: readonly string[]
  toRow(record: R): SqlRow
  fromRow(row: SqlRow): R
}

function parseJson<T extends z.ZodType>(schema: T, text: SqlValue, what: string): z.output<T> {
  try {
    return schema.parse(JSON.parse(String(text)))
  } catch (error) {
    throw new DbError('PROJECT_INVALID', `The project file is damaged: ${what} cannot be read.`, { cause: error })
  }
}

const categories: Codec<Category> = {
  schema: Category,
  columns: ['id', 'name', 'color'],
  toRow: ({ id, name, color }) => ({ id, name, color }),
  fromRow: (row) => ({ id: row.id, name: row.name, color: row.color }) as Category,
}

const images: Codec<ImageRecord> = {
  schema: ImageRecord,
  columns: [
    'id',
    'file_name',
    'sort_key',
    'search_key',
    'width',
    'height',
    'file_bytes',
    'content_sha256',
    'status',
    'done',
    'proposed_at',
  ],
  toRow: (image) => ({
    id: image.id,
    file_name: image.fileName,
    sort_key: naturalSortKey(image.fileName),
    search_key: searchKey(image.fileName),
    width: image.width,
    height: image.height,
    file_bytes: image.fileBytes,
    content_sha256: image.contentSha256,
    status: image.status,
    done: image.done ? 1 : 0,
    proposed_at: image.proposedAt,
  }),
  fromRow: (row) =>
    ({
      id: row.id,
      fileName: row.file_name,
      width: row.width,
      height: row.height,
      fileBytes: row.file_bytes,
      contentSha256: row.content_sha256,
      status: row.status,
      done: row.done === 1,
      proposedAt: row.proposed_at,
    }) as ImageRecord,
}

const annotations: Codec<Annotation> = {
  schema: Annotation,
  columns: [
    'id',
    'image_id',
    'category_id',
    'x',
    'y',
    'w',
    'h',
    'caption',
    'provenance',
    'status',
    'model_x',
    'model_y',
    'model_w',
    'model_h',
    'model_caption',
    'model_score',
    'model_hash',
    'decided_at',
    'decision_ms',
    'extras',
  ],
  toRow: (annotation) => {
    const [x, y, w, h] = annotation.bboxXywh
    const [modelX, modelY, modelW, modelH] = annotation.modelBboxXywh ?? [null, null, null, null]
    return {
      id: annotation.id,
      image_id: annotation.imageId,
      category_id: annotation.categoryId,
      x,
      y,
      w,
      h,
      caption: annotation.caption,
      provenance: annotation.provenance,
      status: annotation.status,
      model_x: modelX,
      model_y: modelY,
      model_w: modelW,
      model_h: modelH,
      model_caption: annotation.modelCaption,
      model_score: annotation.modelScore,
      model_hash: annotation.modelHash,
      decided_at: annotation.decidedAt,
      decision_ms: annotation.decisionMs,
      extras: annotation.extras === undefined ? null : JSON.stringify(annotation.extras),
    }
  },
  fromRow: (row) =>
    ({
      id: row.id,
      imageId: row.image_id,
      categoryId: row.category_id,
      bboxXywh: [row.x, row.y, row.w, row.h],
      caption: row.caption,
      provenance: row.provenance,
      status: row.status,
      modelBboxXywh: row.model_x === null ? null : [row.model_x, row.model_y, row.model_w, row.model_h],
      modelCaption: row.model_caption,
      modelScore: row.model_score,
      modelHash: row.model_hash,
      decidedAt: row.decided_at,
      decisionMs: row.decision_ms,
      ...(row.extras === null || row.extras === undefined
        ? {}
        : { extras: parseJson(AnnotationExtras, row.extras, `box ${row.id}`) }),
    }) as Annotation,
}

const Spans = z.array(GroundedSpan)
const Boxes = z.array(BboxXywh)
const Regions = Message.shape.regions

const messages: Codec<Message> = {
  schema: Message,
  columns: [
    'id',
    'image_id',
    'role',
    'text',
    'spans',
    'attached_boxes',
    'regions',
    'model_hash',
    'malformed',
    'stop_reason',
    'created_at',
  ],
  toRow: (message) => ({
    id: message.id,
    image_id: message.imageId,
    role: message.role,
    text: message.text,
    spans: JSON.stringify(message.spans),
    attached_boxes: JSON.stringify(message.attachedBoxesXywh),
    regions: JSON.stringify(message.regions),
    model_hash: message.modelHash,
    malformed: message.malformed ? 1 : 0,
    stop_reason: message.stopReason,
    created_at: message.createdAt,
  }),
  fromRow: (row) =>
    ({
      id: row.id,
      imageId: row.image_id,
      role: row.role,
      text: row.text,
      spans: parseJson(Spans, row.spans ?? null, `message ${row.id}`),
      attachedBoxesXywh: parseJson(Boxes, row.attached_boxes ?? null, `message ${row.id}`),
      regions: parseJson(Regions, row.regions ?? null, `message ${row.id}`),
      modelHash: row.model_hash,
      malformed: row.malformed === 1,
      stopReason: row.stop_reason,
      createdAt: row.created_at,
    }) as Message,
}

export const codecs: { [T in TableName]: Codec<RecordOf<T>> } = { categories, images, annotations, messages }
