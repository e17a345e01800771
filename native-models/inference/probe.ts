import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CONFIG_FILE, embeddingsFile, GRAPHS, GraphFacts, type GraphName, graphFile } from '../builders/modelFiles.ts'
import { readManifest } from '../checkpoint/manifest.ts'
import { parseGromaConfig } from '../groma/config.ts'
import { decodeModel } from '../onnx/decode.ts'
import { encodeModel } from '../onnx/proto.ts'
import { headSizesOf, RUNS_IN_HALF, withExactBlocks } from './deviceGraph.ts'
import { EmbeddingTable } from './embeddingTable.ts'
import { generate } from './generate.ts'
import { HostKv } from './hostKv.ts'
import { LanguageModel, PROMPT_ROWS } from './languageModel.ts'
import { type DeviceSource, openLanguageOnDevice, openOnDevice } from './openGraph.ts'
import { formOf, type GraphTrial, MARGIN, type Place, type ProviderTrial } from './placement.ts'
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
  const { config, llm } = await readManifest(modelDir)
  const facts = GraphFacts.parse(config.engine)
  const configPath = join(modelDir, CONFIG_FILE)
  const groma = parseGromaConfig(JSON.parse(await readFile(configPath, 'utf8')), configPath)
  const source: DeviceSource = { dir: modelDir, threads, headSizes: headSizesOf(groma), decoderShape: groma.llm }
  const outputs = new Map<GraphName, Record<string, Tensor>>()
  const graphs: GraphTrial[] = []
  const table = new EmbeddingTable(join(modelDir, embeddingsFile(llm)), groma.vocabSize, groma.llm.hiddenSize)
  const language = { config: groma.llm, table }
  for (const graph of GRAPHS) {
    const path = join(modelDir, graphFile(graph))
    onStep(`${graph} on the processor`)
    const expected = await timed(await GraphSession.open(path, threads), (inputs) =>
      feedsOf(graph, inputs, outputs, facts),
    )
    outputs.set(graph, expected.outputs)
    for (const form of formsOf(graph, provider)) {
      const hopeless = graphs.some((one) => one.graph === graph && (one.seconds ?? 0) > HOPELESS * expected.seconds)
      if (hopeless) break
      onStep(`${formOf({ graph, ...form })} on ${provider}`)
      const place = { provider, ...form }
      const tolerance = form.half ? TOLERANCE.half : TOLERANCE.float
      const measured =
        graph === 'decoder' && provider === 'webgpu'
          ? await tryLanguage(source, place, language, tolerance)
          : await tryGraph(expected, tolerance, graph, () => openOnDevice(source, graph, place))
      graphs.push({ graph, ...form, cpuSeconds: expected.seconds, ...measured })
      if (graph === 'decoder' && measured.refusal === null) break // the first form that is right is the fastest
    }
    const tried = graphs.filter((one) => one.graph === graph)
    const faster = tried.some(({ seconds }) => seconds !== null && seconds * MARGIN < expected.seconds)
    if (graph === 'vision-encoder' && !faster && !all) break
  }
  table.close()
  return { provider, refusal: null, graphs }
}

/** The forms of a graph that are tried, best first. What places boxes stays in float32. */
function formsOf(graph: GraphName, provider: ProviderName): { half: boolean; fused: boolean }[] {
  const [plain, fused] = [false, true].map((fused) => ({ half: false, fused })) as [Form, Form]
  const inHalf = (form: Form): Form => ({ ...form, half: true })
  if (graph === 'decoder') return provider === 'webgpu' ? [inHalf(fused), fused, plain] : [plain]
  if (graph === 'vision-encoder') return [inHalf(fused), inHalf(plain), plain]
  return graph in RUNS_IN_HALF ? [inHalf(plain), plain] : [plain]
}
type Form = Pick<GraphTrial, 'half' | 'fused'>

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

/** Rows of a prompt and of what follows, whose logits are compared. */
const COMPARED = { prompt: 24, more: 3 }

/**
 * The decoder as the engine uses it on a WebGPU device: logits after a short prompt and after each of a few more tokens, compared
 * with the processor's, those after a prompt of real length with the same read a few rows at a time, then the time of a token
 * after a prompt of `SIZES.P`.
 */
async function tryLanguage(
  source: DeviceSource,
  place: Place,
  { config, table }: Pick<LanguageModel, 'config' | 'table'>,
  tolerance: number,
): Promise<{ seconds: number | null; refusal: string | null }> {
  try {
    const expected = await logitsOnCpu(source, config, table)
    const { session, kv } = await openLanguageOnDevice(source, place)
    try {
      const model = new LanguageModel(session, table, config, { kv })
      const off = largestError(expected, await logitsOf(model), false)
      if (!(off <= tolerance)) return { seconds: null, refusal: wrongBy(off) }
      const long = largestError(await promptLogits(model, FEW_ROWS), await promptLogits(model, PROMPT_ROWS), false)
      if (!(long <= tolerance)) return { seconds: null, refusal: `with prompts of some length ${wrongBy(long)}` }
      const rows = Math.min(SIZES.P!, config.maxPositions - 2 - RUNS)
      const prompt = await model.extend(null, noise(rows * config.hiddenSize, 2))
      const tails = [noise(config.hiddenSize, 3)]
      const token = () => generate(model, { prefix: prompt, tails, maxNewTokens: 1 + RUNS, eosTokenId: -1 })
      await token()
      const { figures } = await token()
      return { seconds: (figures.totalMs - figures.firstTokenMs) / 1000 / RUNS, refusal: null }
    } finally {
      await session.release()
    }
  } catch (error) {
    return { seconds: null, refusal: reasonOf(error as Error) }
  }
}

/** With float inputs to all products, as on a device: rounding them to 8 bits is off by more than a device may be. */
async function logitsOnCpu(
  { dir, threads }: DeviceSource,
  config: LanguageModel['config'],
  table: EmbeddingTable,
): Promise<Record<string, Tensor>> {
  const path = join(dir, graphFile('decoder'))
  const model = encodeModel(withExactBlocks(decodeModel(await readFile(path))))
  const session = await GraphSession.open(path, threads, { model })
  try {
    const rounded = session.inputs.some(({ name }) => name === 'prefix_key_scale.0')
    const kv = new HostKv(config, rounded ? 'int8' : 'float32')
    return await logitsOf(new LanguageModel(session, table, config, { kv }))
  } finally {
    await session.release()
  }
}

async function logitsOf(model: LanguageModel): Promise<Record<string, Tensor>> {
  const { hiddenSize } = model.config
  const found: Record<string, Tensor> = {}
  const cache = model.kv.cache(1)
  for (let step = 0; step <= COMPARED.more; step++) {
    const rows = step === 0 ? COMPARED.prompt : 1
    const embeds = noise(rows * hiddenSize, step + 5)
    const { logits, outputs } = await model.forward({ embeds, batch: 1, prefix: model.kv.nothing, past: cache })
    cache.append(outputs, rows)
    found[`logits ${step}`] = floats(logits.slice(), logits.length)
  }
  cache.close?.()
  return found
}

/** A device takes another kernel for long runs of rows: compared with this many at a time, which the processor's numbers vouch for. */
const FEW_ROWS = 24

/** Logits after a prompt of more than one full run, read so many rows at a time. */
async function promptLogits(model: LanguageModel, rowsAtOnce: number): Promise<Record<string, Tensor>> {
  const { hiddenSize, maxPositions } = model.config
  const rows = Math.min(PROMPT_ROWS + 2 * FEW_ROWS, maxPositions)
  const embeds = noise(rows * hiddenSize, 4)
  const cache = model.kv.cacheFrom(model.kv.nothing, 0, rows)
  let last: Float32Array = new Float32Array()
  for (let row = 0; row < rows; row += rowsAtOnce) {
    const part = embeds.subarray(row * hiddenSize, (row + rowsAtOnce) * hiddenSize)
    const { logits, outputs } = await model.forward({ embeds: part, batch: 1, ...model.before(cache) })
    cache.append(outputs, part.length / hiddenSize)
    last = logits.slice()
  }
  cache.close?.()
  return { logits: floats(last, last.length) }
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
    return { seconds: null, refusal: wrongBy(off) }
  } catch (error) {
    return { seconds: null, refusal: reasonOf(error as Error) }
  }
}

const wrongBy = (error: number): string => `its numbers are wrong by ${(100 * error).toPrecision(2)} %`

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
      // keys and values of a prompt in 8 bits, see promptAttention
      if (type === 'uint8') return [name, { data: Uint8Array.from(numbers, (x) => 128 + 127 * x), dims }]
      if (type === 'int8') return [name, { data: Int8Array.from(numbers, (x) => 127 * x), dims }]
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
