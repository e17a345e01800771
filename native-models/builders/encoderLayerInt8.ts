import type { GromaConfig } from '../groma/config.ts'
import type { GraphBuilder, Value, WeightSource } from '../onnx/graphBuilder.ts'
import { rowCodes, rowProduct } from '../onnx/int8.ts'
import { type Affine, add, attention, gelu, layerNorm, mul } from '../onnx/ops.ts'
import type { Weights } from './weights.ts'

/** The code of 0 in what lies on both sides of it alike. */
const MIDDLE = 128
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
  const rows = { ...rowCodes(g, `${at}/attn/qkv`, normed, MIDDLE), zeroCode: MIDDLE }
  const own = weights.at('attention.attention')
  const projected = (name: string) =>
    product(g, `${at}/attn/${name}`, rows, own.source(`${name}.weight`, [width, width]))
  const inputs = { query: projected('query'), key: projected('key'), value: projected('value') }
  const biases = Object.keys(inputs).map((name) => ({ name: `${name}.bias`, expected: [width] }))
  const bias = qkvBias ? await g.weight(`${at}/attn/qkv/bias`, own.stacked(...biases)) : undefined
  const mixed = attention(g, `${at}/attn`, inputs, { heads, width, bias })
  const lambda = (part: 1 | 2) => g.weight(`${at}/scale${part}`, weights.source(`layer_scale${part}.lambda1`, [width]))
  const dense = weights.affine('attention.output.dense', [width, width])
  const attended = await linear(g, `${at}/attn/dense`, mixed, dense, { outputScale: await lambda(1) })
  const middle = add(g, `${at}/attn`, x, attended)

  const normed2 = await layerNorm(g, `${at}/norm2`, middle, { ...weights.affine('norm2', [width]), epsilon })
  const expanded = await linear(g, `${at}/mlp/fc1`, normed2, weights.affine('mlp.fc1', [mlpSize, width]))
  const fc2 = weights.affine('mlp.fc2', [width, mlpSize])
  const options = { outputScale: await lambda(2), zeroCode: GELU_ZERO_CODE }
  return add(g, `${at}/mlp`, middle, await linear(g, `${at}/mlp/fc2`, gelu(g, `${at}/mlp`, expanded), fc2, options))
}

interface LinearOptions {
  zeroCode?: number
  /** [N]: a constant, so that it costs nothing when the graph runs */
  outputScale?: Value
}

/** (x [M, K] . weight [N, K] + bias) * outputScale -> [M, N]; each row of x has a step of its own. */
async function linear(
  g: GraphBuilder,
  path: string,
  x: Value,
  { weight, bias }: Required<Affine>,
  { zeroCode = MIDDLE, outputScale }: LinearOptions = {},
): Promise<Value> {
  const scaled = product(g, path, { ...rowCodes(g, path, x, zeroCode), zeroCode }, weight, outputScale)
  const shift = await g.weight(`${path}/bias`, bias!)
  return add(g, `${path}/bias`, scaled, outputScale ? mul(g, `${path}/bias`, shift, outputScale) : shift)
}

type Rows = ReturnType<typeof rowCodes> & { zeroCode: number }

/** Rows in codes times weight [N, K]: float [M, N]. */
function product(g: GraphBuilder, path: string, rows: Rows, weight: WeightSource, outputScale?: Value): Value {
  const [outputs, inputs] = weight.shape as [number, number]
  const { codes, scales } = g.int8(`${path}/weight`, weight, [inputs, outputs], {})
  const matrix = { codes, scales: outputScale ? mul(g, `${path}/scales`, scales, outputScale) : scales }
  return mul(g, `${path}/unscale`, rowProduct(g, path, rows.codes, matrix, rows.zeroCode), rows.step)
}
