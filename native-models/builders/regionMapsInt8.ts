import { int, ints } from '../onnx/attributes.ts'
import type { GraphBuilder, Value } from '../onnx/graphBuilder.ts'
import { add, cast, concat, div, mul, relu, reshape, resizeAlignCorners, split, sub } from '../onnx/ops.ts'
import { CODE_MAX, highestRectified, reduce, scaleOfPeaks, wholeSteps, ZERO_CODE } from './convolutionCodes.ts'
import { convolveMap, placesOf, rowFilters, type TileSums, tileWeights } from './mapConvolution.ts'
import type { Weights } from './weights.ts'

export interface Int8Rounds {
  side: number
  channels: number
  /** how many times finer than the patches each level is, finest first */
  scales: readonly number[]
  groups: number
  epsilon: number
}

/** A round's levels as uint8 [1, L, L, C], zero meaning zero, and the scale that they share. */
interface Codes {
  levels: readonly Value[]
  scale: Value
}

/** What a convolution left, and per channel [C] what norms its codes y: ReLU(y * gain + shift); `step` is what a step of y means. */
interface Convolved {
  sums: TileSums
  step: Value
  gain: Value
  shift: Value
}

/** The code of 0 in the maps that are put out. */
export const SIGNED_ZERO = -128
/** A channel that the norm turns off keeps this much, so that nothing is divided by zero. */
const SMALLEST_GAIN = 1e-5

/**
 * The rounds of fusion after the first in 8 bits, for the CPU, channels last. What is float are numbers per channel.
 * ```
 *  codes of all levels -> exchange of quarters -+-> QLinearConv 3x3 -> codes y, each channel over its own range
 *           products at a few places, ranges <--'                       |-> means of y and y^2 -> GroupNorm's gain, shift
 *                                                                       '-> ReLU(y * gain + shift) = next codes
 * ```
 * Ranges come from the picture at hand, never from others: each convolution is computed at a few places first. GroupNorm,
 * ReLU and the next rounding are one pointwise QLinearConv.
 * @param convolved of the first round, [L * L, C] of each level: float, not yet normed
 * @returns [L, L, C] of each level as int8 codes, -128 for 0, and the scale that they share
 */
export async function buildInt8Rounds(
  g: GraphBuilder,
  rounds: readonly Weights[],
  convolved: readonly Value[],
  shape: Int8Rounds,
): Promise<{ maps: Value[]; scale: Value }> {
  const { side, channels, scales } = shape
  const first: Value[] = []
  for (const [level, rows] of convolved.entries()) {
    first.push(await floatNorm(g, `/regions/fuse.0/level.${level}`, rows, rounds[0]!, shape))
  }
  let codes = roundTogether(g, '/regions/fuse.0', first, shape)
  const filters = rowFilters(g, '/regions/row_filter', channels)
  for (const [index, weights] of rounds.slice(1).entries()) {
    const at = `/regions/fuse.${index + 1}`
    codes = normTogether(g, at, await convolve(g, at, weights, codes, shape, filters))
  }
  // as the second factor of the region head's products, codes are twice as fast with a sign
  const maps = codes.levels.map((level, i) => {
    const at = `/regions/level.${i}/map`
    const length = side * scales[i]!
    const steps = cast(g, at, level, 'float32')
    const signed = g.node('QuantizeLinear', at, [steps, g.scalar(1), g.small('int8', SIGNED_ZERO)])
    return reshape(g, at, signed, length, length, channels)
  })
  return { maps, scale: codes.scale }
}

/** GroupNorm and ReLU of rows [L * L, C]. */
async function floatNorm(
  g: GraphBuilder,
  at: string,
  rows: Value,
  weights: Weights,
  { channels, groups, epsilon }: Int8Rounds,
): Promise<Value> {
  const grouped = (name: string, x: Value) => ofGroup(g, `${at}/${name}`, x, channels, groups)
  const mean = grouped('mean', reduce(g, 'ReduceMean', `${at}/mean`, rows))
  const centred = sub(g, `${at}/centred`, rows, mean)
  const squares = mul(g, `${at}/squares`, centred, centred)
  const variance = grouped('variance', reduce(g, 'ReduceMean', `${at}/variance`, squares))
  const { weight, bias } = await normWeights(g, at, weights, channels)
  const gain = div(g, `${at}/gain`, weight, deviation(g, `${at}/deviation`, variance, epsilon))
  return relu(g, at, add(g, `${at}/shift`, mul(g, `${at}/gain`, centred, gain), bias))
}

/** Float levels, nowhere negative, as codes of one scale. */
function roundTogether(g: GraphBuilder, at: string, levels: readonly Value[], shape: Int8Rounds): Codes {
  const peaks = levels.map((rows, i) => {
    const attributes = { keepdims: int(0) }
    return g.node('ReduceMax', `${at}/level.${i}/peak`, [rows], { attributes })
  })
  const scale = scaleOfPeaks(g, at, peaks)
  const codes = levels.map((rows, i) => {
    const length = shape.side * shape.scales[i]!
    const codes = g.node('QuantizeLinear', `${at}/level.${i}/codes`, [rows, scale, g.small('uint8', 0)])
    return reshape(g, `${at}/level.${i}/codes`, codes, 1, length, length, shape.channels)
  })
  return { levels: codes, scale }
}

/** One round's convolution of every level. */
async function convolve(
  g: GraphBuilder,
  at: string,
  weights: Weights,
  { levels, scale }: Codes,
  shape: Int8Rounds,
  filters: readonly Value[],
): Promise<Convolved[]> {
  const { side, channels, scales } = shape
  const kernel = tileWeights(g, `${at}/conv`, weights, channels)
  const norm = await normWeights(g, `${at}/gn`, weights, channels)
  const convolved: Convolved[] = []
  for (const [level, map] of exchange(g, at, levels, shape).entries()) {
    const name = `${at}/level.${level}`
    const length = side * scales[level]!
    const { codes, step, sums } = convolveMap(g, `${name}/conv`, map, kernel, { scale, length, channels, filters })
    const start = mul(g, `${name}/start`, step, g.scalar(-ZERO_CODE)) // [C], of code 0
    convolved.push({ sums, step, ...(await groupNormOf(g, name, { codes, step, start, norm, length }, shape)) })
  }
  return convolved
}

interface NormInput {
  codes: Value
  /** [C]: a value is `code * step + start` */
  step: Value
  start: Value
  norm: { weight: Value; bias: Value }
  length: number
}

/** GroupNorm of a level's codes as a gain and a shift per channel, from the sums of all codes and of their squares. */
async function groupNormOf(
  g: GraphBuilder,
  at: string,
  { codes, step, start, norm, length }: NormInput,
  { channels, groups, epsilon }: Int8Rounds,
): Promise<{ gain: Value; shift: Value }> {
  const count = length * length
  const ones = g.bytes(`${at}/ones`, 'uint8', [1, count], new Uint8Array(count).fill(1))
  const average = (name: string, x: Value, unit: number) => {
    const sums = g.node('MatMulInteger', `${at}/${name}`, [ones, reshape(g, `${at}/${name}`, x, count, channels)])
    const floats = cast(g, `${at}/${name}`, reshape(g, `${at}/${name}/sums`, sums, channels), 'float32')
    return mul(g, `${at}/${name}/mean`, floats, g.scalar(unit / count)) // [C]
  }
  const grouped = (name: string, x: Value) => ofGroup(g, `${at}/${name}`, x, channels, groups)
  const mean = average('codes', codes, 1)
  // squares are rounded to multiples of 255: over all pixels of a group that evens out
  const squares = g.node(
    'QLinearMul',
    `${at}/squares`,
    [
      codes,
      g.scalar(1),
      g.small('uint8', 0),
      codes,
      g.scalar(1),
      g.small('uint8', 0),
      g.scalar(CODE_MAX),
      g.small('uint8', 0),
    ],
    { domain: 'com.microsoft' },
  )
  const codeVariance = relu(
    g,
    `${at}/code_variance`,
    sub(g, `${at}/code_variance`, average('code_squares', squares, CODE_MAX), mul(g, `${at}/mean_square`, mean, mean)),
  )
  const value = add(g, `${at}/channel_mean`, mul(g, `${at}/channel_mean`, mean, step), start)
  const middle = grouped('group_mean', value)
  const off = sub(g, `${at}/off`, value, middle)
  const stepSquare = mul(g, `${at}/step_square`, step, step)
  const within = mul(g, `${at}/within`, codeVariance, stepSquare)
  const variance = grouped('group_variance', add(g, `${at}/spread`, within, mul(g, `${at}/between`, off, off)))
  const factor = div(g, `${at}/factor`, norm.weight, deviation(g, `${at}/deviation`, variance, epsilon))
  const fromMiddle = mul(g, `${at}/shift`, sub(g, `${at}/from_middle`, start, middle), factor)
  return { gain: mul(g, `${at}/gain`, factor, step), shift: add(g, `${at}/shift`, fromMiddle, norm.bias) }
}

/** ReLU(y * gain + shift) of all levels, as codes of one scale, from what y is the rounded sum of. */
function normTogether(g: GraphBuilder, at: string, convolved: readonly Convolved[]): Codes {
  const peaks = convolved.map((level, i) => highestRectified(g, `${at}/level.${i}/peak`, level))
  const scale = scaleOfPeaks(g, at, peaks)
  const levels: Value[] = []
  for (const [i, { sums, step, gain, shift }] of convolved.entries()) {
    const name = `${at}/level.${i}/normed`
    const perUnit = mul(g, `${name}/unit`, gain, div(g, `${name}/unit`, sums.unit, step)) // [C]
    const atZero = add(g, `${name}/at_zero`, shift, mul(g, `${name}/at_zero`, gain, g.scalar(ZERO_CODE)))
    const bias = wholeSteps(g, `${name}/bias`, atZero, perUnit)
    levels.push(placesOf(g, name, sums, { factor: div(g, `${name}/factor`, perUnit, scale), bias, zero: 0 }))
  }
  return { levels, scale }
}

/** For each level: own half, quarter of the coarser level, quarter of the finer one, each [1, L, L, c]. */
function exchange(
  g: GraphBuilder,
  at: string,
  levels: readonly Value[],
  { side, channels, scales }: Int8Rounds,
): Value[] {
  const quarter = Math.floor(channels / 4)
  const parts = levels.map((map, level) =>
    split(g, `${at}/level.${level}/parts`, map, 3, channels - 2 * quarter, quarter, quarter),
  )
  return scales.map((scale, level) => {
    const length = side * scale
    const fetch = (from: number, part: number, word: string) => {
      const codes = parts[from]![part]!
      if (from === level) return codes
      const name = `${at}/level.${level}/${word}`
      // onnxruntime's bilinear resize of uint8 cuts instead of rounding
      const floats = resizeAlignCorners(g, name, cast(g, name, codes, 'float32'), [1, length, length, quarter])
      return g.node('QuantizeLinear', name, [floats, g.scalar(1), g.small('uint8', 0)])
    }
    const top = fetch(Math.min(level + 1, scales.length - 1), 2, 'top')
    const down = fetch(Math.max(level - 1, 0), 1, 'down')
    return concat(g, `${at}/level.${level}/exchanged`, 3, parts[level]![0]!, top, down)
  })
}

/** The mean over each group of channels, back at every channel: [C]. */
function ofGroup(g: GraphBuilder, at: string, perChannel: Value, channels: number, groups: number): Value {
  const grouped = reshape(g, `${at}/grouped`, perChannel, groups, channels / groups)
  const mean = g.node('ReduceMean', `${at}/of_group`, [grouped], { attributes: { axes: ints(1), keepdims: int(1) } })
  const spread = g.node('Expand', `${at}/of_group`, [mean, g.integers(groups, channels / groups)])
  return reshape(g, `${at}/of_channel`, spread, channels)
}

function deviation(g: GraphBuilder, at: string, variance: Value, epsilon: number): Value {
  return g.node('Sqrt', at, [epsilon === 0 ? variance : add(g, at, variance, g.scalar(epsilon))])
}

async function normWeights(g: GraphBuilder, at: string, weights: Weights, channels: number) {
  weights.source('gn.weight', [channels])
  const stored = await weights.read('gn.weight')
  const weight = stored.map((value) => (Math.abs(value) < SMALLEST_GAIN ? SMALLEST_GAIN : value))
  return {
    weight: await g.floats(`${at}/gn/weight`, weight, [channels]),
    bias: await g.weight(`${at}/gn/bias`, weights.source('gn.bias', [channels])),
  }
}
