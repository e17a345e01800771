import type { GromaConfig } from '../groma/config.ts'
import type { GraphBuilder, Value } from '../onnx/graphBuilder.ts'
import { int8Linear, int8Linears } from '../onnx/int8.ts'
import { add, attention, gelu, layerNorm } from '../onnx/ops.ts'
import type { Weights } from './weights.ts'

/** GELU never goes below -0.17: nearly all codes are for what lies above 0. */
const GELU_ZERO_CODE = 24

/**
 * One layer of the encoder (visionEncoder.ts) with products of integers, for the CPU. Queries, keys and values are three
 * products of the same codes: each leaves its sums in the cache, and nothing has to be split. Their biases are added by the
 * attention. LayerScale is in the weights' scales.
 * ```
 *  x -+- norm1 -> codes -> q, k, v -> attention -> dense -- + -+- norm2 -> fc1 -> GELU -> fc2 -- + ->
 *     '----------------------------------------------------' '---------------------------------'
 * ```
 */
export async function encoderLayerInt8(
  g: GraphBuilder,
  at: string,
  x: Value,
  weights: Weights,
  { hiddenSize: width, headCount: heads, mlpSize, qkvBias, layerNormEps: epsilon }: GromaConfig['vision'],
): Promise<Value> {
  const normed = await layerNorm(g, `${at}/norm1`, x, { ...weights.affine('norm1', [width]), epsilon })
  const own = weights.at('attention.attention')
  const names = ['query', 'key', 'value'] as const
  const matrices = Object.fromEntries(names.map((name) => [name, own.source(`${name}.weight`, [width, width])]))
  const [query, key, value] = int8Linears(g, `${at}/attn`, normed, matrices)
  const biases = names.map((name) => ({ name: `${name}.bias`, expected: [width] }))
  const bias = qkvBias ? await g.weight(`${at}/attn/qkv/bias`, own.stacked(...biases)) : undefined
  const mixed = attention(g, `${at}/attn`, { query: query!, key: key!, value: value! }, { heads, width, bias })
  const lambda = (part: 1 | 2) => g.weight(`${at}/scale${part}`, weights.source(`layer_scale${part}.lambda1`, [width]))
  const dense = weights.affine('attention.output.dense', [width, width])
  const attended = await int8Linear(g, `${at}/attn/dense`, mixed, dense, { outputScale: await lambda(1) })
  const middle = add(g, `${at}/attn`, x, attended)

  const normed2 = await layerNorm(g, `${at}/norm2`, middle, { ...weights.affine('norm2', [width]), epsilon })
  const expanded = await int8Linear(g, `${at}/mlp/fc1`, normed2, weights.affine('mlp.fc1', [mlpSize, width]))
  const fc2 = weights.affine('mlp.fc2', [width, mlpSize])
  const options = { outputScale: await lambda(2), zeroCode: GELU_ZERO_CODE }
  return add(g, `${at}/mlp`, middle, await int8Linear(g, `${at}/mlp/fc2`, gelu(g, `${at}/mlp`, expanded), fc2, options))
}
