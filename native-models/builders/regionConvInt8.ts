import { int, ints } from '../onnx/attributes.ts'
import type { GraphBuilder, Value, WeightSource } from '../onnx/graphBuilder.ts'
import { abs, add, cast, concat, div, gather, mul, reshape, sub, unsqueeze } from '../onnx/ops.ts'
import { codeSteps, highestRectified, rectifiedCodes, scaleOfPeaks, ZERO_CODE } from './convolutionCodes.ts'
import type { Weights } from './weights.ts'

const TAPS = 3
/** Places that are looked at to learn what range the convolution's output will have. */
const SAMPLES = 64
/** A channel's codes lie at least this part of its bias apart. */
const SMALLEST_STEP = 1e-3
const INT64 = 7
const INT64_MAX = 2 ** 53

export interface PooledLevels {
  /** per level uint8 [N, bins, bins, C] (row, column, channel), 0 for 0 */
  levels: readonly Value[]
  /** what one step of all of them means */
  scale: Value
  /** per level uint8 [N, bins, L]: what the pixels along a side give to each bin */
  rows: readonly Value[]
  columns: readonly Value[]
  bins: number
  channels: number
}

/**
 * Pooled regions through `pconvs` (3x3, one for each level, summed), ReLU and `flatten_linear`, in 8 bits.
 * Many bins lie outside the maps and hold nothing but zeros (SCALE_ODDITY): where a convolution would see only those, its
 * result is its bias, and is not computed but once.
 * ```
 *  levels -> codes [N, bins + 2, bins + 2, 3 C] -> the 9 taps of each place where something is [1, M + 1, 9, 3 C]
 *    -> QLinearConv 1x9 -> + bias, ReLU -> codes [M + 1, C] -> all places [N, bins bins C] -> product = [N, width]
 * ```
 */
export async function pooledFeatures(g: GraphBuilder, weights: Weights, pooled: PooledLevels): Promise<Value> {
  const { bins, channels, levels, scale } = pooled
  const zero = g.small('uint8', 0)
  const side = bins + 2
  const joined = concat(g, '/roi/pooled', 3, ...levels)
  const padded = g.node('Pad', '/roi/padded', [joined, g.integers(0, 1, 1, 0, 0, 1, 1, 0), zero])
  const busy = busyBins(g, '/roi/busy', pooled) // [N, bins, bins]
  const width = levels.length * channels
  const pixels = reshape(g, '/roi/pixels', padded, -1, width) // [N side side, 3 C]
  const taps = seenBins(g, '/roi/taps', busy, side) // [M + 1, 9]
  const patches = gather(g, '/roi/patches', pixels, taps, 0) // [M + 1, 9, 3 C]
  const active = await convolved(g, weights, patches, { levels: levels.length, channels, scale })
  const everywhere = gather(g, '/roi/flatten', active.codes, placeOf(g, '/roi/place', busy), 0) // [N bins bins, C]
  const flat = reshape(g, '/roi/flatten', everywhere, -1, bins * bins * channels)

  const { weight, bias } = weights.affine('flatten_linear')
  const matrix = g.int8('/roi/flatten_linear/weight', weight, [bins * bins * channels, weight.shape[0]!], {
    order: binsFirst(bins, channels),
  })
  const inputs = [flat, matrix.codes, active.scale, matrix.scales, zero]
  const features = g.node('MatMulIntegerToFloat', '/roi/flatten_linear', inputs, { domain: 'com.microsoft' })
  return add(g, '/roi/flatten_linear/bias', features, await g.weight('/roi/flatten_linear/bias', bias))
}

/** ReLU(`pconvs`) of patches [M, 9, 3 C]: codes [M, C], 0 for 0, and their scale. */
async function convolved(
  g: GraphBuilder,
  weights: Weights,
  patches: Value,
  { levels, channels, scale }: { levels: number; channels: number; scale: Value },
): Promise<{ codes: Value; scale: Value }> {
  const at = '/roi/pconvs'
  const taps = TAPS * TAPS
  const width = levels * channels
  const source = convolutionsSideBySide(weights, levels, channels)
  const kernel = g.int8(`${at}/weight`, source, [channels, width, 1, taps], 'rows')
  const matrix = g.int8(`${at}/matrix`, source, [taps * width, channels], { order: tapsFirst(levels, channels) })
  const samples = reshape(g, `${at}/samples`, someRows(g, `${at}/samples`, patches), -1, taps * width)
  const inputs = [samples, matrix.codes, scale, matrix.scales, g.small('uint8', 0)]
  const seen = g.node('MatMulIntegerToFloat', `${at}/samples`, inputs, { domain: 'com.microsoft' })
  const bias = await sumOfBiases(g, weights, levels, channels) // [C]
  const least = mul(g, `${at}/least`, abs(g, `${at}/least`, bias), g.scalar(SMALLEST_STEP))
  const step = g.node('Max', `${at}/step`, [codeSteps(g, `${at}/range`, seen), least]) // [C]

  const line = unsqueeze(g, `${at}/line`, patches, 0) // [1, M, 9, 3 C]: each place a row of its own
  const unit = div(g, `${at}/requantize`, mul(g, `${at}/unit`, kernel.scales, scale), step)
  const conv = [line, g.scalar(1), g.small('uint8', 0), kernel.codes, unit, g.small('int8', 0)]
  conv.push(g.scalar(1), g.small('uint8', ZERO_CODE))
  const attributes = { kernel_shape: ints(1, taps), channels_last: int(1) }
  const codes = g.node('QLinearConv', at, conv, { domain: 'com.microsoft', attributes }) // [1, M, 1, C]
  const shift = add(g, `${at}/shift`, mul(g, `${at}/start`, step, g.scalar(-ZERO_CODE)), bias)
  const active = scaleOfPeaks(g, `${at}/active`, [highestRectified(g, `${at}/peak`, { gain: step, shift })])
  const rectified = await rectifiedCodes(g, `${at}/active`, codes, { gain: step, shift, scale: active, channels })
  return { codes: reshape(g, `${at}/active`, rectified, -1, channels), scale: active }
}

/** About SAMPLES of the rows, evenly spaced. */
function someRows(g: GraphBuilder, at: string, rows: Value): Value {
  const shape = g.node('Shape', `${at}/shape`, [rows], { attributes: { start: int(0), end: int(1) } })
  const step = g.node('Max', `${at}/step`, [div(g, `${at}/step`, shape, g.integers(SAMPLES)), g.integers(1)])
  return g.node('Slice', `${at}/some`, [rows, g.integers(0), g.integers(INT64_MAX), g.integers(0), step])
}

/** 1 where a tap of the convolution at a bin meets a bin that any level gives something, else 0: [N, bins, bins] floats. */
function busyBins(g: GraphBuilder, at: string, { rows, columns }: PooledLevels): Value {
  const along = (name: string, weights: readonly Value[]) => {
    const sums = weights.map((w, i) => {
      const floats = cast(g, `${at}/${name}.${i}`, w, 'float32')
      return g.node('ReduceSum', `${at}/${name}.${i}`, [floats, g.integers(2)], { attributes: { keepdims: int(0) } })
    })
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

/** The pixels of the padded regions under the nine taps of each busy bin, and a last row that sees only zeros: [M + 1, 9]. */
function seenBins(g: GraphBuilder, at: string, busy: Value, side: number): Value {
  const found = g.node('NonZero', at, [busy]) // [3, M]: region, row, column
  const place = g.node('Transpose', at, [found], { attributes: { perm: ints(1, 0) } }) // [M, 3]
  const strides = g.integers(side * side, side, 1)
  const corner = g.node('ReduceSum', at, [mul(g, `${at}/strides`, place, strides), g.integers(1)], {
    attributes: { keepdims: int(1) },
  }) // [M, 1]
  const offsets = Array.from({ length: TAPS * TAPS }, (_, tap) => Math.floor(tap / TAPS) * side + (tap % TAPS))
  const seen = add(g, `${at}/offsets`, corner, g.integers(...offsets))
  // the corner of a padded region is padding
  const nothing = unsqueeze(g, `${at}/nothing`, g.integers(...offsets.map(() => 0)), 0)
  return concat(g, at, 0, seen, nothing)
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
  return g.floats('/roi/pconvs/bias', sum, [channels])
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
