/**
 * Image -> proposals and 100 region tokens at the release's shapes, with int8 vision, beside the training folder's PyTorch
 * model in fp32. Weights come from the formula of the reference models: they show speed, their answers mean nothing.
 */
import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { GraphPlan, planVision } from '../../native-models/builders/buildGraphs.ts'
import { graphFile } from '../../native-models/builders/modelFiles.ts'
import { Weights } from '../../native-models/builders/weights.ts'
import { parseGromaConfig } from '../../native-models/groma/config.ts'
import { physicalCores } from '../../native-models/inference/cores.ts'
import { regionBatch } from '../../native-models/inference/imageMemory.ts'
import { runProposalHead } from '../../native-models/inference/proposals.ts'
import { type Feeds, floats, GraphSession } from '../../native-models/inference/session.ts'
import { formulaCheckpoint } from '../support/formulaCheckpoint.ts'
import { gromaTensors } from '../support/gromaTensors.ts'
import { releaseConfig, releaseSizes } from '../support/releaseCheckpoint.ts'
import { type BenchContext, type FigureRecord, Missing, measured, type Row } from './figure.ts'
import { brief, seconds } from './measure.ts'

const IMAGE_SIZE = 448
const SIDE = 32
const BOXES = 100
const SEED = 7
const STATES = [21, 22, 23, 24] as const
const STAGES = ['vision-encoder', 'proposal-head', 'region-maps', 'region-head'] as const
type Stage = (typeof STAGES)[number]

export const row: Row = {
  case: '',
  unit: 's',
  referenceName: 'PyTorch fp32',
  ratio: 'reference/value',
  goal: { of: 'ratio', at: '>=', limit: 5 },
}

/** Measures ours and PyTorch's in turns; the best run of each counts. */
export async function perceive({ quick, log }: BenchContext): Promise<FigureRecord[]> {
  const threads = physicalCores()
  const folder = await mkdtemp(join(tmpdir(), 'gromatic-perceive-'))
  try {
    log('writing vision and region graphs of the release shapes, int8')
    await writeGraphs(folder)
    const rounds = quick ? 1 : 3
    let ours: Record<Stage, number> | undefined
    let theirs: TorchSeconds | undefined
    let missing = ''
    for (let round = 0; round < rounds; round++) {
      const look = await lookOnce(folder, threads)
      if (!ours || total(look) < total(ours)) ours = look
      log(`ours: ${brief(total(look))} s`)
      if (missing) continue
      try {
        const reference = await torchSeconds(threads)
        if (!theirs || reference.total < theirs.total) theirs = reference
        log(`PyTorch: ${brief(reference.total)} s`)
      } catch (error) {
        if (!(error instanceof Missing)) throw error
        missing = error.message
      }
    }
    const parts = Object.entries(ours!).map(([stage, value]) => `${stage} ${brief(value)}`)
    const theirParts = theirs
      ? `PyTorch: encoder ${brief(theirs.encoder)}, proposer ${brief(theirs.proposer)}, regions ${brief(theirs.regions)}`
      : missing
    const result = {
      value: total(ours!),
      ...(theirs ? { reference: theirs.total } : {}),
      note: `int8, ${threads} threads: ${parts.join(', ')}; ${theirParts}`,
    }
    return [measured('perceive', row, result)]
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function writeGraphs(folder: string): Promise<void> {
  const tensors = gromaTensors(releaseSizes).filter(({ name }) => !name.startsWith('llm.'))
  const plan = new GraphPlan({
    weights: new Weights(formulaCheckpoint({ seed: SEED, tensors })),
    config: parseGromaConfig(releaseConfig(releaseSizes), 'config.json'),
    precision: { llm: 'int4', vision: 'int8' },
    prefill: false,
    imageSize: IMAGE_SIZE,
  })
  await planVision(plan)
  await plan.write(folder)
}

/** Opens the graphs and looks at three pictures, the last one for the clock: before that the runtime still asks for memory. */
async function lookOnce(folder: string, threads: number): Promise<Record<Stage, number>> {
  const open = (stage: Stage) => GraphSession.open(join(folder, graphFile(stage)), threads)
  const graphs = Object.fromEntries(
    await Promise.all(STAGES.map(async (stage) => [stage, await open(stage)])),
  ) as Record<Stage, GraphSession>
  try {
    await look(graphs, 1)
    await look(graphs, 2)
    return await look(graphs, 3)
  } finally {
    for (const graph of Object.values(graphs)) await graph.release()
  }
}

async function look(graphs: Record<Stage, GraphSession>, seed: number): Promise<Record<Stage, number>> {
  const pixels = random(3 * IMAGE_SIZE * IMAGE_SIZE, seed)
  // as PyTorch's side: anywhere, up to two fifths of the picture wide and high
  const boxes = random(BOXES * 4, seed + 10).map((value, i) => ((value + 1) / 2) * (i % 4 < 2 ? 1 : 0.4))
  const spent = {} as Record<Stage, number>
  let states: Awaited<ReturnType<GraphSession['run']>> = {}
  spent['vision-encoder'] = await seconds(async () => {
    states = await graphs['vision-encoder'].run({ pixel_values: floats(pixels, 1, 3, IMAGE_SIZE, IMAGE_SIZE) })
  })
  const last = STATES.map((k) => states[`hidden_state.${k}`]!)
  spent['proposal-head'] = await seconds(() => runProposalHead(graphs['proposal-head'], last))
  const feeds: Feeds = {}
  spent['region-maps'] = await seconds(async () => {
    const three = Object.fromEntries(last.slice(1).map((state, level) => [`hidden_state.${level}`, state]))
    const maps = await graphs['region-maps'].run(three)
    for (const [name, map] of Object.entries(maps)) feeds[name.replace('region_map', 'map')] = map
  })
  spent['region-head'] = await seconds(async () => {
    const batch = regionBatch({
      side: SIDE,
      regionChannels: releaseSizes.region.width,
      regionBins: releaseSizes.region.bins,
    })
    for (let start = 0; start < BOXES; start += batch) {
      const some = boxes.subarray(start * 4, (start + batch) * 4)
      await graphs['region-head'].run({ ...feeds, boxes_cxcywh: floats(some, some.length / 4, 4) })
    }
  })
  return spent
}

const total = (parts: Record<Stage, number>): number => Object.values(parts).reduce((sum, value) => sum + value, 0)

interface TorchSeconds {
  encoder: number
  proposer: number
  regions: number
  total: number
}

/** @throws Missing where there is no Python with torch */
async function torchSeconds(threads: number): Promise<TorchSeconds> {
  const python = process.env.GROMATIC_PYTHON
  if (!python) throw new Missing('GROMATIC_PYTHON names no Python that has torch, so there is no reference.')
  const cwd = join(import.meta.dirname, '../../native-models/training')
  const args = ['-m', 'groma_training.perceive_bench', '--repeats', '2', '--threads', `${threads}`]
  try {
    const { stdout } = await promisify(execFile)(python, args, { cwd })
    return JSON.parse(stdout) as TorchSeconds
  } catch (error) {
    const said = (error as { stderr?: string }).stderr?.trim().split('\n').at(-1) ?? String(error)
    throw new Missing(`PyTorch could not be asked: ${said}`)
  }
}

/** Numbers in -1..1, the same for the same seed. */
function random(count: number, seed: number): Float32Array {
  let state = seed
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0
    return state / 2 ** 31
  })
}
