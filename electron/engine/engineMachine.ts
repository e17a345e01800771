/** The engine process and its machine: which provider runs what, weights laid out for the processor, and jobs done apart. */
import { join } from 'node:path'
import type { AnyGraphName } from '../../native-models/builders/modelFiles.ts'
import { readManifest } from '../../native-models/checkpoint/manifest.ts'
import { chooseProvider, type ProviderChoice } from '../../native-models/inference/chooseProvider.ts'
import { physicalCores } from '../../native-models/inference/cores.ts'
import { GromaEngine } from '../../native-models/inference/engine.ts'
import { ProviderTrial } from '../../native-models/inference/placement.ts'
import {
  findPrepacked,
  graphsOnCpu,
  isWorthPrepacking,
  makePrepacked,
  removeUnfinished,
} from '../../native-models/inference/prepack.ts'
import { tryProvider } from '../../native-models/inference/probe.ts'
import { noise } from '../../native-models/inference/tinyGraph.ts'
import type {
  ApartJob,
  EngineEvent,
  EngineLimits,
  EngineRequest,
  ModelTest,
  WantedProvider,
} from '../contract/engineProtocol.ts'
import { fromWireError } from '../contract/errors.ts'

export interface MachineSettings {
  provider: WantedProvider
  cacheDir: string | null
  limits?: EngineLimits | undefined
}

type OnNote = (done: number, note: string) => void
type OnLog = (level: 'info' | 'warn', message: string) => void
/** Has a job done by another process. @throws with the reason in words when that process dies, hangs or fails */
export type Help = (job: ApartJob, onNote: OnNote) => Promise<unknown>

type HelpAnswer = Extract<EngineRequest, { type: 'helped' | 'helping' }>

/** Asks the application for help, and hands its answers to who asked. */
export function helpFrom(send: (event: EngineEvent) => void): { help: Help; onAnswer: (answer: HelpAnswer) => void } {
  const waiting = new Map<
    number,
    { onNote: OnNote; resolve: (value: unknown) => void; reject: (error: Error) => void }
  >()
  let nextId = 1
  return {
    help: (job, onNote) =>
      new Promise((resolve, reject) => {
        const helpId = nextId++
        waiting.set(helpId, { onNote, resolve, reject })
        send({ type: 'help', helpId, job })
      }),
    onAnswer(answer) {
      const one = waiting.get(answer.helpId)
      if (answer.type === 'helping') return one?.onNote(answer.done, answer.note)
      waiting.delete(answer.helpId)
      if (answer.failure === null) one?.resolve(answer.result)
      else one?.reject(fromWireError(answer.failure))
    },
  }
}

/** Opens an engine folder the way that suits this machine best. */
export async function openForMachine(
  modelDir: string,
  { provider, cacheDir, limits }: MachineSettings,
  on: { help: Help; note: OnNote; log: OnLog },
): Promise<GromaEngine> {
  const { placement, reports } = await choose(modelDir, { provider, cacheDir }, on)
  for (const report of reports) {
    const level = report.verdict === 'refused' && provider === report.provider ? 'warn' : 'info'
    on.log(level, `${report.provider}: ${report.verdict}; ${report.reason}`)
  }
  if (cacheDir !== null) await removeUnfinished(cacheDir)
  const large = isWorthPrepacking(await readManifest(modelDir))
  const prepackedDir = large && cacheDir !== null ? await prepacked(modelDir, cacheDir, placement, on) : null
  return GromaEngine.open(modelDir, {
    placement,
    prepackedDir,
    deferred: large,
    ...(limits ? { threads: limits.threads, memoryLimitBytes: limits.imageMemoryBytes } : {}),
    onWarning: (message) => on.log('warn', message),
    // The application starts this process again, on the processor; what was said of the failure goes out first.
    onDeviceLost: () => setTimeout(() => process.exit(1), 100),
    onLog: (message) => on.log('info', message),
    onProgress: (step, fraction) => on.note(fraction, `Loading the model: ${words(step)}`),
  })
}

function choose(
  modelDir: string,
  { provider: wanted, cacheDir }: MachineSettings,
  { help, note, thorough = false, signal }: { help: Help; note: OnNote; thorough?: boolean; signal?: AbortSignal },
): Promise<ProviderChoice> {
  return chooseProvider({
    modelDir,
    wanted,
    memoryPath: cacheDir === null ? null : join(cacheDir, 'providers.json'),
    thorough,
    signal,
    tryApart: async (provider, all) => {
      const onNote: OnNote = (done, what) => note(done, `Trying ${provider}, once: ${words(what)}`)
      return ProviderTrial.parse(await help({ kind: 'probe', modelDir, provider, all }, onNote))
    },
  })
}

/** The folder with laid-out weights; made first when it is not there. Null, with a warning, when that cannot be. */
async function prepacked(
  modelDir: string,
  cacheDir: string,
  placement: ProviderChoice['placement'],
  { help, note, log }: { help: Help; note: OnNote; log: OnLog },
): Promise<string | null> {
  const graphs = graphsOnCpu(await readManifest(modelDir), placement)
  const input = { modelDir, cacheDir, graphs }
  const found = await findPrepacked(input)
  if (found.dir !== null || graphs.length === 0) return found.dir
  log('info', `weights are laid out for this machine: ${found.reason}`)
  try {
    await help({ kind: 'prepack', ...input }, (done, what) =>
      note(done, `Preparing the model for this machine, once: ${words(what)}`),
    )
    return (await findPrepacked(input)).dir
  } catch (error) {
    log('warn', `The model loads slowly and takes more memory: ${(error as Error).message}`)
    return null
  }
}

/** Does one job in this process. */
export async function runApart(job: ApartJob, onNote: OnNote): Promise<unknown> {
  const threads = physicalCores()
  switch (job.kind) {
    case 'probe':
      return tryProvider({ ...job, threads, onStep: (note) => onNote(0, note) })
    case 'prepack': {
      const input = { ...job, graphs: job.graphs as AnyGraphName[] }
      return makePrepacked(input, { threads, onProgress: (graph, fraction) => onNote(fraction, graph) })
    }
    default:
      return job satisfies never
  }
}

/** Tries every provider anew, then opens the model and looks at a picture of noise. */
export async function testModel(
  modelDir: string,
  settings: MachineSettings,
  on: { help: Help; note: OnNote; log: OnLog; signal: AbortSignal },
): Promise<ModelTest> {
  const { reports } = await choose(modelDir, settings, { ...on, thorough: true })
  const startedAt = performance.now()
  const engine = await openForMachine(modelDir, settings, on)
  try {
    const loadSeconds = (performance.now() - startedAt) / 1000
    const side = engine.info.imageSize
    const data = Uint8Array.from(noise(side * side * 3), (x) => 127.5 * (x + 1))
    let secondsPerImage = 0
    for (const key of ['first', 'second']) {
      on.note(1, 'Looking at a picture')
      const lookedAt = performance.now()
      await engine.perceive({ data, width: side, height: side }, { key })
      secondsPerImage = (performance.now() - lookedAt) / 1000
    }
    const { provider, threads } = engine.info
    const providers = reports.map(({ trial, ...report }) => ({ ...report, graphs: trial?.graphs ?? [] }))
    return { provider, threads, secondsPerImage, loadSeconds, prepacked: engine.info.prepacked, providers }
  } finally {
    await engine.close()
  }
}

const words = (step: string) => step.replaceAll('-', ' ')
