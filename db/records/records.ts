/**
 * The records of a project, each stated once. Everything that enters or leaves the database, the wire or an
 * export is one of these shapes. Boxes are `[x, y, width, height]` in pixels of the EXIF-upright image, unrounded.
 */
import { z } from 'zod'

export const Id = z.int().positive()
export const Sha256 = z.string().regex(/^[0-9a-f]{64}$/)
/** Milliseconds since the epoch: for people to read, never for ordering (order is by id or by revision sequence). */
export const Timestamp = z.int().nonnegative()

/** `[x, y, width, height]`, pixels of the upright image; width and height are positive. */
export const BboxXywh = z.tuple([z.number(), z.number(), z.number().positive(), z.number().positive()])
export type BboxXywh = z.infer<typeof BboxXywh>

export const Provenance = z.enum(['model', 'human', 'import'])
export type Provenance = z.infer<typeof Provenance>

/** proposed -> accepted | edited | rejected; edited means "accepted after a person changed box, category or caption". */
export const AnnotationStatus = z.enum(['proposed', 'accepted', 'edited', 'rejected'])
export type AnnotationStatus = z.infer<typeof AnnotationStatus>

export const Category = z.object({
  id: Id,
  name: z.string().min(1).max(200),
  /** `#rrggbb` */
  color: z.string().regex(/^#[0-9a-f]{6}$/),
})
export type Category = z.infer<typeof Category>

export const ImageStatus = z.enum(['ready', 'missing'])
export const ImageRecord = z.object({
  id: Id,
  /** Relative to the project's images folder, `/` separators, NFC as found on disk. */
  fileName: z.string().min(1),
  /** Pixels after applying EXIF orientation. */
  width: z.int().positive(),
  height: z.int().positive(),
  fileBytes: z.int().nonnegative(),
  contentSha256: Sha256,
  status: ImageStatus,
  /** Set when a person says "done with this image" (or decides its last proposal). */
  done: z.boolean(),
  /** True once the model's proposals for this image have been stored, even if there were none. */
  proposedAt: Timestamp.nullable(),
})
export type ImageRecord = z.infer<typeof ImageRecord>

/** What other programs knew about a box beyond box, class and caption: kept as it came, written again on export. */
export const AnnotationExtras = z.object({
  /** COCO's: polygons `[[x1, y1, x2, y2, …], …]` in pixels, or run lengths of the image by columns. True for the box it came with only. */
  segmentation: z
    .union([
      z.array(z.array(z.number()).min(6)).min(1),
      z.object({
        size: z.tuple([z.int().positive(), z.int().positive()]),
        counts: z.union([z.string(), z.array(z.int().nonnegative())]),
      }),
    ])
    .optional(),
  /** COCO's: one box round many things. */
  iscrowd: z.literal(1).optional(),
  attributes: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])).optional(),
})
export type AnnotationExtras = z.infer<typeof AnnotationExtras>

export const Annotation = z.object({
  id: Id,
  imageId: Id,
  categoryId: Id.nullable(),
  bboxXywh: BboxXywh,
  caption: z.string().nullable(),
  provenance: Provenance,
  status: AnnotationStatus,
  /** What the model said, kept for ever, whatever people change above. Null for human boxes it never saw. */
  modelBboxXywh: BboxXywh.nullable(),
  modelCaption: z.string().nullable(),
  modelScore: z.number().min(0).max(1).nullable(),
  modelHash: z.string().nullable(),
  /** When the last human verdict was given, and how long the person looked before giving it. */
  decidedAt: Timestamp.nullable(),
  decisionMs: z.int().nonnegative().nullable(),
  /** Absent where there are none. */
  extras: AnnotationExtras.optional(),
})
export type Annotation = z.infer<typeof Annotation>

/** A phrase of an answer and the boxes it is grounded to. Offsets are code points in `Message.text`. */
export const GroundedSpan = z.object({
  text: z.string(),
  start: z.int().nonnegative(),
  end: z.int().nonnegative(),
  boxes: z.array(
    z.object({
      /** K of `<rK>`. */
      region: z.int().nonnegative(),
      bboxXywh: BboxXywh,
      /** Probability of the `<rK>` token: the confidence of the grounding. */
      score: z.number().min(0).max(1),
    }),
  ),
  /** K of every `<rK>` that named no region of this image. */
  unresolved: z.array(z.int().nonnegative()),
})
export type GroundedSpan = z.infer<typeof GroundedSpan>

export const Message = z.object({
  id: Id,
  imageId: Id,
  role: z.enum(['user', 'assistant']),
  text: z.string(),
  spans: z.array(GroundedSpan),
  /** Boxes that the person attached to a question. */
  attachedBoxesXywh: z.array(BboxXywh),
  /** Every region the model could name in this answer, in `<r0>..` order. Empty for questions. */
  regions: z.array(z.object({ bboxXywh: BboxXywh, score: z.number() })),
  modelHash: z.string().nullable(),
  malformed: z.boolean(),
  /** eos | length | cancelled | cycle | timeout; null for questions. */
  stopReason: z.enum(['eos', 'length', 'cancelled', 'cycle', 'timeout']).nullable(),
  createdAt: Timestamp,
})
export type Message = z.infer<typeof Message>

/** One row before and after; null = did not exist. The reverse of a change swaps the two. */
const change = <T extends z.ZodType>(row: T) => z.object({ before: row.nullable(), after: row.nullable() })
export const RecordsDiff = z.object({
  categories: z.array(change(Category)),
  annotations: z.array(change(Annotation)),
  images: z.array(change(ImageRecord)),
  messages: z.array(change(Message)),
})
export type RecordsDiff = z.infer<typeof RecordsDiff>

/** Who caused a revision. Undo walks `human` and `import` revisions only: a background proposal is never undone by Ctrl+Z. */
export const Actor = z.enum(['human', 'model', 'import', 'scan'])
export type Actor = z.infer<typeof Actor>

export const Revision = z.object({
  seq: Id,
  actor: Actor,
  /** Short and plain, for the status bar and the history: "Accept circle", "Accept 14", "Move box". */
  label: z.string(),
  /** The revision this one takes back, or puts back; null for an ordinary one. */
  undoes: Id.nullable(),
  redoes: Id.nullable(),
  createdAt: Timestamp,
  diff: RecordsDiff,
  /** Set where a revision (an import) changed too many rows to be sent along: `diff` is empty then, so read again what is shown. */
  bulkRows: z.int().positive().optional(),
})
export type Revision = z.infer<typeof Revision>

/** An image row of the file list, with what it takes to say its state in words. */
export const ImageSummary = ImageRecord.extend({
  counts: z.object({
    proposed: z.int(),
    accepted: z.int(),
    edited: z.int(),
    rejected: z.int(),
  }),
})
export type ImageSummary = z.infer<typeof ImageSummary>

export const SkippedFile = z.object({ fileName: z.string(), reason: z.string() })
export type SkippedFile = z.infer<typeof SkippedFile>

export const Project = z.object({
  /** Absolute path of the `.gromatic` file. */
  path: z.string(),
  name: z.string(),
  /** Absolute path of the images folder. */
  imagesDir: z.string(),
  readOnly: z.boolean(),
  /** A sentence for the person when something about the file is not as it should be (network drive, read-only, low disk). */
  warning: z.string().nullable(),
  imageCount: z.int(),
  doneCount: z.int(),
  decidedCount: z.int(),
  skippedCount: z.int(),
  /** Highest revision sequence, and the labels of what undo and redo would do now (null = nothing to do). */
  headSeq: z.int().nonnegative(),
  undoLabel: z.string().nullable(),
  redoLabel: z.string().nullable(),
})
export type Project = z.infer<typeof Project>
