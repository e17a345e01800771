import type { GromaConfig } from '../groma/config.ts'
import { int } from '../onnx/attributes.ts'
import type { GraphBuilder, Value } from '../onnx/graphBuilder.ts'
import { rowPeak } from '../onnx/int8.ts'
import { add, cast, concat, div, matMul, mul, reshape, sub, transpose } from '../onnx/ops.ts'
import type { LlmFormats, PromptFormat } from './llmFormats.ts'

/**
 * Keys and values of the prompt in one layer, [G, 1, P, d]. In 8 bits keys are uint8 with 128 for nothing and values int8, each
 * token with what its numbers are to be multiplied by, [G, 1, 1, P].
 */
export interface LayerPrompt {
  key: Value
  value: Value
  scales: { key: Value; value: Value } | null
  /** G and d */
  heads: number
  headSize: number
}

/** Declares them as inputs. */
export function promptInputs(
  g: GraphBuilder,
  { kvHeadCount: heads, headSize }: Pick<GromaConfig['llm'], 'kvHeadCount' | 'headSize'>,
  format: PromptFormat,
  layer: number,
): LayerPrompt {
  const numbers = (kind: string, type: 'float32' | 'int8' | 'uint8') =>
    g.input(`prefix_${kind}.${layer}`, type, [heads, 1, 'P', headSize])
  const sizes = { heads, headSize }
  if (format === 'float32') {
    return { key: numbers('key', format), value: numbers('value', format), scales: null, ...sizes }
  }
  const scale = (kind: string) => g.input(`prefix_${kind}_scale.${layer}`, 'float32', [heads, 1, 1, 'P'])
  const [key, keyScale] = [numbers('key', 'uint8'), scale('key')]
  return { key, value: numbers('value', 'int8'), scales: { key: keyScale, value: scale('value') }, ...sizes }
}

/** The two products of attention over a prompt. */
export interface PromptAttention {
  /** queries [G, 1, R, d] -> scores [G, 1, R, P] */
  scores: (queries: Value) => Value
  /** shares [G, 1, R, P] -> mixed values [G, 1, R, d] */
  mix: (shares: Value) => Value
}

/**
 * Attention over a prompt as it is stored. With few rows its bytes are what takes time, so keys and values in 8 bits are
 * multiplied as they are; many rows are faster as floats.
 */
export function attendPrompt(
  g: GraphBuilder,
  at: string,
  prompt: LayerPrompt,
  attention: LlmFormats['attention'],
): PromptAttention {
  const { key, value, scales } = prompt
  const transposed = (name: string, x: Value) => transpose(g, `${at}/${name}`, x, 0, 1, 3, 2)
  if (scales === null) {
    return {
      scores: (queries) => matMul(g, `${at}/scores.0`, queries, transposed('key.0', key)),
      mix: (shares) => matMul(g, `${at}/mix.0`, shares, value),
    }
  }
  if (attention === 'float') return attendPrompt(g, at, asFloats(g, at, { ...prompt, scales }), attention)
  return {
    scores(queries) {
      const { codes, scale } = twoDigits(g, `${at}/asked`, queries, QUERY_DIGITS)
      const inputs = [key, transposed('asked/codes', codes), g.small('uint8', KEY_ZERO)]
      const products = transposed('scores.0', asFloat(g, `${at}/scores.0`, inputs)) // [G, 1, 2 R, P]
      const scores = joined(g, `${at}/scores.0`, products, scale, QUERY_DIGITS)
      return mul(g, `${at}/scores.0/scaled`, scores, scales.key)
    },
    mix(shares) {
      const scaled = mul(g, `${at}/shares.0/scaled`, shares, scales.value)
      const { codes, scale } = twoDigits(g, `${at}/shares.0`, scaled, SHARE_DIGITS)
      return joined(g, `${at}/mix.0`, asFloat(g, `${at}/mix.0`, [codes, value]), scale, SHARE_DIGITS)
    },
  }
}

/** The code of a key that is 0. */
const KEY_ZERO = 128

/** The keys and values that 8 bits stand for. */
function asFloats(
  g: GraphBuilder,
  at: string,
  prompt: LayerPrompt & { scales: NonNullable<LayerPrompt['scales']> },
): LayerPrompt {
  const { key, value, scales, heads, headSize } = prompt
  const floats = (name: string, codes: Value, scale: Value, zero?: Value) => {
    const path = `${at}/${name}`
    const steps = reshape(g, `${path}/steps`, scale, -1) // [G P]
    const inputs = [reshape(g, `${path}/rows`, codes, -1, headSize), steps]
    if (zero) inputs.push(g.node('Expand', `${path}/zeros`, [zero, g.node('Shape', `${path}/zeros`, [steps])]))
    const numbers = g.node('DequantizeLinear', path, inputs, { attributes: { axis: int(0) } })
    return reshape(g, path, numbers, heads, 1, -1, headSize)
  }
  return {
    ...prompt,
    key: floats('key.0', key, scales.key, g.small('uint8', KEY_ZERO)),
    value: floats('value.0', value, scales.value),
    scales: null,
  }
}

/** A number in two digits: `high` steps of the first to its row's peak, `low` steps of the second to one of the first. */
interface Digits {
  type: 'int8' | 'uint8'
  rounding: 'Round' | 'Floor'
  high: number
  low: number
}
/** Of both signs: what the first digit leaves is half a step at most. */
const QUERY_DIGITS: Digits = { type: 'int8', rounding: 'Round', high: 127, low: 254 }
/** Never below zero: what is left is a step at most. */
const SHARE_DIGITS: Digits = { type: 'uint8', rounding: 'Floor', high: 255, low: 255 }

/** x [G, 1, R, n] -> first digits of all rows, then second digits [G, 1, 2 R, n], and what a first digit stands for [G, 1, R, 1]. */
function twoDigits(
  g: GraphBuilder,
  at: string,
  x: Value,
  { type, rounding, high, low }: Digits,
): { codes: Value; scale: Value } {
  const scale = mul(g, `${at}/step`, rowPeak(g, at, x), g.scalar(1 / high))
  const steps = div(g, `${at}/steps`, x, scale)
  const first = g.node(rounding, `${at}/first`, [steps])
  const rest = mul(g, `${at}/rest`, sub(g, `${at}/rest`, steps, first), g.scalar(low))
  const second = g.node('Round', `${at}/second`, [rest])
  return { codes: cast(g, `${at}/codes`, concat(g, `${at}/codes`, 2, first, second), type), scale }
}

/** Products of both digits [G, 1, 2 R, n] -> products of the numbers [G, 1, R, n]. */
function joined(g: GraphBuilder, at: string, products: Value, scale: Value, { low }: Digits): Value {
  const rows = g.node('Shape', `${at}/rows`, [scale], { attributes: { start: int(2), end: int(3) } })
  const [first, second] = g.nodes('Split', `${at}/digits`, [products, concat(g, `${at}/halves`, 0, rows, rows)], {
    attributes: { axis: int(2) },
    outputCount: 2,
  })
  const sum = add(g, `${at}/joined`, first!, mul(g, `${at}/second`, second!, g.scalar(1 / low)))
  return mul(g, `${at}/joined`, sum, scale)
}

function asFloat(g: GraphBuilder, at: string, inputs: Value[]): Value {
  return cast(g, at, g.node('MatMulInteger', at, inputs), 'float32')
}
