import { int, ints } from '../onnx/attributes.ts'
import type { GraphBuilder, Value } from '../onnx/graphBuilder.ts'
import { add, cast, div, mul, relu, sub } from '../onnx/ops.ts'

/**
 * What an integer convolution puts out: uint8 codes, each channel over its own range. The ranges come from the picture at
 * hand: the convolution is computed at a few places first.
 *
 * Zero has the same code in every channel, and no bias is added. onnxruntime's fastest kernel keeps its sums in registers,
 * and takes neither a bias nor a zero point that the graph computes: 1,950 GOP/s instead of 1,630.
 */

export const CODE_MAX = 255
/** The code of 0: ranges reach a little further up than down. */
export const ZERO_CODE = 104
/** How far a channel's range reaches: so many times as far as was sampled, and at least so many standard deviations. */
const RANGE = { low: { reach: 1.25, deviations: 4 }, high: { reach: 1.5, deviations: 6 } }
const TINY = 1e-12
/** Weight of the pointwise products that norm: their shifts are exact to this part of a code. */
const POINTWISE = 64
const SHIFT_MAX = 2 ** 30

/** How far each channel's codes lie apart, [C], from sampled rows [places, C]. */
export function codeSteps(g: GraphBuilder, at: string, rows: Value): Value {
  const mean = reduce(g, 'ReduceMean', `${at}/mean`, rows)
  const centred = sub(g, `${at}/centred`, rows, mean)
  const variance = reduce(g, 'ReduceMean', `${at}/variance`, mul(g, `${at}/squares`, centred, centred))
  const spread = g.node('Sqrt', `${at}/deviation`, [variance])
  const reach = (name: 'low' | 'high', op: 'Min' | 'Max', sign: number, codes: number) => {
    const { reach, deviations } = RANGE[name]
    const seen = mul(g, `${at}/${name}/seen`, reduce(g, `Reduce${op}`, `${at}/${name}`, centred), g.scalar(reach))
    const least = mul(g, `${at}/${name}/least`, spread, g.scalar(sign * deviations))
    const end = add(g, `${at}/${name}/end`, mean, g.node(op, `${at}/${name}`, [seen, least]))
    return mul(g, `${at}/${name}/step`, end, g.scalar(sign / codes))
  }
  const low = reach('low', 'Min', -1, ZERO_CODE)
  const high = reach('high', 'Max', 1, CODE_MAX - ZERO_CODE)
  return g.node('Max', `${at}/step`, [low, high, g.scalar(TINY)])
}

/** [C], over rows [R, C]. */
export function reduce(g: GraphBuilder, opType: string, at: string, rows: Value): Value {
  return g.node(opType, at, [rows], { attributes: { axes: ints(0), keepdims: int(0) } })
}

export interface Rectified {
  /** [C] */
  gain: Value
  /** [C] */
  shift: Value
  /** of the result's codes, whose zero means zero */
  scale: Value
  channels: number
  /** with what factors, 1, 0 or -1, so many neighbouring places are summed before */
  shares: readonly number[]
}

/** The highest value that ReLU(y * gain + shift) has for any code y. */
export function highestRectified(
  g: GraphBuilder,
  at: string,
  { gain, shift }: Pick<Rectified, 'gain' | 'shift'>,
): Value {
  const highest = add(g, at, mul(g, at, relu(g, `${at}/rising`, gain), g.scalar(CODE_MAX)), shift)
  return g.node('ReduceMax', at, [highest], { attributes: { keepdims: int(0) } })
}

/** max(0, y * gain + shift) / scale, rounded, for sums y of codes [1, H, W, C] along W: one pass over bytes. */
export async function rectifiedCodes(
  g: GraphBuilder,
  at: string,
  codes: Value,
  { gain, shift, scale, channels, shares }: Rectified,
): Promise<Value> {
  const fixed = Int8Array.from({ length: channels * shares.length }, (_, i) => POINTWISE * shares[i % shares.length]!)
  const shape = [channels, 1, 1, shares.length]
  const weight = g.bytes(`${at}/pointwise`, 'int8', shape, new Uint8Array(fixed.buffer))
  const bias = wholeSteps(g, `${at}/bias`, shift, mul(g, `${at}/step`, gain, g.scalar(1 / POINTWISE)))
  const factor = div(g, `${at}/factor`, mul(g, `${at}/factor`, gain, g.scalar(1 / POINTWISE)), scale)
  const inputs = [codes, g.scalar(1), g.small('uint8', 0), weight, factor, g.small('int8', 0)]
  inputs.push(g.scalar(1), g.small('uint8', 0), bias)
  const attributes = { kernel_shape: ints(1, shares.length), group: int(channels), channels_last: int(1) }
  return g.node('QLinearConv', at, inputs, { domain: 'com.microsoft', attributes })
}

/** How many steps a value is, as int32: what an integer convolution adds. */
export function wholeSteps(g: GraphBuilder, at: string, value: Value, step: Value): Value {
  const inRange = g.node('Clip', at, [div(g, at, value, step), g.scalar(-SHIFT_MAX), g.scalar(SHIFT_MAX)])
  return cast(g, at, g.node('Round', at, [inRange]), 'int32')
}

/** The scale whose 255 reaches the largest of the peaks. */
export function scaleOfPeaks(g: GraphBuilder, at: string, peaks: readonly Value[]): Value {
  const peak = g.node('Max', `${at}/peak`, [...peaks, g.scalar(TINY)])
  return mul(g, `${at}/scale`, peak, g.scalar(1 / CODE_MAX))
}
