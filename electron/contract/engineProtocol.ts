/**
 * Messages between the application and the engine process. Boxes are centre-x, centre-y, width, height in 0..1: the
 * engine knows nothing of pixels of the original image. Both sides parse what they receive.
 */
import { z } from 'zod'
import { WireError } from './errors.ts'

export const BoxCxcywh = z.tuple([z.number(), z.number(), z.number(), z.number()])
export const EngineRegion = z.object({ boxCxcywh: BoxCxcywh, score: z.number() })

export const EngineAnswer = z.object({
  /** Visible text, no special tokens. */
  text: z.string(),
  spans: z.array(
    z.object({
      text: z.string(),
      start: z.int(),
      end: z.int(),
      regions: z.array(z.object({ index: z.int(), boxCxcywh: BoxCxcywh, score: z.number() })),
      unresolved: z.array(z.int()),
    }),
  ),
  regions: z.array(EngineRegion),
  /** K of every `<rK>` that was said and names a region, as it came, repetitions included: what the paper counts. */
  pointed: z.array(z.int()),
  outputIds: z.array(z.int()),
  stopReason: z.enum(['eos', 'length', 'cancelled', 'cycle', 'timeout']),
  malformed: z.boolean(),
})
export type EngineAnswer = z.infer<typeof EngineAnswer>

/** The image of a task, by path; the engine decodes it itself and keeps what it computed under `key`. */
export const EngineImage = z.object({
  path: z.string(),
  key: z.string(),
  /** How it becomes a square: as the release's demo does, or (opencv) as for the paper's tables. */
  resize: z.enum(['pillow', 'opencv']).optional(),
})
export type EngineImage = z.infer<typeof EngineImage>

export const EngineTask = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('propose'),
    image: EngineImage,
    captions: z.boolean(),
    scoreThreshold: z.number().optional(),
  }),
  z.object({
    kind: z.literal('ask'),
    image: EngineImage,
    question: z.string(),
    grounded: z.boolean(),
    boxesCxcywh: z.array(BoxCxcywh),
  }),
  z.object({
    kind: z.literal('caption'),
    image: EngineImage,
    boxesCxcywh: z.array(BoxCxcywh).min(1),
    detail: z.enum(['brief', 'detailed']),
  }),
  z.object({ kind: z.literal('locate'), image: EngineImage, phrase: z.string(), all: z.boolean() }),
  /** Computes ahead what every question on the image begins with. */
  z.object({ kind: z.literal('prepare'), image: EngineImage }),
  /** Every box that the proposer puts out, in its order, before threshold and suppression: for evaluation. */
  z.object({ kind: z.literal('proposals'), image: EngineImage }),
  z.object({
    kind: z.literal('trace'),
    image: EngineImage,
    query: z.string(),
    boxesCxcywh: z.array(BoxCxcywh),
    order: z.enum(['score', 'reverse']),
    maxNewTokens: z.int().positive(),
    /** Where the engine writes; tensors do not travel as JSON. */
    outPath: z.string(),
    tensorsPath: z.string().nullable(),
    allTensors: z.boolean(),
  }),
])
export type EngineTask = z.infer<typeof EngineTask>

/** Results by task kind. */
export const engineResults = {
  propose: z.object({ regions: z.array(EngineRegion.extend({ caption: z.string().nullable() })), seconds: z.number() }),
  ask: EngineAnswer,
  caption: z.object({ captions: z.array(z.string()) }),
  locate: EngineAnswer,
  prepare: z.object({}),
  proposals: z.object({ proposals: z.array(EngineRegion) }),
  trace: z.object({}),
} as const
export type EngineResult<K extends EngineTask['kind']> = z.infer<(typeof engineResults)[K]>

/** What a running task tells on its way. */
export const EngineProgress = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('step'), note: z.string() }),
  /** propose: the regions, before any caption. */
  z.object({ kind: z.literal('regions'), regions: z.array(EngineRegion), seconds: z.number() }),
  /** propose, caption: the caption of region or box `index`. */
  z.object({ kind: z.literal('caption'), index: z.int(), text: z.string() }),
  /** ask, locate: the visible text so far. */
  z.object({ kind: z.literal('text'), text: z.string() }),
])
export type EngineProgress = z.infer<typeof EngineProgress>

export const EngineInfo = z.object({
  name: z.string(),
  modelHash: z.string(),
  provider: z.string(),
  maxRegions: z.int(),
  scoreThreshold: z.number(),
})
export type EngineInfo = z.infer<typeof EngineInfo>

export const ProviderName = z.enum(['cpu', 'webgpu', 'cuda', 'dml', 'coreml'])
export const WantedProvider = z.union([z.literal('auto'), ProviderName])
export type WantedProvider = z.infer<typeof WantedProvider>

/** Work that may crash, hang or fill the memory: done by a process of its own, which ends with it. */
export const ApartJob = z.discriminatedUnion('kind', [
  /** Tries a provider with a tiny graph and with the model's own. */
  z.object({ kind: z.literal('probe'), modelDir: z.string(), provider: ProviderName, all: z.boolean() }),
  /** Lays out weights for this machine. */
  z.object({ kind: z.literal('prepack'), modelDir: z.string(), cacheDir: z.string(), graphs: z.array(z.string()) }),
])
export type ApartJob = z.infer<typeof ApartJob>

/** What `models test` finds out. */
export const ModelTest = z.object({
  /** what runs the vision encoder */
  provider: z.string(),
  threads: z.int(),
  /** of a picture of noise, the second of two */
  secondsPerImage: z.number(),
  loadSeconds: z.number(),
  prepacked: z.boolean(),
  providers: z.array(
    z.object({
      provider: z.string(),
      verdict: z.enum(['chosen', 'slower', 'refused', 'untried']),
      reason: z.string(),
      graphs: z.array(
        z.object({
          graph: z.string(),
          half: z.boolean(),
          seconds: z.number().nullable(),
          cpuSeconds: z.number(),
          refusal: z.string().nullable(),
        }),
      ),
    }),
  ),
})
export type ModelTest = z.infer<typeof ModelTest>

const machine = {
  /** what a person asked for */
  provider: WantedProvider,
  /** where what was found out about this machine and made for it is kept; null keeps nothing */
  cacheDir: z.string().nullable(),
}

/** Less than all of the machine: for several engine processes side by side. */
export const EngineLimits = z.object({
  threads: z.int().positive(),
  /** what may be kept about images that have been seen */
  imageMemoryBytes: z.int().positive(),
})
export type EngineLimits = z.infer<typeof EngineLimits>

/** To the engine process. */
export const EngineRequest = z.discriminatedUnion('type', [
  /** `checkpointDir` set: convert it into `modelDir` first when that is missing or stale (the demo model ships as a checkpoint). */
  z.object({
    type: z.literal('load'),
    modelDir: z.string(),
    checkpointDir: z.string().nullable(),
    limits: EngineLimits.optional(),
    ...machine,
  }),
  z.object({ type: z.literal('run'), taskId: z.int(), task: EngineTask }),
  /** What the next `run` will look at: it may be decoded meanwhile. */
  z.object({ type: z.literal('next'), image: EngineImage }),
  z.object({
    type: z.literal('convert'),
    taskId: z.int(),
    checkpointDir: z.string(),
    outDir: z.string(),
    llm: z.string(),
    vision: z.string(),
  }),
  z.object({ type: z.literal('verify'), taskId: z.int(), modelDir: z.string() }),
  /** Tries every provider and says what runs, how fast, and why not the others. */
  z.object({
    type: z.literal('test'),
    taskId: z.int(),
    modelDir: z.string(),
    checkpointDir: z.string().nullable(),
    ...machine,
  }),
  /** The only request of a process that was started for this job. */
  z.object({ type: z.literal('apart'), taskId: z.int(), job: ApartJob }),
  /** Answers `help`: what the job gave, or why it did not end well. */
  z.object({ type: z.literal('helped'), helpId: z.int(), result: z.unknown(), failure: WireError.nullable() }),
  z.object({ type: z.literal('helping'), helpId: z.int(), done: z.number(), note: z.string() }),
  z.object({ type: z.literal('cancel'), taskId: z.int() }),
  z.object({ type: z.literal('shutdown') }),
])
export type EngineRequest = z.infer<typeof EngineRequest>

/** From the engine process. */
export const EngineEvent = z.discriminatedUnion('type', [
  z.object({ type: z.literal('loading'), done: z.number(), total: z.number().nullable(), note: z.string() }),
  z.object({ type: z.literal('ready'), info: EngineInfo }),
  z.object({ type: z.literal('loadFailed'), error: WireError }),
  /** Work goes on: resets the step deadline. */
  z.object({ type: z.literal('progress'), taskId: z.int(), progress: EngineProgress }),
  /** convert, verify, test, apart */
  z.object({
    type: z.literal('copying'),
    taskId: z.int(),
    done: z.number(),
    total: z.number().nullable(),
    note: z.string(),
  }),
  z.object({ type: z.literal('result'), taskId: z.int(), result: z.unknown() }),
  z.object({ type: z.literal('failed'), taskId: z.int(), error: WireError }),
  /** The application is asked to have a job done apart. */
  z.object({ type: z.literal('help'), helpId: z.int(), job: ApartJob }),
  z.object({ type: z.literal('log'), level: z.enum(['info', 'warn', 'error']), message: z.string() }),
])
export type EngineEvent = z.infer<typeof EngineEvent>
