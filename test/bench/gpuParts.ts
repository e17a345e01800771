/**
 * What a GPU takes for each part of the way, in every form that it could run: `node test/bench/gpuParts.ts PART ENGINE_DIR [PROVIDER]`, a line
 * of JSON a measurement on stdout. Parts: `vision`, `heads`, `decode`, `engine`, `check`.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  CONFIG_FILE,
  embeddingsFile,
  GRAPHS,
  GraphFacts,
  type GraphName,
  graphFile,
} from '../../native-models/builders/modelFiles.ts'
import { promptFormat } from '../../native-models/builders/verifyModel.ts'
import { readManifest } from '../../native-models/checkpoint/manifest.ts'
import { parseGromaConfig } from '../../native-models/groma/config.ts'
import { headSizesOf, withExactBlocks } from '../../native-models/inference/deviceGraph.ts'
import { EmbeddingTable } from '../../native-models/inference/embeddingTable.ts'
import { GromaEngine } from '../../native-models/inference/engine.ts'
import { generate } from '../../native-models/inference/generate.ts'
import { HostKv } from '../../native-models/inference/hostKv.ts'
import { LanguageModel } from '../../native-models/inference/languageModel.ts'
import { openLanguageOnDevice, openOnDevice } from '../../native-models/inference/openGraph.ts'
import type { Place, Placement } from '../../native-models/inference/placement.ts'
import { type Feeds, floats, GraphSession, PROVIDERS, type Tensor } from '../../native-models/inference/session.ts'
import { noise } from '../../native-models/inference/tinyGraph.ts'
import { decodeModel } from '../../native-models/onnx/decode.ts'
import { encodeModel } from '../../native-models/onnx/proto.ts'
import { decodeImage } from '../../native-models/preprocess/image.ts'
import { drawScene } from '../support/syntheticScenes.ts'
import { median } from './measure.ts'

const [part, dir, providerName = 'webgpu'] = process.argv.slice(2)
if (!part || !dir) throw new Error('node test/bench/gpuParts.ts PART ENGINE_DIR [PROVIDER]')
const provider = PROVIDERS.find((name) => name === providerName) ?? 'webgpu'
const rounds = Number(process.env.ROUNDS ?? 10)
const threads = Number(process.env.THREADS ?? 8)

const say = (about: object) => process.stdout.write(`${JSON.stringify({ part, provider, ...about })}\n`)
const manifest = await readManifest(dir)
const facts = GraphFacts.parse(manifest.config.engine)
const config = parseGromaConfig(JSON.parse(await readFile(join(dir, CONFIG_FILE), 'utf8')), CONFIG_FILE)
const source = { dir, threads, headSizes: headSizesOf(config), decoderShape: config.llm }
const ms = (startedAt: number) => Math.round((performance.now() - startedAt) * 100) / 100

/** Milliseconds of each run after the first. */
async function times(run: () => Promise<unknown>): Promise<{ first: number; median: number; least: number }> {
  let startedAt = performance.now()
  await run()
  const first = ms(startedAt)
  const all: number[] = []
  for (let round = 0; round < rounds; round++) {
    startedAt = performance.now()
    await run()
    all.push(ms(startedAt))
  }
  return { first, median: median(all), least: Math.min(...all) }
}

function errorOf(expected: Record<string, Tensor>, found: Record<string, Tensor>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(expected).map(([name, { data }]) => {
      const other = found[name]!.data
      let [worst, scale, squares, total] = [0, 0, 0, 0]
      for (const [i, value] of data.entries()) {
        const off = Math.abs(Number(value) - Number(other[i]))
        worst = Math.max(worst, Number.isNaN(off) ? Number.POSITIVE_INFINITY : off)
        scale = Math.max(scale, Math.abs(Number(value)))
        squares += off * off
        total += Number(value) ** 2
      }
      return [name, `${(worst / scale).toExponential(1)} rms ${Math.sqrt(squares / total).toExponential(1)}`]
    }),
  )
}

const copied = (outputs: Record<string, Tensor>): Record<string, Tensor> =>
  Object.fromEntries(Object.entries(outputs).map(([name, { data, dims }]) => [name, { data: data.slice(), dims }]))

/** One form of a graph: opened, compared with the processor's numbers, timed. */
async function form(graph: GraphName, feeds: Feeds, expected: Record<string, Tensor> | null, place: Place) {
  const about = { graph, half: place.half, fused: place.fused }
  try {
    let startedAt = performance.now()
    const session = await openOnDevice(source, graph, place)
    const open = ms(startedAt)
    startedAt = performance.now()
    const found = copied(await session.run(feeds))
    const first = ms(startedAt)
    const error = expected ? errorOf(expected, found) : {}
    say({ ...about, open, firstRun: first, ...(await times(() => session.run(feeds))), error })
    await session.release()
    return found
  } catch (error) {
    say({ ...about, failed: String((error as Error).message).slice(0, 400) })
    return null
  }
}

async function onCpu(graph: GraphName, feeds: Feeds) {
  const session = await GraphSession.open(join(dir!, graphFile(graph)), threads)
  const startedAt = performance.now()
  const outputs = copied(await session.run(feeds))
  say({ graph, cpu: ms(startedAt) })
  await session.release()
  return outputs
}

const pixels = () => {
  const { imageSize } = facts
  return {
    pixel_values: floats(
      noise(3 * imageSize * imageSize).map((x) => 2 * x),
      1,
      3,
      imageSize,
      imageSize,
    ),
  }
}
const statesFor = (graph: GraphName, states: Record<string, Tensor>): Feeds => {
  if (graph === 'image-tokens') return { hidden_state: states[`hidden_state.${config.imageTokenLayer}`]! }
  const last = facts.hiddenStates.slice(graph === 'proposal-head' ? -4 : -3)
  return Object.fromEntries(last.map((k, i) => [`hidden_state.${i}`, states[`hidden_state.${k}`]!]))
}

async function vision() {
  const feeds = pixels()
  const expected = process.env.NOCPU ? null : await onCpu('vision-encoder', feeds)
  for (const [half, fused] of [
    [true, true],
    [true, false],
    [false, false],
  ] as const)
    await form('vision-encoder', feeds, expected, { provider, half, fused })
}

async function heads() {
  const states = await onCpu('vision-encoder', pixels())
  for (const graph of ['proposal-head', 'image-tokens', 'region-maps'] as const) {
    const feeds = statesFor(graph, states)
    const expected = await onCpu(graph, feeds)
    for (const half of graph === 'proposal-head' ? [false] : [true]) {
      await form(graph, feeds, expected, { provider, half, fused: false })
      if (graph === 'proposal-head') await form(graph, feeds, expected, { provider, half, fused: true })
    }
  }
}

const table = () =>
  new EmbeddingTable(join(dir!, embeddingsFile(manifest.llm)), config.vocabSize, config.llm.hiddenSize)

/** Logits after prompts, CPU (exact blocks) beside the device; then tokens a second. */
async function decode() {
  const { llm } = config
  const prompt = Number(process.env.PROMPT ?? 600)
  const flow = async (model: LanguageModel) => {
    const cache = model.kv.cache(1)
    const logits: Record<string, Tensor> = {}
    for (const [step, rows] of [24, 1, 1].entries()) {
      const ids = Array.from({ length: rows }, (_, i) => (300 + (i + step) * 7919) % 32_000)
      const out = await model.forward({ embeds: model.embed(ids), batch: 1, prefix: model.kv.nothing, past: cache })
      cache.append(out.outputs, rows)
      logits[`${step}`] = floats(out.logits.slice(), out.logits.length)
    }
    cache.close?.()
    return logits
  }
  let expected: Record<string, Tensor> | null = null
  if (!process.env.NOCPU) {
    const path = join(dir!, graphFile('decoder'))
    const exact = encodeModel(withExactBlocks(decodeModel(await readFile(path))))
    const session = await GraphSession.open(path, threads, { model: exact })
    const startedAt = performance.now()
    expected = await flow(
      new LanguageModel(session, table(), llm, { kv: new HostKv(llm, promptFormat(manifest, llm)) }),
    )
    say({ cpuLogits: ms(startedAt) })
    await session.release()
  }
  const forms: [boolean, boolean][] = process.env.PLAIN
    ? [
        [true, true],
        [false, true],
        [false, false],
      ]
    : [[true, true]]
  for (const [half, fused] of forms) {
    const about = { half, fused }
    try {
      let startedAt = performance.now()
      const { session, kv } = await openLanguageOnDevice(source, { provider: 'webgpu', half, fused })
      const open = ms(startedAt)
      const model = new LanguageModel(session, table(), llm, { kv })
      startedAt = performance.now()
      const found = await flow(model)
      say({ ...about, open, firstFlow: ms(startedAt), error: expected ? errorOf(expected, found) : {} })
      const ids = Array.from({ length: prompt }, (_, i) => (300 + i * 7919) % 32_000)
      await model.extend(null, model.embed(ids))
      startedAt = performance.now()
      const segment = await model.extend(null, model.embed(ids))
      say({ ...about, prompt, prefillMs: ms(startedAt) })
      const ask = (tokens: number) =>
        generate(model, {
          prefix: segment,
          tails: [model.embed([5])],
          maxNewTokens: tokens,
          eosTokenId: -1,
          guardCycles: false,
        })
      await ask(4)
      const speeds: number[] = []
      for (let round = 0; round < 4; round++) {
        const tokens = Number(process.env.TOKENS ?? 64)
        const { figures } = await ask(tokens)
        speeds.push((1000 * (tokens - 1)) / (figures.totalMs - figures.firstTokenMs))
      }
      say({ ...about, tokensPerSecond: median(speeds), all: speeds.map((x) => Math.round(x * 10) / 10) })
      for (const rows of [1, 2, 4, 8]) {
        const input = {
          embeds: model.embed(ids.slice(0, rows)),
          batch: 1,
          prefix: segment,
          past: null,
          logitRows: rows,
        }
        say({ ...about, rowsAPass: rows, ...(await times(() => model.forward(input))) })
      }
      for (const count of [2, 8, 20]) {
        const tails = Array.from({ length: count }, (_, i) => model.embed([5 + i, 6, 7, 8, 9]))
        const abreast = () => generate(model, { prefix: segment, tails, maxNewTokens: 8, eosTokenId: -1 })
        say({ ...about, abreast: count, eightTokens: await times(abreast) })
      }
      await session.release()
    } catch (error) {
      say({ ...about, failed: String((error as Error).message).slice(0, 400) })
    }
  }
}

/** The whole engine: a JPEG's pixels to proposals, and a question's tokens. PLACES: JSON, graph -> place. */
function places(): Placement {
  const given = process.env.PLACES
  if (given) return JSON.parse(given) as Placement
  const at = (half: boolean, fused: boolean): Place => ({ provider, half, fused })
  return Object.fromEntries(
    GRAPHS.map((graph) => [
      graph,
      graph === 'decoder'
        ? { provider: 'webgpu', half: true, fused: true }
        : at(['vision-encoder', 'image-tokens', 'region-maps'].includes(graph), graph === 'vision-encoder'),
    ]),
  )
}

async function engine() {
  const warnings: string[] = []
  let startedAt = performance.now()
  const opened = await GromaEngine.open(dir!, {
    threads,
    placement: places(),
    onWarning: (text) => warnings.push(text),
  })
  say({ open: ms(startedAt), warnings })
  const { bytes } = await drawScene(5_000_000)
  startedAt = performance.now()
  const image = await decodeImage(bytes)
  say({ decodeJpeg: ms(startedAt), size: [image.width, image.height] })
  let count = 0
  const look = async () => opened.propose(await opened.perceive(image, { key: `image ${count++}` }))
  say({ imageToProposals: await times(look), warnings })
  try {
    const perception = await opened.perceive(image, { key: 'image 0' })
    startedAt = performance.now()
    await opened.ask(perception, { question: 'What is here?', grounded: true, maxNewTokens: 4 })
    say({ firstQuestion: ms(startedAt), warnings })
    const speeds: number[] = []
    for (let round = 0; round < 3; round++) {
      const ask = async (maxNewTokens: number) => {
        startedAt = performance.now()
        const { outputIds } = await opened.ask(perception, { question: 'What is here?', grounded: true, maxNewTokens })
        return { took: ms(startedAt), tokens: outputIds.length }
      }
      const [one, many] = [await ask(1), await ask(64)]
      speeds.push((1000 * (many.tokens - one.tokens)) / (many.took - one.took))
    }
    say({ askTokensPerSecond: speeds, warnings })
  } catch (error) {
    say({ failed: String((error as Error).message).slice(0, 400) })
  }
  await opened.close()
}

/** The demo model (or any): what the device says beside the processor. */
async function check() {
  const { bytes } = await drawScene(5_000_001)
  const image = await decodeImage(bytes)
  const trace = async (placement: Placement) => {
    const warnings: string[] = []
    const opened = await GromaEngine.open(dir!, { threads, placement, onWarning: (text) => warnings.push(text) })
    const found = await opened.trace(image, { query: '[grounding] Describe the image.', maxNewTokens: 48 })
    const perception = await opened.perceive(image, { key: 'captions' })
    const boxes = opened.propose(perception).map(({ boxCxcywh }) => boxCxcywh)
    const captions = await opened.caption(perception, boxes, { detail: 'brief' })
    await opened.close()
    return { found, captions: captions.map(({ text }) => text), warnings }
  }
  const cpu = await trace({})
  const plain = Object.fromEntries(GRAPHS.map((graph) => [graph, { provider, half: false, fused: false }]))
  for (const [name, placement] of [
    ['plain float', plain],
    ['half, fused', places()],
  ] as const) {
    try {
      const { found, captions, warnings } = await trace(placement)
      const error = errorOf(
        cpu.found.tensors as unknown as Record<string, Tensor>,
        found.tensors as unknown as Record<string, Tensor>,
      )
      const [a, b] = [cpu.found.case.selected_cxcywh, found.case.selected_cxcywh]
      const moved = Math.max(...a.map((box, i) => Math.max(...box.map((x, k) => Math.abs(x - (b[i]?.[k] ?? 9))))))
      const sameCaptions = JSON.stringify(cpu.captions) === JSON.stringify(captions)
      const same = JSON.stringify(cpu.found.case.output_ids) === JSON.stringify(found.case.output_ids)
      say({ name, sameAnswer: same, boxes: [a.length, b.length], moved, sameCaptions, error, warnings })
    } catch (error) {
      say({ name, failed: String((error as Error).message).slice(0, 400) })
    }
  }
}

await { vision, heads, decode, engine, check }[part as 'vision']()
