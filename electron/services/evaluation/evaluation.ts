/** Measures a model on a labelled data set: asks image after image, keeps every answer, sums up. */
import { createHash } from 'node:crypto'
import { mkdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Progress } from '../../contract/api.ts'
import type { EngineInfo } from '../../contract/engineProtocol.ts'
import { AppError, toWireError } from '../../contract/errors.ts'
import type { EngineHost } from '../../engine/engineHost.ts'
import type { Asker, EvaluationImage, EvaluationOptions, EvaluationTask, Findings } from './evaluationTypes.ts'
import { appendKept, type KeptLine, lineKey, readKept } from './keptRows.ts'
import { captions } from './tasks/captions.ts'
import { descriptions } from './tasks/descriptions.ts'
import { groundAll } from './tasks/groundAll.ts'
import { proposals } from './tasks/proposals.ts'
import { refer } from './tasks/refer.ts'

const tasks = { proposals, refer, 'ground-all': groundAll, captions, descriptions } as const
export type EvaluationName = keyof typeof tasks
export const EVALUATION_NAMES = Object.keys(tasks) as EvaluationName[]

/** Raised when the same question may give another row than before. */
const ROWS_VERSION = 1
/** What is wrong with one image alone: it is named and passed over. */
const PASSED_OVER: readonly string[] = ['IMAGE_UNREADABLE', 'NOT_FOUND']

export interface EvaluationResult extends Findings {
  /** Images that were measured, and questions about them. */
  images: number
  questions: number
  /** Taken over from an earlier run. */
  resumed: number
  /** Seconds of this run. */
  seconds: number
  skipped: { fileName: string; reason: string }[]
}

/**
 * @param input.keepIn folder for the answers: a run that was stopped goes on from them; null keeps none
 * @throws CANCELLED, NO_IMAGES when nothing can be measured, and whatever the engine fails with
 */
export async function runEvaluation(
  engine: Pick<EngineHost, 'run' | 'info'>,
  input: {
    name: EvaluationName
    images: readonly EvaluationImage[]
    options: EvaluationOptions
    keepIn: string | null
  },
  { signal, onProgress }: { signal?: AbortSignal | undefined; onProgress?: (progress: Progress) => void } = {},
): Promise<EvaluationResult> {
  const task = tasks[input.name] as EvaluationTask<unknown>
  const info = engine.info()
  if (info === null) throw new AppError('ENGINE_FAULT', 'No model is loaded.')
  const images = input.images.filter((image) => task.questions(image, input.options) > 0)
  if (images.length === 0) {
    throw new AppError('NO_IMAGES', `No image of these data has anything to ask for ${input.name}.`)
  }
  const keptPath = input.keepIn === null ? null : join(input.keepIn, `${input.name}-${runKey(info, input)}.jsonl`)
  if (input.keepIn !== null) await mkdir(input.keepIn, { recursive: true })
  const kept = keptPath === null ? new Map<string, KeptLine>() : await readKept(keptPath)
  const keeper = keptPath === null ? null : await appendKept(keptPath)
  const startedAt = performance.now()
  const rows: { image: EvaluationImage; row: unknown }[] = []
  const skipped: EvaluationResult['skipped'] = []
  let resumed = 0
  let questions = 0
  try {
    for (const [done, image] of images.entries()) {
      if (signal?.aborted) throw new AppError('CANCELLED', 'Stopped. The same command goes on from here.')
      onProgress?.({ done, total: images.length, note: `${done + 1} of ${images.length}: ${image.fileName}` })
      const asked = await askedKey(image)
      const before = kept.get(lineKey(image.id))
      const line = before?.asked === asked ? before : await measure(image, asked)
      if (line === before) resumed++
      else await keeper?.add(line)
      if (line.skipped !== undefined) skipped.push({ fileName: image.fileName, reason: line.skipped })
      else {
        rows.push({ image, row: task.parse(line.row) })
        questions += task.questions(image, input.options)
      }
    }
  } finally {
    await keeper?.close()
  }
  if (rows.length === 0) {
    throw new AppError('NO_IMAGES', `None of ${images.length} images can be read; the first: ${skipped[0]?.reason}`)
  }
  const seconds = (performance.now() - startedAt) / 1000
  return { ...task.findings(rows, input.options), images: rows.length, questions, resumed, seconds, skipped }

  async function measure(image: EvaluationImage, asked: string): Promise<KeptLine> {
    const picture = { path: image.path, key: `${image.path}|${asked}`, resize: input.options.resize }
    const note = `Measuring on ${image.fileName}`
    // In the background: a crash of the engine's process is answered with a second try.
    const run: Asker['run'] = (question) => engine.run(question, { signal, note, priority: 'background' })
    try {
      if (asked === '') throw new AppError('NOT_FOUND', `there is no file ${image.path}`)
      return { image: image.id, asked, row: await task.ask(image, { image: picture, run }, input.options) }
    } catch (error) {
      const { code, message } = toWireError(error)
      if (!PASSED_OVER.includes(code)) throw error
      return { image: image.id, asked, row: null, skipped: message }
    }
  }
}

/** Names what a run asks of which model: another model or other options never share answers. */
function runKey(info: EngineInfo, { name, options }: { name: EvaluationName; options: EvaluationOptions }): string {
  const relevant = tasks[name].relevant.map((key) => [key, options[key]])
  const words = [ROWS_VERSION, info.modelHash, info.scoreThreshold, name, options.resize, relevant]
  return createHash('sha256').update(JSON.stringify(words)).digest('hex').slice(0, 12)
}

/** Names an image with all that may be asked about it; '' when its file is not there. */
async function askedKey(image: EvaluationImage): Promise<string> {
  const file = await stat(image.path).catch(() => null)
  if (file === null) return ''
  const { path: _, ...rest } = image
  return createHash('sha256')
    .update(JSON.stringify([file.size, rest]))
    .digest('hex')
    .slice(0, 16)
}
