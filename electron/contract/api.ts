/**
 * The contract of the application: every call stated once. The window, the command line's `call` and the tests use
 * nothing else. Values are JSON-safe, so IPC and WebSocket carry the same. A `query` reads, a `command` writes one
 * revision (or changes the application's state), a `job` takes long: it streams progress and can be cancelled.
 */
import { z } from 'zod'
import { FORMAT_NAMES } from '../../db/records/formatNames.ts'
import {
  Annotation,
  BboxXywh,
  Category,
  Id,
  ImageRecord,
  ImageSummary,
  Message,
  Project,
  Revision,
  SkippedFile,
} from '../../db/records/records.ts'
import { ModelTest, WantedProvider } from './engineProtocol.ts'

const query = <I extends z.ZodType, O extends z.ZodType>(input: I, output: O) =>
  ({ kind: 'query', input, output }) as const
const command = <I extends z.ZodType, O extends z.ZodType>(input: I, output: O) =>
  ({ kind: 'command', input, output }) as const
const job = <I extends z.ZodType, P extends z.ZodType, O extends z.ZodType>(input: I, progress: P, output: O) =>
  ({ kind: 'job', input, progress, output }) as const

const Nothing = z.object({})
/** How long work is going: `total` null while it is not known. */
export const Progress = z.object({ done: z.number(), total: z.number().nullable(), note: z.string() })
export type Progress = z.infer<typeof Progress>

export const EngineState = z.object({
  status: z.enum(['stopped', 'preparing', 'loading', 'ready', 'busy', 'crashed', 'failed']),
  /** "Demo model", or the folder's name. */
  modelName: z.string(),
  modelHash: z.string().nullable(),
  provider: z.string(),
  /** Seconds from image to proposals, last measured; null before the first. */
  secondsPerImage: z.number().nullable(),
  /** One sentence for a person: what is going on, or what went wrong and what happens next. */
  note: z.string(),
  progress: Progress.nullable(),
})
export type EngineState = z.infer<typeof EngineState>

export const ModelEntry = z.object({
  name: z.string(),
  path: z.string(),
  bytes: z.number(),
  modelHash: z.string().nullable(),
})

export const DirectoryEntry = z.object({
  name: z.string(),
  path: z.string(),
  kind: z.enum(['directory', 'project', 'image', 'other']),
})

/** What Propose streams: the boxes as soon as they are stored, then each caption as it comes. */
export const ProposeProgress = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('step'), note: z.string() }),
  z.object({ kind: z.literal('proposed'), revision: Revision }),
  z.object({ kind: z.literal('captioned'), revision: Revision, done: z.int(), total: z.int() }),
])
export type ProposeProgress = z.infer<typeof ProposeProgress>

/** What an answer streams: the visible text so far. */
export const AskProgress = z.object({ note: z.string(), text: z.string() })
export type AskProgress = z.infer<typeof AskProgress>

export const ScanReport = z.object({
  added: z.int(),
  unchanged: z.int(),
  missing: z.int(),
  skipped: z.array(SkippedFile),
})
export type ScanReport = z.infer<typeof ScanReport>

export const ExportReport = z.object({
  path: z.string(),
  images: z.int(),
  annotations: z.int(),
  categories: z.int(),
  /** Rejected proposals are written here, never into the COCO file; null when there are none. */
  rejectedPath: z.string().nullable(),
  captionsPath: z.string().nullable(),
  notes: z.array(z.string()),
  /** Everything that was written: one file or folder, or one for each part of a split. */
  files: z.array(z.string()).optional(),
})
export type ExportReport = z.infer<typeof ExportReport>

/** A data format, for the dialogs: what it is and what a way through it keeps and loses, a sentence each. */
export const FormatName = z.enum(FORMAT_NAMES)
export type FormatName = z.infer<typeof FormatName>
export const FormatInfo = z.object({
  id: FormatName,
  name: z.string(),
  /** Whether an export is one file or a folder. Imports take either, and zip files. */
  shape: z.enum(['file', 'folder']),
  /** Of the main file, with the dot; '' for folders. */
  extension: z.string(),
  keeps: z.string(),
  loses: z.string(),
})
export type FormatInfo = z.infer<typeof FormatInfo>

export const CategoryChoice = z.object({
  action: z.enum(['merge', 'create', 'skip']),
  into: z.string().min(1).max(200).optional(),
})

/** What is to be imported and how. Every choice has a default that never overwrites and never guesses. */
const importShape = {
  /** A file, folder or zip of this machine. */
  path: z.string().min(1),
  /** auto: what it looks like. */
  format: z.union([z.literal('auto'), FormatName]).default('auto'),
  /** auto: by hash where the file has one, else by name (also where folders or case differ), else by id. */
  match: z.enum(['auto', 'name', 'hash', 'id']).default('auto'),
  /** Images that the project lacks: refuse the import, leave them out, or add them as missing files. */
  missingImages: z.enum(['refuse', 'skip', 'add']).default('refuse'),
  /** Images that have boxes already: ask refuses; add puts the new boxes beside; skip leaves them alone; replace takes back
   * boxes of earlier imports that nobody touched. People's work and the model's proposals always stay. */
  conflicts: z.enum(['ask', 'add', 'skip', 'replace']).default('ask'),
  /** By the file's class name; others are merged with a class of the same name or made. */
  categories: z.record(z.string(), CategoryChoice).default({}),
  /** Leave bad rows out instead of refusing the file. */
  skipBad: z.boolean().default(false),
  /** Instead of what the format says. */
  status: z.enum(['accepted', 'proposed']).optional(),
  /** Of COCO results: the COCO file whose images and classes they number, or `project` for this project's own numbers.
   * Left out: whichever they fit, refused where both could be meant. */
  instances: z.string().min(1).optional(),
  /** Where the pictures of the file lie; those that the project lacks are copied into its folder first. */
  imagesDir: z.string().min(1).nullable().default(null),
  /** Take such pictures from the imported folder or zip itself. */
  copyImages: z.boolean().default(false),
}
export const ImportInput = z.object(importShape)

/** What an import would do: nothing is written before it is run. */
export const ImportPlan = z.object({
  format: FormatName,
  images: z.object({
    inFile: z.int(),
    matched: z.int(),
    /** Their pictures will be copied into the project first. */
    coming: z.int(),
    missing: z.int(),
    added: z.int(),
    missingExamples: z.array(z.string()),
  }),
  categories: z.array(
    z.object({
      name: z.string(),
      annotations: z.int(),
      action: z.enum(['merge', 'create', 'skip']),
      /** The class's name in the project afterwards; null when skipped. */
      into: z.string().nullable(),
    }),
  ),
  annotations: z.object({
    inFile: z.int(),
    toAdd: z.int(),
    /** The very same box is there. */
    alreadyThere: z.int(),
    leftOut: z.int(),
    toReplace: z.int(),
  }),
  messages: z.object({ inFile: z.int(), toAdd: z.int() }),
  /** Images that have boxes already and would get more. */
  conflicts: z.object({
    images: z.int(),
    annotations: z.int(),
    humanAnnotations: z.int(),
    examples: z.array(z.string()),
  }),
  /** Rows that cannot be taken, the first 200 with line or path and reason. */
  problems: z.object({ count: z.int(), first: z.array(z.object({ where: z.string(), reason: z.string() })) }),
  notes: z.array(z.string()),
  /** Why the import would be refused with these choices; null when it can go ahead. */
  refusal: z.string().nullable(),
})
export type ImportPlan = z.infer<typeof ImportPlan>

export const Settings = z.object({
  theme: z.enum(['system', 'light', 'dark']),
  language: z.enum(['en', 'zh']),
  /** Images proposed ahead in the background; 0 turns it off. */
  proposeAhead: z.int().min(0).max(20),
  model: z.string(),
  /** What computes: the fastest that works, or one by name wherever it works. Nothing said is `auto`. */
  provider: WantedProvider.optional(),
})
export type Settings = z.infer<typeof Settings>

export const api = {
  // the application
  'app.info': query(
    Nothing,
    z.object({
      version: z.string(),
      served: z.boolean(),
      samplesDir: z.string(),
      homeDir: z.string(),
      projectsDir: z.string(),
    }),
  ),
  'settings.get': query(Nothing, Settings),
  'settings.set': command(Settings.partial(), Settings),
  /** Lists a folder of this machine, for the open and save dialogs of served mode. */
  'files.list': query(
    z.object({ path: z.string() }),
    z.object({ path: z.string(), parent: z.string().nullable(), entries: z.array(DirectoryEntry) }),
  ),

  // projects
  'project.current': query(Nothing, Project.nullable()),
  'project.recent': query(Nothing, z.array(z.object({ path: z.string(), name: z.string(), openedAt: z.number() }))),
  /** Opens an existing `.gromatic` file. @throws NOT_FOUND, PROJECT_INVALID, PROJECT_NEWER */
  'project.open': command(z.object({ path: z.string() }), Project),
  /** Opens a folder of images: its project is made on first use (beside the images, or in projectsDir if that is not writable). @throws NOT_FOUND, NO_IMAGES */
  'project.openFolder': command(z.object({ path: z.string() }), Project),
  /** Makes a new project file over a folder. @throws ALREADY_EXISTS, NOT_FOUND */
  'project.create': command(z.object({ path: z.string(), imagesDir: z.string() }), Project),
  'project.close': command(Nothing, Nothing),
  /** Walks the images folder again: new files are added, vanished ones marked missing, broken ones listed with the reason. */
  'project.scan': job(Nothing, Progress, ScanReport),

  // images
  'images.list': query(
    z.object({
      offset: z.int().nonnegative().default(0),
      limit: z.int().min(1).max(5000).default(500),
      filter: z.string().default(''),
    }),
    z.object({ total: z.int(), items: z.array(ImageSummary) }),
  ),
  'images.get': query(z.object({ id: Id }), ImageSummary),
  'images.skipped': query(Nothing, z.array(SkippedFile)),
  'images.setDone': command(z.object({ id: Id, done: z.boolean() }), Revision),

  // categories
  'categories.list': query(Nothing, z.array(Category)),
  'categories.create': command(
    z.object({ name: z.string().min(1).max(200) }),
    z.object({ revision: Revision.nullable(), category: Category }),
  ),
  'categories.rename': command(z.object({ id: Id, name: z.string().min(1).max(200) }), Revision),
  'categories.setColor': command(z.object({ id: Id, color: Category.shape.color }), Revision),
  /** Removes a category; its annotations keep their boxes and go to `moveTo`, or to none. */
  'categories.delete': command(z.object({ id: Id, moveTo: Id.nullable().default(null) }), Revision),

  // annotations: every command is one revision, one undo
  'annotations.list': query(z.object({ imageId: Id }), z.array(Annotation)),
  'annotations.decide': command(
    z.object({
      ids: z.array(Id).min(1),
      decision: z.enum(['accept', 'reject', 'reset']),
      /** How long the person looked, for the record; shared by all ids. */
      elapsedMs: z.int().nonnegative().nullable().default(null),
    }),
    Revision,
  ),
  /** Accepts every proposed region of the image at or above the score. */
  'annotations.acceptAbove': command(z.object({ imageId: Id, minScore: z.number() }), Revision),
  /** A person's box: stored as accepted. */
  'annotations.create': command(
    z.object({
      imageId: Id,
      bboxXywh: BboxXywh,
      categoryId: Id.nullable().default(null),
      caption: z.string().nullable().default(null),
    }),
    z.object({ revision: Revision, annotation: Annotation }),
  ),
  /** Box, category or caption changed by a person: a proposal becomes `edited`. `categoryName` finds or makes the category in the same revision. */
  'annotations.update': command(
    z.object({
      id: Id,
      bboxXywh: BboxXywh.optional(),
      categoryId: Id.nullable().optional(),
      categoryName: z.string().min(1).max(200).optional(),
      caption: z.string().nullable().optional(),
      elapsedMs: z.int().nonnegative().nullable().default(null),
    }),
    Revision,
  ),
  'annotations.delete': command(z.object({ ids: z.array(Id).min(1) }), Revision),

  // history
  'history.list': query(
    z.object({ beforeSeq: Id.optional(), limit: z.int().min(1).max(500).default(100) }),
    z.array(Revision.omit({ diff: true }).extend({ undone: z.boolean(), imageId: Id.nullable() })),
  ),
  'history.undo': command(Nothing, Revision.nullable()),
  'history.redo': command(Nothing, Revision.nullable()),
  /** The same, telling how far it is (rows) and ready to be stopped: an import of a million boxes takes seconds. */
  'history.turn': job(z.object({ direction: z.enum(['undo', 'redo']) }), Progress, Revision.nullable()),

  // talk
  'messages.list': query(z.object({ imageId: Id }), z.array(Message)),
  'messages.clear': command(z.object({ imageId: Id }), Revision),

  // the model
  'models.list': query(Nothing, z.array(ModelEntry)),
  'models.convert': job(
    z.object({
      checkpoint: z.string(),
      out: z.string(),
      llm: z.enum(['fp32', 'fp16', 'int8', 'int4']).default('fp32'),
      vision: z.enum(['fp32', 'int8']).default('fp32'),
    }),
    Progress,
    z.object({ path: z.string(), modelHash: z.string(), bytes: z.number() }),
  ),
  'models.verify': job(
    z.object({ path: z.string() }),
    Progress,
    z.object({ ok: z.boolean(), problems: z.array(z.string()), modelHash: z.string().nullable() }),
  ),
  /** Tries every provider of this machine with a model: what runs, how fast, and why not the others. */
  'models.test': job(z.object({ path: z.string(), provider: WantedProvider.optional() }), Progress, ModelTest),
  'engine.state': query(Nothing, EngineState),
  /** Loads (or reloads) a model: `demo`, an installed name or an engine folder. Returns at once; watch `engine.state`. */
  'engine.load': command(z.object({ model: z.string() }), EngineState),

  // grounding: everything that asks the model. Results are stored before they are returned.
  /** Regions of an image with captions and categories. Old undecided proposals of the same image are replaced; people's work never. */
  'grounding.propose': job(
    z.object({
      imageId: Id,
      captions: z.boolean().default(true),
      /** Instead of the model's own threshold. */
      minScore: z.number().min(0).max(1).optional(),
    }),
    ProposeProgress,
    z.object({ proposed: z.int() }),
  ),
  /** A question in words; boxes attached by the person ride along as `<refer_box>`. Stored as two messages. */
  'grounding.ask': job(
    z.object({
      imageId: Id,
      question: z.string().min(1).max(4000),
      grounded: z.boolean().default(true),
      boxesXywh: z.array(BboxXywh).max(20).default([]),
    }),
    AskProgress,
    z.object({ question: Message, answer: Message }),
  ),
  /** Writes the model's caption (and a category from it, when there is none) into regions that people drew or chose. */
  'grounding.caption': job(
    z.object({ annotationIds: z.array(Id).min(1), detail: z.enum(['brief', 'detailed']).default('brief') }),
    AskProgress,
    z.array(Revision),
  ),
  /** Finds boxes for a phrase; they are stored as proposals with the phrase as caption, and as an answer in the talk. */
  'grounding.locate': job(
    z.object({ imageId: Id, phrase: z.string().min(1).max(500), all: z.boolean() }),
    AskProgress,
    z.object({ question: Message, answer: Message, revision: Revision.nullable() }),
  ),
  /** Turns the boxes of an answer into proposals on the image. `spanIndex` null = all of its spans. */
  'grounding.addAnswer': command(
    z.object({ messageId: Id, spanIndex: z.int().nonnegative().nullable().default(null) }),
    Revision.nullable(),
  ),

  // in and out
  'transfer.formats': query(Nothing, z.array(FormatInfo)),
  /** Which formats a dropped file or folder may be, the likeliest first. Of a zip only the preview can tell. @throws NOT_FOUND */
  'transfer.sniff': query(
    z.object({ path: z.string().min(1) }),
    z.object({ isZip: z.boolean(), candidates: z.array(z.object({ format: FormatName, sureness: z.number() })) }),
  ),
  /** Reads the whole file and says what an import of it would do; writes nothing. @throws INVALID_INPUT, NOT_FOUND */
  'transfer.preview': job(ImportInput, Progress, ImportPlan),
  /** Imports everything that the plan says in one revision (one undo), or nothing. Other writes wait until it is written. @throws INVALID_INPUT with the plan's refusal */
  'transfer.import': job(ImportInput, Progress, z.object({ plan: ImportPlan, seq: Id.nullable(), copied: z.int() })),
  'transfer.export': job(
    z.object({
      format: FormatName.default('coco'),
      /** A file, a folder (see the format's shape), or a `.zip` of either. */
      path: z.string(),
      status: z.enum(['accepted', 'all']).default('accepted'),
      copyImages: z.boolean().default(false),
      /** Copied pictures keep their folders and names instead of flat unique ones. */
      keepNames: z.boolean().default(false),
      /** Boxes without a polygon get one of their corners, in COCO. */
      polygons: z.boolean().default(false),
      /** Undecided boxes in a COCO results file beside it. */
      proposals: z.boolean().default(false),
      filter: z
        .object({
          fileName: z.string(),
          categories: z.array(z.string()).min(1),
          doneOnly: z.boolean(),
          withBoxesOnly: z.boolean(),
          minScore: z.number().min(0).max(1),
        })
        .partial()
        .default({}),
      /** Parts by the hash of each picture: the same seed gives the same parts. `{ shares: { train: 8, val: 2 } }` */
      split: z
        .object({ shares: z.record(z.string(), z.number().nonnegative()), seed: z.string().default('gromatic') })
        .optional(),
      overwrite: z.boolean().default(false),
    }),
    Progress,
    ExportReport,
  ),
} as const

export type Api = typeof api
export type CallName = keyof Api
export type JobName = { [K in CallName]: Api[K]['kind'] extends 'job' ? K : never }[CallName]
export type PlainName = Exclude<CallName, JobName>
export type Input<K extends CallName> = z.input<Api[K]['input']>
export type ParsedInput<K extends CallName> = z.output<Api[K]['input']>
export type Output<K extends CallName> = z.output<Api[K]['output']>
export type ProgressOf<K extends JobName> = z.output<Extract<Api[K], { kind: 'job' }>['progress']>

/** What the application tells without being asked. */
export const events = {
  /** After COMMIT, for every revision, whoever caused it. The project's counters ride along. */
  'workspace.revised': z.object({ revision: Revision, project: Project }),
  'project.changed': Project.nullable(),
  'images.changed': z.object({ ids: z.array(Id) }),
  /** Background proposals: what the image list shows as "computing". */
  'grounding.activity': z.object({ imageId: Id, state: z.enum(['queued', 'computing', 'idle']), note: z.string() }),
  'engine.state': EngineState,
  'settings.changed': Settings,
} as const
export type EventName = keyof typeof events
export type EventPayload<K extends EventName> = z.output<(typeof events)[K]>

/** One way to reach the services, whatever lies between: IPC, WebSocket, or nothing (tests, the command line). */
export interface Client {
  /** Runs a query or a command. @throws AppError */
  call<K extends PlainName>(name: K, input: Input<K>): Promise<Output<K>>
  /** Runs a job. Rejects with CANCELLED once `signal` aborts. @throws AppError */
  run<K extends JobName>(
    name: K,
    input: Input<K>,
    options?: { onProgress?: (progress: ProgressOf<K>) => void; signal?: AbortSignal },
  ): Promise<Output<K>>
  on<K extends EventName>(event: K, listener: (payload: EventPayload<K>) => void): () => void
  /**
   * Address of an image's pixels, upright, at most `width` pixels wide when given; another `content` (the record's hash)
   * makes another address. Pixels never travel as JSON.
   */
  imageUrl(imageId: number, width?: number, content?: string): string
  /** Told when the connection is lost and found again (always connected in process). */
  onConnection(listener: (connected: boolean) => void): () => void
}

export { ImageRecord }
