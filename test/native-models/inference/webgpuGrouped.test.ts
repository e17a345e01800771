/** The decoder on WebGPU, with grouped attention and plain, beside the processor's. */
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { embeddingsFile } from '../../../native-models/builders/modelFiles.ts'
import { promptFormat } from '../../../native-models/builders/verifyModel.ts'
import { parseGromaConfig } from '../../../native-models/groma/config.ts'
import { headSizesOf, withExactBlocks } from '../../../native-models/inference/deviceGraph.ts'
import { EmbeddingTable } from '../../../native-models/inference/embeddingTable.ts'
import { generate } from '../../../native-models/inference/generate.ts'
import { GroupedKv, type GroupedSegment } from '../../../native-models/inference/groupedKv.ts'
import { HostKv } from '../../../native-models/inference/hostKv.ts'
import { LanguageModel } from '../../../native-models/inference/languageModel.ts'
import { openLanguageOnDevice } from '../../../native-models/inference/openGraph.ts'
import { GraphSession, isOnDevice } from '../../../native-models/inference/session.ts'
import { decodeModel } from '../../../native-models/onnx/decode.ts'
import { encodeModel } from '../../../native-models/onnx/proto.ts'
import { makeReleaseEngine, narrowSizes, smallSizes } from '../../support/releaseEngine.ts'
import { webgpuMissing } from '../../support/webgpuDriver.ts'

const missing = webgpuMissing()
const PROMPT = Array.from({ length: 24 }, (_, i) => (300 + i * 7919) % 32_000)
/**
 * Runs of 32 rows and more go through another kernel. On a software driver it is wrong, and its float16 form is compiled for
 * minutes (LLVM, in the thread that asks): the trial finds that.
 */
const ROWS = 8
const NEVER = -1

describe.skipIf(missing !== null)(missing === null ? 'grouped attention' : `grouped (skipped: ${missing})`, () => {
  let root = ''
  const closing: (() => unknown)[] = []
  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'gromatic-grouped-'))
  })
  afterAll(async () => {
    for (const close of closing.reverse()) await close()
    await rm(root, { recursive: true })
  })

  /** The same model on the processor and on the device. */
  async function open(
    llm: 'fp32' | 'int4',
    half: boolean,
    fused: boolean,
    wide = false,
  ): Promise<[LanguageModel, LanguageModel]> {
    const dir = join(root, `${llm}-${half}-${fused}-${wide}`)
    await makeReleaseEngine(dir, { sizes: wide ? smallSizes : narrowSizes, precision: { llm, vision: 'fp32' } })
    const configPath = join(dir, 'config.json')
    const config = parseGromaConfig(JSON.parse(await readFile(configPath, 'utf8')), configPath)
    const table = new EmbeddingTable(join(dir, embeddingsFile(llm)), config.vocabSize, config.llm.hiddenSize)
    const path = join(dir, 'decoder.onnx')
    const model = encodeModel(withExactBlocks(decodeModel(await readFile(path))))
    const onCpu = await GraphSession.open(path, 1, { model })
    const kvOnCpu = new HostKv(config.llm, promptFormat({ llm }, config.llm))
    const source = { dir, threads: 1, headSizes: headSizesOf(config), decoderShape: config.llm }
    const { session, kv } = await openLanguageOnDevice(source, { provider: 'webgpu', half, fused })
    closing.push(
      () => table.close(),
      () => onCpu.release(),
      () => session.release(),
    )
    return [
      new LanguageModel(onCpu, table, config.llm, { kv: kvOnCpu }),
      new LanguageModel(session, table, config.llm, { kv }),
    ]
  }
  /** One question on a prompt, two abreast on the same, one on a longer prompt that begins with it, guesses that are wrong, two at once. */
  async function talk(model: LanguageModel) {
    const { kv } = model
    const cache = kv.cacheFrom(kv.nothing, 0, PROMPT.length)
    for (let row = 0; row < PROMPT.length; row += ROWS) {
      await model.read(cache, model.embed(PROMPT.slice(row, row + ROWS)))
    }
    const prompt = cache.toSegment()
    const ask = (prefix: typeof prompt, ids: number[][], maxNewTokens: number) =>
      generate(model, { prefix, tails: ids.map((one) => model.embed(one)), maxNewTokens, eosTokenId: NEVER })
    const one = await ask(prompt, [[5, 6, 7]], 6)
    const two = await ask(
      prompt,
      [
        [5, 8, 4],
        [9, 7, 6],
      ],
      4,
    )
    const shorter = kv.cacheFrom(prompt, 10, 30)
    const guessed = await model.forward({
      embeds: model.embed([11, 12, 13, 14]),
      batch: 1,
      ...model.before(shorter),
    })
    shorter.append(guessed.outputs, 4, 2)
    const after = await model.forward({ embeds: model.embed([15]), batch: 1, ...model.before(shorter) })
    shorter.append(after.outputs, 1)
    const again = await ask(shorter.toSegment(), [[8]], 3)
    const caches = [0, 1].map(() => kv.cacheFrom(prompt, PROMPT.length, PROMPT.length + 2))
    const besides: Float32Array[] = []
    for (const id of [21, 22]) {
      for (const [i, cache] of caches.entries()) {
        const { logits, outputs } = await model.forward({
          embeds: model.embed([id + 10 * i]),
          batch: 1,
          ...model.before(cache),
        })
        cache.append(outputs, 1)
        besides.push(logits.slice())
      }
    }
    for (const cache of caches) cache.close?.()
    return {
      prompt,
      ids: [one, two, again].flatMap(({ generated }) => generated.map(({ ids }) => ids)),
      logits: [...[one, two, again].flatMap(({ firstLogits }) => firstLogits), after.logits, ...besides],
    }
  }
  const error = (a: Float32Array, b: Float32Array) =>
    Math.max(...a.map((value, i) => Math.abs(value - b[i]!))) / Math.max(...a.map(Math.abs))

  it.each([
    { llm: 'fp32', half: false, fused: true, tolerance: 1e-4 },
    { llm: 'fp32', half: true, fused: true, tolerance: 1e-2 },
    { llm: 'int4', half: true, fused: true, tolerance: 2e-2 }, // the processor reads its prompt in 8 bits
    { llm: 'int4', half: true, fused: true, wide: true, tolerance: 2e-2 }, // all of it in 4 bits, blocks of 128
    { llm: 'fp32', half: false, fused: false, tolerance: 1e-4 },
    { llm: 'int4', half: false, fused: false, tolerance: 2e-2 },
  ] as { llm: 'fp32' | 'int4'; half: boolean; fused: boolean; wide?: boolean; tolerance: number }[])(
    'says the same: $llm, half floats: $half, grouped: $fused, wide: $wide',
    async ({ llm, half, fused, wide, tolerance }) => {
      const [cpu, device] = await open(llm, half, fused, wide)
      const [expected, found] = [await talk(cpu), await talk(device)]
      expect(found.ids).toEqual(expected.ids)
      for (const [i, logits] of expected.logits.entries())
        expect(error(logits, found.logits[i]!), `${i}`).toBeLessThan(tolerance)
      if (!(device.kv instanceof GroupedKv)) return
      // The prompt's, gone on from in place; then copies: two abreast, one that parts from it, one beside another.
      expect(device.kv.counters).toEqual({ rooms: 4, copies: 3 })
      const { tensors } = (found.prompt as GroupedSegment).room!
      expect(tensors.map(isOnDevice)).not.toContain(false)
      await device.kv.close() // a tensor that outlives the graph that made it would crash the process
      expect(tensors.map(isOnDevice)).not.toContain(true)
    },
  )
})
