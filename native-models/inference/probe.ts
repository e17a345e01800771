import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CONFIG_FILE, GRAPHS, GraphFacts, type GraphName, graphFile } from '../builders/modelFiles.ts'
import { readManifest } from '../checkpoint/manifest.ts'
import { type GromaConfig, parseGromaConfig } from '../groma/config.ts'
import { headSizesOf, RUNS_IN_HALF } from './deviceGraph.ts'
import { DeviceKv, presentNames } from './deviceKv.ts'
import type { KvSegment } from './kvCache.ts'
import { type GraphSource, openOnDevice } from './openGraph.ts'
import { type GraphTrial, MARGIN, type ProviderTrial } from './placement.ts'
import {
  type Feeds,
  floats,
  type GraphInput,
  GraphSession,
  integers,
  type OpenGraph,
  type ProviderName,
  type Tensor,
} from './session.ts'
import { noise, withTinyGraph } from './tinyGraph.ts'

export interface ProbeInput {
  provider: ProviderName
  modelDir: string
  threads: number
  /** Tries every graph, even where the first is no faster than on the processor. */
  all: boolean
  /** Called before everything that may take long, with what it is. */
  onStep: (note: string) => void
}

/** Largest |difference| / largest |value|: what float32 and float16 may be off by. */
const TOLERANCE = { float: 1e-3, half: 3e-2 }
const RUNS = 2
/** So many times slower than the processor, a device has lost: no second run, no float16. */
const HOPELESS = 4
/** Sizes that a run decides: one new token after a prompt, a few dozen boxes. */
const SIZES: Readonly<Record<string, number>> = { B: 1, T: 1, P: 512, C: 64, N: 32 }

/**
 * Tries a provider: a tiny graph, then the model's own graphs on made-up input, every number compared with the
 * processor's and every step timed. To be run in a process that may die or hang.
 */
export async function tryProvider({ provider, modelDir, threads, all, onStep }: ProbeInput): Promise<ProviderTrial> {
  onStep(`a small graph on ${provider}`)
  const refusal = await tinyRefusal(provider, threads)
  if (refusal !== null) return { provider, refusal, graphs: [] }
  const { config } = await readManifest(modelDir)
  const facts = GraphFacts.parse(config.engine)
  const configPath = join(modelDir, CONFIG_FILE)
  const groma = parseGromaConfig(JSON.parse(await readFile(configPath, 'utf8')), configPath)
  const headSizes = headSizesOf(groma)
  const outputs = new Map<GraphName, Record<string, Tensor>>()
  const graphs: GraphTrial[] = []
  for (const graph of GRAPHS) {
    const path = join(modelDir, graphFile(graph))
    onStep(`${graph} on the processor`)
    const expected = await timed(await GraphSession.open(path, threads), (inputs) =>
      feedsOf(graph, inputs, outputs, facts),
    )
    outputs.set(graph, expected.outputs)
    for (const half of graph in RUNS_IN_HALF ? [false, true] : [false]) {
      if (half && (graphs.at(-1)!.seconds ?? 0) > HOPELESS * expected.seconds) continue
      onStep(`${graph} on ${provider}${half ? ' in float16' : ''}`)
      const measured = await tryGraph(expected, half ? TOLERANCE.half : TOLERANCE.float, graph, () =>
        openOnDevice({ dir: modelDir, threads, headSizes }, graph, { provider, half }),
      )
      if (graph === 'decoder' && provider === 'webgpu' && measured.refusal === null) {
        onStep(`${graph} on ${provider}, keys and values kept there`)
        measured.seconds = await secondsPerToken({ dir: modelDir, threads, headSizes }, groma.llm)
      }
      graphs.push({ graph, half, cpuSeconds: expected.seconds, ...measured })
    }
    const tried = graphs.filter((one) => one.graph === graph)
    const faster = tried.some(({ seconds }) => seconds !== null && seconds * MARGIN < expected.seconds)
    if (graph === 'vision-encoder' && !faster && !all) break
  }
  return { provider, refusal: null, graphs }
}

/** Why a provider cannot even run a tiny graph, or gets it wrong; null when it can. */
export async function tinyRefusal(provider: ProviderName, threads: number): Promise<string | null> {
  return withTinyGraph(async (path, feeds) => {
    const expected = await timed(await GraphSession.open(path, threads), () => feeds)
    const open = () => GraphSession.open(path, threads, { provider })
    return (await tryGraph(expected, TOLERANCE.float, null, open)).refusal
  })
}

interface Timed {
  feeds: Feeds
  outputs: Record<string, Tensor>
  seconds: number
}

/** One token after a prompt of `SIZES.P` tokens, as the engine decodes on a WebGPU device. */
async function secondsPerToken(
  source: Pick<GraphSource, 'dir' | 'threads' | 'headSizes'>,
  llm: GromaConfig['llm'],
): Promise<number> {
  const session = await openOnDevice(source, 'decoder', { provider: 'webgpu', half: false }, presentNames(llm))
  const kv = await DeviceKv.open(llm, join(source.dir, 'keys-and-values'), source.threads)
  try {
    const forward = async (tokens: number, prefix: KvSegment) => {
      const past = kv.cache(1)
      const columns = Math.max(1, prefix.length) + 1 + tokens
      const outputs = await session.run({
        inputs_embeds: floats(noise(tokens * llm.hiddenSize), 1, tokens, llm.hiddenSize),
        position_ids: integers(new Array(tokens).fill(0), 1, tokens),
        attention_bias: floats(new Float32Array(tokens * columns), 1, 1, tokens, columns),
        last_rows: integers([tokens - 1], 1),
        ...(await prefix.feeds),
        ...(await past.feeds()),
      })
      past.append(outputs, tokens)
      await past.feeds()
      return past.toSegment()
    }
    const prompt = await forward(SIZES.P!, kv.nothing)
    await forward(1, prompt)
    const startedAt = performance.now()
    for (let run = 0; run < RUNS; run++) await forward(1, prompt)
    return (performance.now() - startedAt) / 1000 / RUNS
  } finally {
    await session.release()
    await kv.close()
  }
}

/** Runs a graph once to warm it up, then for time; the session is released. */
async function timed(
  session: OpenGraph,
  feedsOf: (inputs: readonly GraphInput[]) => Feeds,
  hopelessSeconds = Number.POSITIVE_INFINITY,
): Promise<Timed> {
  try {
    const feeds = feedsOf(session.inputs)
    const outputs = copied(await session.run(feeds))
    let seconds = Number.POSITIVE_INFINITY
    for (let run = 0; run < RUNS && (run === 0 || seconds < hopelessSeconds); run++) {
      const startedAt = performance.now()
      await session.run(feeds)
      seconds = Math.min(seconds, (performance.now() - startedAt) / 1000)
    }
    return { feeds, outputs, seconds }
  } finally {
    await session.release()
  }
}

async function tryGraph(
  expected: Timed,
  tolerance: number,
  graph: GraphName | null,
  open: () => Promise<OpenGraph>,
): Promise<{ seconds: number | null; refusal: string | null }> {
  try {
    const { outputs, seconds } = await timed(await open(), () => expected.feeds, HOPELESS * expected.seconds)
    const off = largestError(expected.outputs, outputs, graph === 'proposal-head')
    if (off <= tolerance) return { seconds, refusal: null }
    return { seconds: null, refusal: `its numbers are wrong by ${(100 * off).toPrecision(2)} %` }
  } catch (error) {
    return { seconds: null, refusal: reasonOf(error as Error) }
  }
}

/** Outputs outlive their session. */
function copied(outputs: Record<string, Tensor>): Record<string, Tensor> {
  const entries = Object.entries(outputs)
  return Object.fromEntries(entries.map(([name, { data, dims }]) => [name, { data: data.slice(), dims }]))
}

/** @param sorted the order of an output's rows is not part of the answer: near ties of a selection may swap */
function largestError(expected: Record<string, Tensor>, found: Record<string, Tensor>, sorted: boolean): number {
  let largest = 0
  for (const [name, { data }] of Object.entries(expected)) {
    const [a, b] = [data, found[name]?.data ?? []].map((numbers) => {
      const floats = Float32Array.from(numbers as Float32Array)
      return sorted ? floats.sort() : floats
    }) as [Float32Array, Float32Array]
    if (a.length !== b.length) return Number.POSITIVE_INFINITY
    let [error, scale] = [0, 0]
    for (let i = 0; i < a.length; i++) {
      const difference = Math.abs(a[i]! - b[i]!)
      if (!(difference <= error)) error = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference
      scale = Math.max(scale, Math.abs(a[i]!))
    }
    largest = Math.max(largest, scale > 0 ? error / scale : error)
  }
  return largest
}

/** Noise where a graph starts, the earlier graphs' outputs where it goes on from them. */
function feedsOf(
  graph: GraphName,
  inputs: readonly GraphInput[],
  earlier: ReadonlyMap<GraphName, Record<string, Tensor>>,
  { hiddenStates }: GraphFacts,
): Feeds {
  const states = earlier.get('vision-encoder') ?? {}
  const maps = earlier.get('region-maps') ?? {}
  const lastStates = hiddenStates.slice(graph === 'proposal-head' ? -4 : -3)
  const lengthOf = (dimension: number | string): number =>
    typeof dimension === 'number'
      ? dimension
      : dimension.split('+').reduce((sum, name) => sum + (SIZES[name.trim()] ?? 1), 0)
  return Object.fromEntries(
    inputs.map(({ name, type, shape }, index) => {
      const [kind, place = '0'] = name.split('.') as [string, string?]
      if (name === 'hidden_state') return [name, states[`hidden_state.${hiddenStates[0]}`]!]
      if (kind === 'hidden_state') return [name, states[`hidden_state.${lastStates[Number(place)]}`]!]
      if (kind === 'map') return [name, maps[`region_map.${place}`]!]
      const dims = shape.map(lengthOf)
      const count = dims.reduce((a, b) => a * b, 1)
      if (type === 'int64') return [name, integers(new Array(count).fill(0), ...dims)]
      const numbers = noise(count, index + 1)
      return [name, floats(kind === 'boxes_cxcywh' ? numbers.map((x) => 0.5 + 0.2 * x) : numbers, ...dims)]
    }),
  )
}

/** The runtime's words, without the path of the file. */
function reasonOf({ message }: Error): string {
  const plain = message.replace(/^\S+\.onnx: /, '')
  if (/assigned to the default CPU EP/.test(plain)) return 'it has no kernel for some of the operators'
  return plain.split('\n')[0]!.slice(0, 300)
}
