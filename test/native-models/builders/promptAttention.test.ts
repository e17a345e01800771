import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { attendPrompt, promptInputs } from '../../../native-models/builders/promptAttention.ts'
import { writeTensors } from '../../../native-models/builders/writeTensors.ts'
import { HostKv } from '../../../native-models/inference/hostKv.ts'
import { type Feeds, floats, floatsOf, GraphSession } from '../../../native-models/inference/session.ts'
import { ExternalData } from '../../../native-models/onnx/externalData.ts'
import { GraphBuilder } from '../../../native-models/onnx/graphBuilder.ts'
import { noise } from '../onnx/runGraph.ts'

const shape = { layerCount: 1, kvHeadCount: 3, headSize: 32 }
const [G, P, D] = [shape.kvHeadCount, 40, shape.headSize]

let root: string
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'gromatic-attention-'))
})
afterAll(() => rm(root, { recursive: true, force: true }))

/** Scores and mixed values of a graph with this kind of attention. */
async function run(
  format: 'float32' | 'int8',
  attention: 'integer' | 'float',
  queries: Float32Array,
  shares: Float32Array,
) {
  const name = `${format}-${attention}`
  const data = new ExternalData(`${name}.data`)
  const g = new GraphBuilder(name, data)
  const q = g.input('q', 'float32', [G, 1, 'R', D])
  const s = g.input('s', 'float32', [G, 1, 'R', 'P'])
  const prompt = attendPrompt(g, '/attn', promptInputs(g, shape, format, 0), attention)
  const outputs = {
    scores: { value: prompt.scores(q), shape: [G, 1, 'R', 'P'] },
    mix: { value: prompt.mix(s), shape: [G, 1, 'R', D] },
  }
  const path = join(root, `${name}.onnx`)
  await writeTensors(root, [data])
  await writeFile(path, g.encode(outputs))

  const kv = new HostKv(shape, format)
  const cache = kv.cacheFrom(kv.nothing, 0, P)
  const present = (seed: number) => floats(noise(G * P * D, seed), G, 1, P, D)
  cache.append({ 'present_key.0': present(1), 'present_value.0': present(2) }, P)
  const feeds: Feeds = { ...cache.toSegment().feeds }
  const rows = queries.length / G / D
  feeds.q = floats(queries, G, 1, rows, D)
  feeds.s = floats(shares, G, 1, rows, P)
  const session = await GraphSession.open(path, 1)
  const found = await session.run(feeds)
  await session.release()
  return { scores: floatsOf(found, 'scores'), mix: floatsOf(found, 'mix') }
}

/** sqrt(sum (a - b)^2 / sum b^2) */
function error(a: Float32Array, b: Float32Array): number {
  const squares = (x: Float32Array) => x.reduce((sum, value) => sum + value * value, 0)
  return Math.sqrt(squares(a.map((value, i) => value - b[i]!)) / squares(b))
}

describe('attention over a prompt in 8 bits', () => {
  it.each([1, 5])('is what it is over floats, within the rounding of keys and values; %i rows', async (rows) => {
    const queries = noise(G * rows * D, 3).map((value, i) => value * (i % D === 7 ? 30 : 1)) // one channel stands out
    // one token has nearly all, as the first of a text often does
    const shares = noise(G * rows * P, 4).map((value, i) => (i % P === 0 ? 0.9 : (0.1 / P) * Math.abs(value)))
    const exact = await run('float32', 'float', queries, shares)
    const float = await run('int8', 'float', queries, shares)
    const integer = await run('int8', 'integer', queries, shares)
    for (const name of ['scores', 'mix'] as const) {
      expect(error(float[name], exact[name]), name).toBeGreaterThan(1e-4)
      expect(error(float[name], exact[name]), name).toBeLessThan(0.01)
      // the two forms multiply the same numbers
      expect(error(integer[name], float[name]), name).toBeLessThan(2e-4)
    }
  })

  it('sees nothing where nothing is asked', async () => {
    const { scores, mix } = await run('int8', 'integer', new Float32Array(G * D), new Float32Array(G * P))
    expect([...scores, ...mix].every((value) => value === 0)).toBe(true)
  })
})
