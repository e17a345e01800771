import { int, ints } from '../onnx/attributes.ts'
import type { GraphBuilder, Value, WeightSource } from '../onnx/graphBuilder.ts'
import { int8Weight } from '../onnx/int8.ts'
import { add, concat, gather, mul, relu, reshape, sub, unsqueeze } from '../onnx/ops.ts'
import type { Weights } from './weights.ts'

const TAPS = 3
const CODE_MAX = 255
const TINY = 1e-12
const INT64 = 7

export interface PooledLevels {
  /** per level [N, bins, bins, C] (row, column, channel), nowhere negative */
  levels: readonly Value[]
  /** per level [N, bins, L]: what the pixels along a side give to each bin */
  rows: readonly Value[]
  columns: readonly Value[]
  bins: number
  channels: number
}

/**
 * Pooled regions through `pconvs` (3x3, one for each level, summed), ReLU and `flatten_linear`, in 8 bits.
 * Many bins lie outside the maps and hold nothing but zeros (SCALE_ODDITY): where a convolution would see only those, its
 * result is its bias, and is not computed.
 * ```
 *  levels -> codes [N, bins + 2, bins + 2, 3 C] -> rows of 9 taps where something is [M, 27 C] -> product + bias -> ReLU
 *    -> codes [M, C] and one row for nothing -> all places [N, bins bins C] -> product = [N, width]
 * ```
 */
export async function pooledFeatures(g: GraphBuilder, weights: Weights, pooled: PooledLevels): Promise<Value> {
  const { bins, channels, levels } = pooled
  const { codes, scale } = joinedCodes(g, '/roi/pooled', levels)
  const padded = g.node('Pad', '/roi/padded', [codes, g.integers(0, 1, 1, 0, 0, 1, 1, 0), g.small('uint8', 0)])
  const busy = busyBins(g, '/roi/busy', pooled) // [N, bins, bins]
  const side = bins + 2
  const pixels = reshape(g, '/roi/pixels', padded, -1, levels.length * channels) // [N side side, 3 C]
  const taps = seenBins(g, '/roi/taps', busy, side) // [M, 9]
  const patches = gather(g, '/roi/patches', pixels, taps, 0) // [M, 9, 3 C]
  const rows = reshape(g, '/roi/patches', patches, -1, TAPS * TAPS * levels.length * channels)

  const source = convolutionsSideBySide(weights, levels.length, channels)
  const kernel = await int8Weight(g, '/roi/pconvs/weight', source, {
    shape: [TAPS * TAPS * levels.length * channels, channels],
    order: tapsFirst(levels.length, channels),
    transposed: true,
  })
  const zero = g.small('uint8', 0)
  const product = g.node('MatMulIntegerToFloat', '/roi/pconvs', [rows, kernel.codes, scale, kernel.scales, zero], {
    domain: 'com.microsoft',
  })
  const bias = await sumOfBiases(g, weights, levels.length, channels) // [1, C]
  const nothing = relu(g, '/roi/nothing', bias)
  const active = concat(g, '/roi/active', 0, relu(g, '/roi', add(g, '/roi/pconvs/bias', product, bias)), nothing)
  const activeScale = codeScale(g, '/roi/active', [active])
  const activeCodes = g.node('QuantizeLinear', '/roi/active', [active, activeScale, zero]) // [M + 1, C]
  const everywhere = gather(g, '/roi/flatten', activeCodes, placeOf(g, '/roi/place', busy), 0) // [N bins bins, C]
  const flat = reshape(g, '/roi/flatten', everywhere, -1, bins * bins * channels)

  const { weight, bias: offset } = weights.affine('flatten_linear')
  const matrix = await int8Weight(g, '/roi/flatten_linear/weight', weight, {
    shape: [bins * bins * channels, weight.shape[0]!],
    order: binsFirst(bins, channels),
    transposed: true,
  })
  const features = g.node(
    'MatMulIntegerToFloat',
    '/roi/flatten_linear',
    [flat, matrix.codes, activeScale, matrix.scales, zero],
    {
      domain: 'com.microsoft',
    },
  )
  return add(g, '/roi/flatten_linear/bias', features, await g.weight('/roi/flatten_linear/bias', offset))
}

/** All levels' channels side by side as uint8, with one scale. */
function joinedCodes(g: GraphBuilder, at: string, levels: readonly Value[]): { codes: Value; scale: Value } {
  const scale = codeScale(g, at, levels)
  const codes = levels.map((level, i) =>
    g.node('QuantizeLinear', `${at}/level.${i}`, [level, scale, g.small('uint8', 0)]),
  )
  return { codes: concat(g, at, 3, ...codes), scale }
}

/** The scale whose 255 reaches the largest of all values. */
function codeScale(g: GraphBuilder, at: string, values: readonly Value[]): Value {
  const peaks = values.map((value, i) =>
    g.node('ReduceMax', `${at}/peak.${i}`, [value], { attributes: { keepdims: int(0) } }),
  )
  return mul(g, `${at}/scale`, g.node('Max', `${at}/peak`, [...peaks, g.scalar(TINY)]), g.scalar(1 / CODE_MAX))
}

/** 1 where a tap of the convolution at a bin meets a bin that any level gives something, else 0: [N, bins, bins] floats. */
function busyBins(g: GraphBuilder, at: string, { rows, columns }: PooledLevels): Value {
  const along = (name: string, weights: readonly Value[]) => {
    const sums = weights.map((w, i) =>
      g.node('ReduceSum', `${at}/${name}.${i}`, [w, g.integers(2)], { attributes: { keepdims: int(0) } }),
    )
    const total = g.node('Sum', `${at}/${name}`, sums) // [N, bins]
    const near = g.node('MaxPool', `${at}/${name}`, [unsqueeze(g, `${at}/${name}`, total, 1)], {
      attributes: { kernel_shape: ints(TAPS), pads: ints(1, 1) },
    }) // [N, 1, bins]
    return g.node('Sign', `${at}/${name}`, [near])
  }
  const down = g.node('Transpose', `${at}/rows`, [along('rows', rows)], { attributes: { perm: ints(0, 2, 1) } })
  const busy = mul(g, at, down, along('columns', columns)) // [N, bins, bins]
  return busy
}

/** The pixels of the padded regions under the nine taps of each busy bin: [M, 9]. */
function seenBins(g: GraphBuilder, at: string, busy: Value, side: number): Value {
  const found = g.node('NonZero', at, [busy]) // [3, M]: region, row, column
  const place = g.node('Transpose', at, [found], { attributes: { perm: ints(1, 0) } }) // [M, 3]
  const strides = g.integers(side * side, side, 1)
  const corner = g.node('ReduceSum', at, [mul(g, `${at}/strides`, place, strides), g.integers(1)], {
    attributes: { keepdims: int(1) },
  }) // [M, 1]
  const offsets = Array.from({ length: TAPS * TAPS }, (_, tap) => Math.floor(tap / TAPS) * side + (tap % TAPS))
  return add(g, `${at}/offsets`, corner, g.integers(...offsets))
}

/** For each bin of each region its row among the busy ones, or the last row where it is none: [N * bins * bins]. */
function placeOf(g: GraphBuilder, at: string, busy: Value): Value {
  const flags = g.node('Cast', `${at}/flags`, [reshape(g, `${at}/flags`, busy, -1)], { attributes: { to: int(INT64) } })
  const order = g.node('CumSum', at, [flags, g.node('Squeeze', `${at}/axis`, [g.integers(0)])]) // 1 for the first busy one
  const count = g.node('ReduceSum', `${at}/count`, [flags], { attributes: { keepdims: int(1) } })
  const isBusy = g.node('Cast', `${at}/is_busy`, [flags], { attributes: { to: int(9) } })
  return g.node('Where', at, [isBusy, sub(g, `${at}/row`, order, g.integers(1)), count])
}

/** `pconvs` as one convolution of all levels' channels: [C, 3 levels * C, 3, 3], read row by row. */
function convolutionsSideBySide(weights: Weights, levels: number, channels: number): WeightSource {
  const width = channels * TAPS * TAPS
  const names = Array.from({ length: levels }, (_, level) => `pconvs.${level}.weight`)
  for (const name of names) weights.source(name, [channels, channels, TAPS, TAPS])
  return {
    shape: [channels, levels * channels, TAPS, TAPS],
    async *parts() {
      const stored = await Promise.all(names.map((name) => weights.read(name)))
      for (let output = 0; output < channels; output++) {
        const row = new Float32Array(levels * width)
        for (const [level, values] of stored.entries()) {
          row.set(values.subarray(output * width, (output + 1) * width), level * width)
        }
        yield row
      }
    },
  }
}

async function sumOfBiases(g: GraphBuilder, weights: Weights, levels: number, channels: number): Promise<Value> {
  const sum = new Float32Array(channels)
  for (let level = 0; level < levels; level++) {
    weights.source(`pconvs.${level}.bias`, [channels])
    for (const [i, value] of (await weights.read(`pconvs.${level}.bias`)).entries()) sum[i]! += value
  }
  return g.floats('/roi/pconvs/bias', sum, [1, channels])
}

/** From (level, channel, tap) to (tap, level, channel). */
function tapsFirst(levels: number, channels: number): Int32Array {
  const taps = TAPS * TAPS
  const all = levels * channels
  return Int32Array.from({ length: all * taps }, (_, i) => (i % taps) * all + Math.floor(i / taps))
}

/** From (channel, bin) to (bin, channel). */
function binsFirst(bins: number, channels: number): Int32Array {
  const places = bins * bins
  return Int32Array.from({ length: channels * places }, (_, i) => (i % places) * channels + Math.floor(i / places))
}
