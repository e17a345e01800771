/**
 * The engine's own process: loads a model, works off one task at a time, and stops between two steps when it is told to.
 * It ends with the application: a model that nobody can ask is only memory.
 */
import { existsSync } from 'node:fs'
import { mkdir, readdir, rename, rm, stat, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { convertCheckpoint } from '../../native-models/builders/buildModel.ts'
import { readManifest, verifyManifest } from '../../native-models/checkpoint/manifest.ts'
import { writeSafetensors } from '../../native-models/checkpoint/safetensors.ts'
import { GromaError, type GromaErrorCode } from '../../native-models/errors.ts'
import { type BoxCxcywh, boxCxcywh } from '../../native-models/geometry/boxes.ts'
import type { GroundedAnswer } from '../../native-models/inference/answers.ts'
import { GromaEngine } from '../../native-models/inference/engine.ts'
import type { Perception } from '../../native-models/inference/imageMemory.ts'
import { DecodedAhead } from '../../native-models/preprocess/decodedAhead.ts'
import { decodeImage } from '../../native-models/preprocess/image.ts'
import {
  type EngineAnswer,
  type EngineEvent,
  type EngineImage,
  type EngineProgress,
  EngineRequest,
  type EngineResult,
  type EngineTask,
} from '../contract/engineProtocol.ts'
import { AppError, type ErrorCode, toWireError } from '../contract/errors.ts'
import { helpFrom, openForMachine, runApart, testModel } from './engineMachine.ts'
import { parentPort } from './enginePort.ts'

const port = parentPort()
const send = (event: EngineEvent): void => port.send(event)
const { help, onAnswer } = helpFrom(send)
const log = (level: 'info' | 'warn', message: string) => send({ type: 'log', level, message })

let engine: GromaEngine | null = null
let current: { taskId: number; controller: AbortController } | null = null
/** Requests are worked off in the order they came. */
let queue: Promise<void> = Promise.resolve()
/** What is known of the last images: a box drawn on one of them needs no second look. */
const perceptions = new Map<string, Perception>()
const MAX_PERCEPTIONS = 32
/** Captions that were done when a person's task cut the others off, by image and regions. */
const cutOff = new Map<string, (string | undefined)[]>()
const MAX_CUT_OFF = 8
const decoded = new DecodedAhead()

/** How often a task says that its steps go on; the timer cannot fire inside a step. */
const STEP_MS = 2_000
/** What loading left for later is opened when nobody has asked for anything for so long. */
const IDLE_MS = 200
let idle: NodeJS.Timeout | null = null

process.on('SIGINT', () => {}) // Ctrl-C reaches the whole group; the application decides what ends
port.onClose(() => process.exit(0))
port.onMessage((raw) => {
  const parsed = EngineRequest.safeParse(raw)
  if (!parsed.success) return send({ type: 'log', level: 'error', message: `Unknown request: ${parsed.error.message}` })
  const request = parsed.data
  if (request.type === 'cancel') {
    if (current?.taskId === request.taskId) current.controller.abort()
    return
  }
  if (request.type === 'next') {
    if (!perceptions.has(perceptionKey(request.image))) decoded.begin(request.image)
    return
  }
  if (request.type === 'helped' || request.type === 'helping') return onAnswer(request)
  if (request.type === 'shutdown') process.exit(0)
  if (idle !== null) clearTimeout(idle)
  queue = queue.then(() => (request.type === 'load' ? load(request) : handle(request))).then(whenIdle)
})

/** Opens what loading left for later, unless somebody asks for something first. */
function whenIdle(): void {
  if (idle !== null) clearTimeout(idle)
  idle = setTimeout(() => {
    engine?.openRest().catch((error: Error) => send({ type: 'log', level: 'error', message: error.message }))
  }, IDLE_MS)
  idle.unref()
}

type TaskRequest = Extract<EngineRequest, { type: 'run' | 'convert' | 'verify' | 'test' | 'apart' }>

async function handle(request: TaskRequest): Promise<void> {
  const { taskId } = request
  const controller = new AbortController()
  current = { taskId, controller }
  const { signal } = controller
  let step = ''
  const progress = (event: EngineProgress) => {
    if (event.kind === 'step') step = event.note
    send({ type: 'progress', taskId, progress: event })
  }
  const copying = (at: { done: number; total: number | null; note: string }) => send({ type: 'copying', taskId, ...at })
  const note = (done: number, note: string) => copying({ done, total: 1, note })
  const alive = setInterval(() => request.type === 'run' && progress({ kind: 'step', note: step }), STEP_MS)
  try {
    send({ type: 'result', taskId, result: await work() })
  } catch (error) {
    send({ type: 'failed', taskId, error: wireError(signal.aborted ? cancelled() : error) })
  } finally {
    clearInterval(alive)
    current = null
  }

  async function work(): Promise<unknown> {
    switch (request.type) {
      case 'run':
        return await runTask(request.task, progress, signal)
      case 'convert':
        return convert(request.checkpointDir, request.outDir, { ...request, onProgress: copying, signal })
      case 'verify':
        return verify(request.modelDir, copying, signal)
      case 'test':
        if (request.checkpointDir !== null && !existsSync(request.modelDir))
          await prepare(request.checkpointDir, request.modelDir, note)
        return testModel(request.modelDir, request, { help, log, note, signal })
      case 'apart':
        return runApart(request.job, note)
      default:
        return request satisfies never
    }
  }
}

type Copying = (at: { done: number; total: number | null; note: string }) => void

// ---- models

async function load(request: Extract<EngineRequest, { type: 'load' }>): Promise<void> {
  const { modelDir, checkpointDir } = request
  const loading = (done: number, note: string) => send({ type: 'loading', done, total: 1, note })
  try {
    await engine?.close()
    engine = null
    perceptions.clear()
    cutOff.clear()
    if (checkpointDir !== null && !existsSync(modelDir)) await prepare(checkpointDir, modelDir, loading)
    const open = () => openForMachine(modelDir, request, { help, log, note: loading })
    engine = await open().catch(async (error: unknown) => {
      // A prepared copy that is damaged or stale is only a copy.
      if (checkpointDir === null || (error as GromaError).code === 'OUT_OF_MEMORY') throw error
      await rm(modelDir, { recursive: true, force: true })
      await prepare(checkpointDir, modelDir, loading)
      return open()
    })
    const { name, modelHash, provider, maxRegions, scoreThreshold } = engine.info
    send({ type: 'ready', info: { name, modelHash, provider, maxRegions, scoreThreshold } })
  } catch (error) {
    engine = null
    send({ type: 'loadFailed', error: wireError(error) })
  }
}

async function prepare(
  checkpointDir: string,
  modelDir: string,
  loading: (done: number, note: string) => void,
): Promise<void> {
  await mkdir(dirname(modelDir), { recursive: true })
  await removeLeftovers(modelDir)
  try {
    await convertCheckpoint(checkpointDir, modelDir, {
      onProgress: ({ step, fraction }) => loading(fraction, `Preparing the model for this machine: ${words(step)}`),
    })
  } catch (error) {
    if (!existsSync(modelDir)) throw error // else another process was faster: its folder is as good
  }
}

/** What conversions of this model left behind that were killed; one that is still being written is younger. */
async function removeLeftovers(modelDir: string): Promise<void> {
  for (const name of await readdir(dirname(modelDir))) {
    if (!name.startsWith(`.${basename(modelDir)}.`)) continue
    const path = join(dirname(modelDir), name)
    const age = Date.now() - (await stat(path).catch(() => ({ mtimeMs: Date.now() }))).mtimeMs
    if (age > 3_600_000) await rm(path, { recursive: true, force: true })
  }
}

async function convert(
  checkpointDir: string,
  outDir: string,
  options: { llm: string; vision: string; onProgress: Copying; signal: AbortSignal },
): Promise<{ path: string; modelHash: string; bytes: number }> {
  const { llm, vision, onProgress, signal } = options
  await convertCheckpoint(checkpointDir, outDir, {
    llm,
    vision,
    signal,
    onProgress: ({ step, fraction }) => onProgress({ done: fraction, total: 1, note: `Converting: ${words(step)}` }),
  })
  const { modelHash, files } = await readManifest(outDir)
  return { path: outDir, modelHash, bytes: files.reduce((sum, { bytes }) => sum + bytes, 0) }
}

/** Hashes against the manifest; then shapes, by loading what it says. */
async function verify(modelDir: string, onProgress: Copying, signal: AbortSignal) {
  const { modelHash } = await readManifest(modelDir)
  const found = await verifyManifest(modelDir, {
    signal,
    onProgress: (done, total) => onProgress({ done, total, note: `Checking ${basename(modelDir)}` }),
  })
  const problems = found.map(({ message }) => message)
  if (problems.length === 0) {
    try {
      await (await GromaEngine.open(modelDir, { signal, threads: 1 })).close()
    } catch (error) {
      problems.push((error as Error).message)
    }
  }
  return { ok: problems.length === 0, problems, modelHash }
}

// ---- tasks

async function runTask(
  task: EngineTask,
  progress: (event: EngineProgress) => void,
  signal: AbortSignal,
): Promise<EngineResult<EngineTask['kind']>> {
  if (engine === null) throw new AppError('ENGINE_FAULT', 'No model is loaded.')
  const groma = engine
  if (task.kind === 'trace') return trace(groma, task, signal)
  const startedAt = performance.now()
  const perception = await perceive(groma, task.image, progress, signal)
  switch (task.kind) {
    case 'propose': {
      const { scoreThreshold, captions } = task
      const regions = groma
        .propose(perception, scoreThreshold === undefined ? {} : { scoreThreshold })
        .map(({ boxCxcywh: box, score }) => ({ boxCxcywh: four(box), score: finite(score) }))
      const seconds = (performance.now() - startedAt) / 1000
      progress({ kind: 'regions', regions, seconds })
      const texts = captions ? await describeAll(regions.map((region) => region.boxCxcywh)) : []
      return { regions: regions.map((region, i) => ({ ...region, caption: texts[i] ?? null })), seconds }
    }
    case 'caption':
      return { captions: await describe(task.boxesCxcywh, task.detail, tell) }
    case 'ask': {
      progress({ kind: 'step', note: 'Answering' })
      const { question, grounded } = task
      const onText = (text: string) => progress({ kind: 'text', text })
      return answerOf(
        await groma.ask(perception, { question, grounded, boxesCxcywh: task.boxesCxcywh.map(box), onText, signal }),
      )
    }
    case 'locate':
      progress({ kind: 'step', note: 'Looking for it' })
      return answerOf(
        await groma.locate(perception, {
          phrase: task.phrase,
          all: task.all,
          onText: (text) => progress({ kind: 'text', text }),
          signal,
        }),
      )
    case 'prepare':
      await groma.prepare(perception, { signal })
      return {}
    case 'proposals':
      return {
        proposals: groma
          .allProposals(perception)
          .map(({ boxCxcywh: box, score }) => ({ boxCxcywh: four(box), score: finite(score) })),
      }
    default:
      return task satisfies never
  }

  function tell(index: number, text: string): void {
    progress({ kind: 'caption', index, text })
  }

  /** Describes proposed regions; what an earlier try had done before it was cut off is told at once. */
  async function describeAll(boxes: readonly Four[]): Promise<string[]> {
    const name = JSON.stringify([perceptionKey(task.image), boxes])
    const texts = cutOff.get(name) ?? []
    cutOff.delete(name)
    for (const [index, text] of texts.entries()) if (text !== undefined) tell(index, text)
    const missing = boxes.flatMap((_, index) => (texts[index] === undefined ? [index] : []))
    if (missing.length === 0) return texts as string[]
    const places = missing.map((index) => boxes[index]!)
    try {
      await describe(places, 'brief', (place, text) => {
        texts[missing[place]!] = text
        tell(missing[place]!, text)
      })
    } catch (error) {
      if (texts.length > 0) keepLast(cutOff, MAX_CUT_OFF, name, texts)
      throw error
    }
    return texts as string[]
  }

  async function describe(
    boxes: readonly Four[],
    detail: 'brief' | 'detailed',
    told: (index: number, text: string) => void,
  ): Promise<string[]> {
    progress({
      kind: 'step',
      note: boxes.length === 1 ? 'Describing the region' : `Describing ${boxes.length} regions`,
    })
    const onCaption = (index: number, { text }: { text: string }) => told(index, text)
    // one caption is read as it is written; many come whole, one after the other
    const onText = (_: number, text: string) => progress({ kind: 'text', text })
    const streamed = task.kind === 'caption' && boxes.length === 1 ? { onText } : {}
    const captions = await groma.caption(perception, boxes.map(box), { detail, onCaption, ...streamed, signal })
    return captions.map(({ text }) => text)
  }
}

type Four = [number, number, number, number]
const box = ([cx, cy, w, h]: Four): BoxCxcywh => boxCxcywh(cx, cy, w, h)
/** Numbers that are none cannot cross the wire: such a region becomes an empty box, which nobody shows. */
const four = (at: BoxCxcywh): Four => (at.every(Number.isFinite) ? [at[0], at[1], at[2], at[3]] : [0, 0, 0, 0])
const finite = (score: number): number => (Number.isFinite(score) ? score : 0)

/** A picture that became a square in another way is another one. */
const perceptionKey = ({ key, resize = 'pillow' }: EngineImage) => (resize === 'pillow' ? key : `${key}|${resize}`)

async function perceive(
  groma: GromaEngine,
  image: EngineImage,
  progress: (event: EngineProgress) => void,
  signal: AbortSignal,
): Promise<Perception> {
  const { resize = 'pillow' } = image
  const key = perceptionKey(image)
  const known = perceptions.get(key)
  if (known === undefined) progress({ kind: 'step', note: 'Looking at the image' })
  const perception = known ?? (await groma.perceive(await decoded.take(image), { key, resize, signal }))
  keepLast(perceptions, MAX_PERCEPTIONS, key, perception)
  return perception
}

/** Keeps a value as the youngest of a map, whose oldest goes when there are too many. */
function keepLast<T>(map: Map<string, T>, most: number, key: string, value: T): void {
  map.delete(key)
  map.set(key, value)
  const [oldest] = map.keys()
  if (map.size > most) map.delete(oldest!)
}

function answerOf(answer: GroundedAnswer): EngineAnswer {
  const { text, malformed, pointed, outputIds, stopReason } = answer
  return {
    text,
    pointed,
    spans: answer.spans.map((span) => ({
      ...span,
      regions: span.regions.map(({ index, boxCxcywh: at, score }) => ({
        index,
        boxCxcywh: four(at),
        score: finite(score),
      })),
    })),
    regions: answer.regions.map(({ boxCxcywh: at, score }) => ({ boxCxcywh: four(at), score: finite(score) })),
    outputIds,
    stopReason: stopReason === 'end' ? 'eos' : stopReason,
    malformed,
  }
}

async function trace(groma: GromaEngine, task: Extract<EngineTask, { kind: 'trace' }>, signal: AbortSignal) {
  const { query, order, maxNewTokens, allTensors, outPath, tensorsPath } = task
  const boxesCxcywh = task.boxesCxcywh.map(box)
  const image = await decodeImage(task.image.path)
  const result = await groma.trace(image, { query, boxesCxcywh, order, maxNewTokens, allTensors, signal })
  if (tensorsPath !== null) await whole(tensorsPath, (path) => writeSafetensors(path, result.tensors))
  await whole(outPath, (path) => writeFile(path, `${JSON.stringify(result.case)}\n`))
  return {}
}

/** Written beside and renamed, so that a file is there whole or not at all. */
async function whole(path: string, write: (temporary: string) => Promise<unknown>): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.${process.pid}.tmp`)
  try {
    await write(temporary)
    await rename(temporary, path)
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
}

// ---- errors

const cancelled = () => new AppError('CANCELLED', 'Cancelled.')
const words = (step: string) => step.replaceAll('-', ' ')

/** The model side's own codes in the words of the contract; the others are the same. */
const CODES: Partial<Record<GromaErrorCode, ErrorCode>> = {
  CHECKPOINT_MISSING: 'NOT_FOUND',
  INPUT_INVALID: 'INVALID_INPUT',
  OUT_OF_MEMORY: 'ENGINE_FAULT',
  TIMEOUT: 'ENGINE_FAULT',
  NUMERIC_FAULT: 'ENGINE_FAULT',
}

function wireError(error: unknown) {
  const wire = toWireError(error)
  const code = error instanceof GromaError ? CODES[error.code] : undefined
  return code === undefined ? wire : { ...wire, code }
}
