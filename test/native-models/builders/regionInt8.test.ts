import { describe, expect, it } from 'vitest'
import { buildRegionHead } from '../../../native-models/builders/regionHead.ts'
import { buildRegionMaps } from '../../../native-models/builders/regionMaps.ts'
import { Weights } from '../../../native-models/builders/weights.ts'
import { type Feeds, floats } from '../../../native-models/inference/session.ts'
import { formulaCheckpoint } from '../../support/formulaCheckpoint.ts'
import { gromaTensors } from '../../support/gromaTensors.ts'
import { releaseSizes } from '../../support/releaseCheckpoint.ts'
import { noise, runGraph } from '../onnx/runGraph.ts'

const CHANNELS = 128
const SIDE = 8
const HIDDEN = 96
const BINS = 6

/** The region encoder's weights, with so many rounds of fusion and bins along a side. */
function regionWeights(rounds: number, bins = BINS): Weights {
  const sizes = {
    ...releaseSizes,
    vision: { ...releaseSizes.vision, width: CHANNELS },
    llm: { ...releaseSizes.llm, width: HIDDEN },
    region: { ...releaseSizes.region, width: CHANNELS, bins },
  }
  const roundOf = (name: string) => Number(/fuse_convs\.(\d+)/.exec(name)?.[1] ?? -1)
  const tensors = gromaTensors(sizes).filter(({ name }) => name.startsWith('region_encoder.') && roundOf(name) < rounds)
  return new Weights(formulaCheckpoint({ seed: 7, tensors })).at('region_encoder')
}

const states: Feeds = Object.fromEntries(
  [0, 1, 2].map((i) => [
    `hidden_state.${i}`,
    floats(noise((1 + SIDE * SIDE) * CHANNELS, i + 1), 1 + SIDE * SIDE, CHANNELS),
  ]),
)

/** Root of the mean squared difference, over that of b around its mean. */
function relativeError(a: Float32Array, b: Float32Array): number {
  const mean = b.reduce((sum, value) => sum + value, 0) / b.length
  let off = 0
  let whole = 0
  for (let i = 0; i < a.length; i++) {
    off += (a[i]! - b[i]!) ** 2
    whole += (b[i]! - mean) ** 2
  }
  return Math.sqrt(off / whole)
}

async function regionMap(rounds: number, level: number, precision: 'fp32' | 'int8'): Promise<Float32Array> {
  const length = SIDE * [4, 2, 1][level]!
  const map = await runGraph(
    async (g) => {
      const built = await buildRegionMaps(g, regionWeights(rounds), { side: SIDE, width: CHANNELS }, precision)
      expect(built.precision).toBe(precision)
      const map = built.maps[level]!
      return built.scale ? g.node('DequantizeLinear', '/floats', [map, built.scale, g.small('int8', -128)]) : map
    },
    states,
    precision === 'int8' ? [length, length, CHANNELS] : [length, CHANNELS, length],
  )
  return map.data as Float32Array
}

/** [L, C, L] -> [L, L, C] */
function channelsLast(map: Float32Array, length: number): Float32Array {
  return Float32Array.from(map, (_, i) => {
    const channel = i % CHANNELS
    const [row, column] = [Math.floor(i / CHANNELS / length), Math.floor(i / CHANNELS) % length]
    return map[(row * CHANNELS + channel) * length + column]!
  })
}

describe('region maps in int8', () => {
  it.each([
    { rounds: 1, allowed: 0.015 },
    { rounds: 2, allowed: 0.05 },
    { rounds: 5, allowed: 0.08 },
  ])('stay within $allowed of float after $rounds rounds', async ({ rounds, allowed }) => {
    for (const level of [0, 1, 2]) {
      const exact = channelsLast(await regionMap(rounds, level, 'fp32'), SIDE * [4, 2, 1][level]!)
      expect(relativeError(await regionMap(rounds, level, 'int8'), exact), `level ${level}`).toBeLessThan(allowed)
    }
  })

  it('stay float without rounds, whose inputs no norm has tamed', async () => {
    await runGraph(
      async (g) => {
        const built = await buildRegionMaps(g, regionWeights(0), { side: SIDE, width: CHANNELS }, 'int8')
        expect(built.precision).toBe('fp32')
        return built.maps[2]!
      },
      states,
      [SIDE, CHANNELS, SIDE],
    )
  })
})

describe('the region head in int8', () => {
  const head = async (boxes: number[][], precision: 'fp32' | 'int8', bins: number, brightness = 1) => {
    const shape = { side: SIDE, patchSize: 14, imageSize: SIDE * 14, hiddenSize: HIDDEN, channels: CHANNELS }
    const maps = [0, 1, 2].map((level) => {
      const length = SIDE * [4, 2, 1][level]!
      const lines = noise(length * length * CHANNELS, level + 5).map((value) => Math.max(0, value)) // [L, C, L]
      if (precision === 'fp32') return floats(lines.map((value) => value * brightness), length, CHANNELS, length) // biome-ignore format: a line
      const data = Int8Array.from(channelsLast(lines, length), (value) => Math.round(value * 255) - 128)
      return { data, dims: [length, length, CHANNELS] }
    })
    const feeds: Feeds = { boxes_cxcywh: floats(Float32Array.from(boxes.flat()), boxes.length, 4) }
    if (precision === 'int8') feeds['map.scale'] = floats(Float32Array.of(brightness / 255))
    for (const [level, map] of maps.entries()) feeds[`map.${level}`] = map
    const tokens = await runGraph(
      async (g) => (await buildRegionHead(g, regionWeights(5, bins), shape, precision)).tokens,
      feeds,
      ['N', HIDDEN],
    )
    return tokens.data as Float32Array
  }

  it.each([
    { name: 'boxes that pooling finds on the maps', boxes: [[0.2, 0.3, 0.4, 0.1], [0.4, 0.4, 0.1, 0.1]] }, // biome-ignore format: a table
    { name: 'boxes of which it finds a part', boxes: [[0.8, 0.3, 0.1, 0.2], [0.9, 0.9, 0.3, 0.4], [0.1, 0.7, 0.2, 0.2]] }, // biome-ignore format: a table
    { name: 'a box of which it finds nothing beside one that it does', boxes: [[0.8, 0.8, 0.9, 0.9], [0.3, 0.2, 0.1, 0.1]] }, // biome-ignore format: a table
    { name: 'a box of which it finds nothing', boxes: [[0.8, 0.8, 0.9, 0.9]] },
    { name: 'an odd number of bins', boxes: [[0.2, 0.3, 0.4, 0.1], [0.8, 0.3, 0.1, 0.2]], bins: 7 }, // biome-ignore format: a table
  ])('equals the float head but for rounding: $name', async ({ boxes, bins = BINS }) => {
    expect(relativeError(await head(boxes, 'int8', bins), await head(boxes, 'fp32', bins))).toBeLessThan(0.02)
  })

  it('rounds nothing of a box of which pooling finds nothing, however bright what is beside it', async () => {
    const boxes = [[0.8, 0.8, 0.9, 0.9], [0.3, 0.2, 0.1, 0.1]] // biome-ignore format: a table
    const [rounded, exact] = [await head(boxes, 'int8', BINS, 100), await head(boxes, 'fp32', BINS, 100)]
    expect(relativeError(rounded.subarray(0, HIDDEN), exact.subarray(0, HIDDEN))).toBeLessThan(1e-5)
  })
})
