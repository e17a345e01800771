/** The GPU's form of a graph, run on the processor: the same numbers, or nearly the same in float16. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { embeddingsFile } from '../../../native-models/builders/modelFiles.ts'
import { writeTensors } from '../../../native-models/builders/writeTensors.ts'
import { parseGromaConfig } from '../../../native-models/groma/config.ts'
import { withShortBlocks } from '../../../native-models/inference/deviceBlocks.ts'
import { deviceGraph, headSizesOf, withExactBlocks } from '../../../native-models/inference/deviceGraph.ts'
import { EmbeddingTable } from '../../../native-models/inference/embeddingTable.ts'
import { HostKv } from '../../../native-models/inference/hostKv.ts'
import { LanguageModel } from '../../../native-models/inference/languageModel.ts'
import { floats, GraphSession, type Tensor } from '../../../native-models/inference/session.ts'
import { noise } from '../../../native-models/inference/tinyGraph.ts'
import { int } from '../../../native-models/onnx/attributes.ts'
import { decodeModel } from '../../../native-models/onnx/decode.ts'
import { ExternalData } from '../../../native-models/onnx/externalData.ts'
import { GraphBuilder } from '../../../native-models/onnx/graphBuilder.ts'
import { linear } from '../../../native-models/onnx/ops.ts'
import { encodeModel } from '../../../native-models/onnx/proto.ts'
import { makeReleaseEngine, narrowSizes } from '../../support/releaseEngine.ts'
import { makeTinyModel } from '../builders/tinyModel.ts'
import { weight } from '../onnx/runGraph.ts'

let tiny: Awaited<ReturnType<typeof makeTinyModel>>
beforeAll(async () => {
  tiny = await makeTinyModel()
})
afterAll(() => tiny.remove())

const graphAt = (name: string) => join(tiny.engine, `${name}.onnx`)
async function headSize(graph: 'vision-encoder' | 'proposal-head'): Promise<number> {
  const config = parseGromaConfig(JSON.parse(await readFile(join(tiny.engine, 'config.json'), 'utf8')), 'config.json')
  return headSizesOf(config)[graph]!
}
async function run(path: string, model?: Uint8Array): Promise<Record<string, Tensor>> {
  const session = await GraphSession.open(path, 1, model ? { model } : {})
  const outputs = await session.run({ pixel_values: floats(noise(3 * 112 * 112), 1, 3, 112, 112) })
  await session.release()
  return outputs
}
function relativeError(a: Record<string, Tensor>, b: Record<string, Tensor>): number {
  let worst = 0
  for (const [name, { data }] of Object.entries(a)) {
    const scale = Math.max(...Array.from(data as Float32Array, Math.abs))
    for (const [i, value] of (data as Float32Array).entries())
      worst = Math.max(worst, Math.abs(value - Number(b[name]!.data[i])) / scale)
  }
  return worst
}

describe('a graph for a device', () => {
  it('reads back what was written', async () => {
    for (const name of ['vision-encoder', 'proposal-head', 'region-maps', 'region-head', 'decoder']) {
      const bytes = await readFile(graphAt(name))
      expect(Buffer.compare(bytes, Buffer.from(encodeModel(decodeModel(bytes)))), name).toBe(0)
    }
  })

  it('has long blocks of 4 bits as short ones, with the same numbers', async () => {
    const [rows, columns] = [48, 384]
    const dir = await mkdtemp(join(tmpdir(), 'gromatic-blocks-'))
    const data = new ExternalData('graph.data')
    const g = new GraphBuilder('blocks', data)
    const x = g.input('x', 'float32', ['T', columns])
    const y = await linear(
      g,
      '/y',
      x,
      { weight: weight(noise(rows * columns), rows, columns) },
      { bits: 4, blockSize: 128 },
    )
    await writeTensors(dir, [data])
    const path = join(dir, 'graph.onnx')
    await writeFile(path, g.encode({ y: { value: y, shape: ['T', rows] } }))
    const long = withExactBlocks(decodeModel(await readFile(path)))
    const short = withShortBlocks(long)
    expect(short.nodes.find(({ opType }) => opType === 'MatMulNBits')!.attributes.block_size).toEqual(int(32))
    const [before, after] = await Promise.all(
      [long, short].map(async (model) => {
        const session = await GraphSession.open(path, 1, { model: encodeModel(model) })
        const outputs = await session.run({ x: floats(noise(5 * columns, 2), 5, columns) })
        await session.release()
        return outputs
      }),
    )
    expect(relativeError(before!, after!)).toBeLessThan(1e-6)
    await rm(dir, { recursive: true })
  })

  it('has no fused attention, and the same numbers', async () => {
    const path = graphAt('vision-encoder')
    const bytes = await readFile(path)
    const model = deviceGraph(bytes, { half: false, headSize: await headSize('vision-encoder') })
    const kinds = (of: Uint8Array) => new Set(decodeModel(of).nodes.map(({ opType }) => opType))
    expect(kinds(bytes)).toContain('MultiHeadAttention')
    expect(kinds(model)).not.toContain('MultiHeadAttention')
    expect(relativeError(await run(path), await run(path, model))).toBeLessThan(1e-5)
  })

  it('computes in float16 between float32 inputs and outputs', async () => {
    const path = graphAt('vision-encoder')
    const model = deviceGraph(await readFile(path), { half: true, headSize: await headSize('vision-encoder') })
    const error = relativeError(await run(path), await run(path, model))
    expect(error).toBeGreaterThan(1e-6)
    expect(error).toBeLessThan(2e-2)
  })

  it("takes the decoder's prompt in float32, where a folder's wants 8 bits", async () => {
    const dir = join(tiny.root, 'int4')
    await makeReleaseEngine(dir, { sizes: narrowSizes })
    const config = parseGromaConfig(JSON.parse(await readFile(join(dir, 'config.json'), 'utf8')), 'config.json')
    const path = join(dir, 'decoder.onnx')
    const bytes = await readFile(path)
    const table = new EmbeddingTable(join(dir, embeddingsFile('int4')), config.vocabSize, config.llm.hiddenSize)
    const embeds = noise(20 * config.llm.hiddenSize)
    const logits = async (model: Uint8Array, format: 'int8' | 'float32') => {
      const session = await GraphSession.open(path, 1, { model })
      const kv = new HostKv(config.llm, format)
      const language = new LanguageModel(session, table, config.llm, { kv })
      const prefix = await language.extend(null, embeds)
      const found = await language.forward({ embeds: noise(config.llm.hiddenSize, 9), batch: 1, prefix, past: null })
      const data = found.logits.slice()
      await session.release()
      return { logits: { data, dims: [data.length] } }
    }
    const expected = await logits(encodeModel(withExactBlocks(decodeModel(bytes))), 'int8')
    const model = deviceGraph(bytes, { half: false, headSize: 0, decoder: config.llm })
    expect(decodeModel(model).inputs.filter(({ type }) => !['float32', 'int64'].includes(type))).toEqual([])
    expect(relativeError(expected, await logits(model, 'float32'))).toBeLessThan(2e-2) // 8 bits against none rounded
    table.close()
  })

  it('refuses bytes that are no model', () => {
    expect(() => deviceGraph(new Uint8Array([1, 2, 3]), { half: false, headSize: 8 })).toThrow()
  })
})
