import { existsSync } from 'node:fs'
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { z } from 'zod'
import { GRAPHS } from '../builders/modelFiles.ts'
import { readManifest } from '../checkpoint/manifest.ts'
import { GromaError } from '../errors.ts'
import { machineKey, mayHaveGraphicsCard } from './machine.ts'
import { type Place, type Placement, ProviderTrial, placementOf, secondsOf, verdictOf } from './placement.ts'
import { builtInProviders, cudaLibrary, type ProviderName } from './session.ts'

/** What a person may ask for: one provider wherever it runs right, or what is fastest. */
export type WantedProvider = 'auto' | ProviderName

export interface ChooseOptions {
  modelDir: string
  wanted: WantedProvider
  /** What earlier trials showed is kept here; null keeps nothing. */
  memoryPath: string | null
  /** Runs a trial in a process of its own, which may die or hang. @throws Error with the reason in words when it does */
  tryApart: (provider: ProviderName, all: boolean) => Promise<ProviderTrial>
  /** Tries every provider anew, whatever is known and however small the model. */
  thorough?: boolean
  /** whether a trial may find more than a device in software, which takes a minute to lose; of this machine by default */
  hasCard?: () => boolean
  signal?: AbortSignal | undefined
}

export interface ProviderReport {
  provider: ProviderName
  /** chosen for some graph, slower than the processor or another at all of them, refused, not tried */
  verdict: 'chosen' | 'slower' | 'refused' | 'untried'
  reason: string
  trial: ProviderTrial | null
}

export interface ProviderChoice {
  placement: Placement
  /** what runs the vision encoder */
  provider: ProviderName
  reports: ProviderReport[]
}

/** A model smaller than this is fast enough on any processor: a trial would cost more than it could ever give back. */
const SMALL_MODEL_BYTES = 256 << 20

const Memory = z.object({
  version: z.literal(2),
  machine: z.string(),
  trials: z.array(z.object({ modelHash: z.string(), all: z.boolean(), trial: ProviderTrial })),
})
type Memory = z.infer<typeof Memory>

/** Decides where the graphs of a model run on this machine, by trial or by what is remembered of one. */
export async function chooseProvider(options: ChooseOptions): Promise<ProviderChoice> {
  const { wanted, thorough = false } = options
  const { modelHash, files } = await readManifest(options.modelDir)
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0)
  const memory = await readMemory(options.memoryPath)
  const reports: ProviderReport[] = []
  for (const { name, bundled } of builtInProviders()) {
    if (name === 'cpu') continue
    const untried = thorough ? null : reasonNotToTry(name, options, bytes)
    if (untried !== null) {
      reports.push({ provider: name, verdict: 'untried', reason: untried, trial: null })
    } else if (!bundled && !existsSync(cudaLibrary())) {
      const reason = 'its libraries are not installed (npm run setup:cuda fetches them)'
      reports.push({ provider: name, verdict: 'refused', reason, trial: null })
    } else {
      const all = wanted === name
      const known = memory.trials.find(
        ({ modelHash: hash, trial, ...one }) => hash === modelHash && trial.provider === name && (one.all || !all),
      )
      const trial = known && !thorough ? known.trial : await tried(options, name, all)
      if (trial !== known?.trial) await remember(options.memoryPath, memory, { modelHash, all, trial })
      const verdict = trial.refusal === null ? 'slower' : 'refused'
      reports.push({ provider: name, verdict, reason: verdictOf(trial), trial })
    }
  }
  return choose(reports, wanted)
}

/** Each graph goes to the provider that is fastest at it: one may see, another speak. */
function choose(reports: ProviderReport[], wanted: WantedProvider): ProviderChoice {
  const placement: Placement = {}
  for (const graph of GRAPHS) {
    let best: { report: ProviderReport; place: Place; seconds: number } | null = null
    for (const report of reports) {
      const { trial, provider } = report
      if (trial === null || (wanted !== 'auto' && wanted !== provider)) continue
      const place = placementOf(trial, { always: wanted === provider })[graph]
      if (!place) continue
      const seconds = secondsOf(trial, graph, place)
      if (best === null || seconds < best.seconds) best = { report, place, seconds }
    }
    if (best === null) continue
    placement[graph] = best.place
    best.report.verdict = 'chosen'
  }
  return { placement, provider: placement['vision-encoder']?.provider ?? 'cpu', reports }
}

function reasonNotToTry(
  name: ProviderName,
  { wanted, hasCard = mayHaveGraphicsCard }: ChooseOptions,
  modelBytes: number,
): string | null {
  if (wanted === name) return null
  if (wanted !== 'auto') return `${wanted} was asked for`
  if (modelBytes < SMALL_MODEL_BYTES) return 'the model is small: the CPU is fast enough'
  return hasCard() ? null : 'there is no graphics card: it could only run in software'
}

async function tried(
  { tryApart, signal }: ChooseOptions,
  provider: ProviderName,
  all: boolean,
): Promise<ProviderTrial> {
  try {
    return await tryApart(provider, all)
  } catch (error) {
    if (signal?.aborted) throw new GromaError('CANCELLED', 'cancelled')
    return { provider, refusal: (error as Error).message, graphs: [] }
  }
}

async function readMemory(path: string | null): Promise<Memory> {
  const machine = machineKey()
  const empty: Memory = { version: 2, machine, trials: [] }
  if (path === null) return empty
  try {
    const memory = Memory.parse(JSON.parse(await readFile(path, 'utf8')))
    return memory.machine === machine ? memory : empty // another card, driver or runtime: all is to be seen anew
  } catch {
    return empty
  }
}

/** Not being able to remember is no reason to stop. */
async function remember(path: string | null, memory: Memory, entry: Memory['trials'][number]): Promise<void> {
  const { modelHash, trial } = entry
  const others = memory.trials.filter((one) => one.modelHash !== modelHash || one.trial.provider !== trial.provider)
  memory.trials = [...others, entry]
  if (path === null) return
  const temporary = `${path}.${process.pid}.tmp`
  try {
    await mkdir(dirname(path), { recursive: true })
    await writeFile(temporary, `${JSON.stringify(memory, null, 2)}\n`)
    await rename(temporary, path)
  } catch {
    await rm(temporary, { force: true })
  }
}
