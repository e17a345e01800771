/**
 * An engine process that does what a test tells it to: a real child that speaks the real protocol, and that crashes, hangs
 * and dawdles on request. What it is to do is said in the question, the phrase, or the model folder's name.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import {
  type EngineAnswer,
  type EngineEvent,
  EngineRequest,
  type EngineTask,
} from '../../electron/contract/engineProtocol.ts'
import { parentPort } from '../../electron/engine/enginePort.ts'

const port = parentPort()
const send = (event: EngineEvent) => port.send(event)
const cancelled = new Set<number>()
let loads = 0
let helpWanted = 0

/** Regions of every image: a circle, a star, a square, and one under a pixel wide. */
const REGIONS = [
  { boxCxcywh: [0.25, 0.25, 0.2, 0.2], score: 0.9 },
  { boxCxcywh: [0.75, 0.25, 0.2, 0.2], score: 0.6 },
  { boxCxcywh: [0.5, 0.75, 0.3, 0.3], score: 0.3 },
  { boxCxcywh: [0.5, 0.5, 0.001, 0.5], score: 0.2 },
].map(({ boxCxcywh, score }) => ({ boxCxcywh: boxCxcywh as [number, number, number, number], score }))
const CAPTIONS = ['a large red circle', 'a small blue star on the left', 'a green square', '']

port.onClose(() => process.exit(0))
process.on('SIGINT', () => {})
port.onMessage((raw) => {
  const request = EngineRequest.parse(raw)
  switch (request.type) {
    case 'load':
      loads++
      if (request.modelDir.includes('crash-at-load')) process.exit(3)
      if (request.modelDir.includes('bad-model')) {
        return send({
          type: 'loadFailed',
          error: { code: 'MODEL_INVALID', message: `${request.modelDir}: manifest.json is missing` },
        })
      }
      send({ type: 'loading', done: 0.5, total: 1, note: 'Loading the model' })
      return send({
        type: 'ready',
        info: {
          name: 'scripted',
          modelHash: 'a'.repeat(64),
          provider: request.provider === 'webgpu' ? 'webgpu' : 'cpu',
          maxRegions: 100,
          scoreThreshold: 0.15,
        },
      })
    case 'cancel':
      cancelled.add(request.taskId)
      return
    case 'shutdown':
      return process.exit(0)
    case 'run':
      return void run(request.taskId, request.task)
    case 'next':
      return send({ type: 'log', level: 'info', message: `next: ${request.image.path}` })
    case 'convert':
      return void convert(request.taskId, request.outDir)
    case 'verify':
      return send({
        type: 'result',
        taskId: request.taskId,
        result: { ok: true, problems: [], modelHash: 'a'.repeat(64) },
      })
    case 'apart':
      if (request.job.modelDir.includes('crash')) process.kill(process.pid, 'SIGSEGV')
      send({ type: 'copying', taskId: request.taskId, done: 0.5, total: 1, note: 'half-way' })
      if (request.job.modelDir.includes('hang')) hang()
      if (request.job.modelDir.includes('refuse')) {
        const error = { code: 'DISK_FULL' as const, message: 'the disk is full' }
        return send({ type: 'failed', taskId: request.taskId, error })
      }
      return send({ type: 'result', taskId: request.taskId, result: { done: request.job.modelDir } })
    case 'test': // hands the job on and tells what came of it
      helpWanted = request.taskId
      return send({
        type: 'help',
        helpId: 1,
        job: { kind: 'probe', modelDir: request.modelDir, provider: 'webgpu', all: true },
      })
    case 'helped':
      return send({ type: 'result', taskId: helpWanted, result: { result: request.result, failure: request.failure } })
    case 'helping':
      return send({ type: 'copying', taskId: helpWanted, done: request.done, total: 1, note: request.note })
    default:
      request satisfies never
  }
})

async function run(taskId: number, task: EngineTask): Promise<void> {
  const text = task.kind === 'ask' ? task.question : task.kind === 'locate' ? task.phrase : ''
  if (text === 'crash') process.kill(process.pid, 'SIGKILL')
  if (text === 'hang') hang()
  if (text === 'refuse') {
    return send({
      type: 'failed',
      taskId,
      error: { code: 'IMAGE_UNREADABLE', message: 'broken.png: the file is empty' },
    })
  }
  if (text === 'nonsense') return send({ type: 'result', taskId, result: { text: 1 } })
  if (text.startsWith('slow')) {
    for (let i = 0; i < 200; i++) {
      if (stopped(taskId)) return
      send({ type: 'progress', taskId, progress: { kind: 'text', text: `word ${i}` } })
      if (i % 5 === 4) send({ type: 'progress', taskId, progress: { kind: 'step', note: 'Answering' } })
      await sleep(20)
    }
  }
  if (task.kind === 'propose' || task.kind === 'caption') await sleep(30)
  if (stopped(taskId)) return
  send({ type: 'result', taskId, result: await resultOf(taskId, task) })
}

/** As native code does: nothing reaches this process any more but a kill. */
function hang(): never {
  while (true) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1000)
}

function stopped(taskId: number): boolean {
  if (!cancelled.has(taskId)) return false
  send({ type: 'failed', taskId, error: { code: 'CANCELLED', message: 'Cancelled.' } })
  return true
}

async function resultOf(taskId: number, task: EngineTask): Promise<unknown> {
  switch (task.kind) {
    case 'propose': {
      const regions = REGIONS.filter(({ score }) => score >= (task.scoreThreshold ?? 0))
      send({ type: 'progress', taskId, progress: { kind: 'regions', regions, seconds: 0.5 } })
      if (!task.captions) return { regions: regions.map((region) => ({ ...region, caption: null })), seconds: 0.5 }
      for (const [index] of regions.entries()) {
        send({ type: 'progress', taskId, progress: { kind: 'caption', index, text: CAPTIONS[index]! } })
        await sleep(5)
      }
      return { regions: regions.map((region, i) => ({ ...region, caption: CAPTIONS[i]! })), seconds: 0.5 }
    }
    case 'caption':
      return {
        captions: task.boxesCxcywh.map((_, i) =>
          task.detail === 'brief' ? CAPTIONS[i % 3]! : `${CAPTIONS[i % 3]} in detail`,
        ),
      }
    case 'ask':
      return {
        ...answer('a red circle next to it', 2, 12, [0, 7]),
        text: `${task.boxesCxcywh.length} boxes: ${task.question} (load ${loads})`,
      }
    case 'locate':
      return answer('', 0, 0, task.phrase === 'nothing' ? [] : task.all ? [0, 1] : [0])
    case 'proposals':
      return { proposals: REGIONS }
    case 'prepare':
    case 'trace':
      return {}
    default:
      return task satisfies never
  }
}

function answer(text: string, start: number, end: number, named: number[]): EngineAnswer {
  const known = named.filter((index) => index < REGIONS.length)
  return {
    text,
    spans:
      named.length === 0
        ? []
        : [
            {
              text: [...text].slice(start, end).join(''),
              start,
              end,
              regions: known.map((index) => ({ index, boxCxcywh: REGIONS[index]!.boxCxcywh, score: 0.8 })),
              unresolved: named.filter((index) => index >= REGIONS.length),
            },
          ],
    regions: REGIONS.slice(0, 3),
    pointed: known,
    outputIds: [1, 2],
    stopReason: 'eos',
    malformed: false,
  }
}

async function convert(taskId: number, outDir: string): Promise<void> {
  for (let i = 1; i <= 3; i++) {
    if (stopped(taskId)) return
    send({ type: 'copying', taskId, done: i, total: 3, note: 'Converting' })
    await sleep(20)
  }
  send({ type: 'result', taskId, result: { path: outDir, modelHash: 'b'.repeat(64), bytes: 3 } })
}
