import { int, ints } from './attributes.ts'
import type { GraphBuilder, Value, WeightSource } from './graphBuilder.ts'
import { type Affine, abs, add, mul } from './ops.ts'

/**
 * Products in 8 bits for the CPU: weights rounded once, a scale for each row of [N, K] (each output); activations rounded
 * while the graph runs, to uint8 (the only form that onnxruntime's fast kernels take).
 */

/** A matrix as the integer kernels want it. */
export interface Int8Weight {
  /** int8 */
  codes: Value
  /** float32 [N]: weight = code * scale */
  scales: Value
}

/** The code of 0 in what lies on both sides of it alike. */
export const MIDDLE = 128
const UINT8_MAX = 255
/** Rows that reach less far count as zero. */
const SMALLEST_PEAK = 1e-12

/**
 * (x [M, K] . weight [N, K] as checkpoints store it + bias) * outputScale -> [M, N]. Each row has a step of its own, whatever
 * the others hold.
 * ```
 *  x -+------------------------> QuantizeLinear -> MatMulIntegerToFloat -> * step -> + bias
 *     '-> its row's ends -> step [M] --'--------------------------------------'
 * ```
 */
export async function int8Linear(
  g: GraphBuilder,
  path: string,
  x: Value,
  { weight, bias }: Affine,
  options: ProductOptions = {},
): Promise<Value> {
  const scaled = rowsTimes(g, path, rowCodes(g, path, x, options.zeroCode), weight, options)
  if (!bias) return scaled
  const shift = await g.weight(`${path}/bias`, bias)
  const { outputScale } = options
  return add(g, `${path}/bias`, scaled, outputScale ? mul(g, `${path}/bias`, shift, outputScale) : shift)
}

export interface ProductOptions {
  /** of the inputs' codes: low for inputs that are hardly ever negative */
  zeroCode?: number
  /** [N]: a constant, so that it costs nothing when the graph runs */
  outputScale?: Value
}

/** Several matrices over the same rows, which are rounded once: a product of few columns writes less than a cache holds. */
export function int8Linears(g: GraphBuilder, path: string, x: Value, weights: Record<string, WeightSource>): Value[] {
  const rows = rowCodes(g, path, x)
  return Object.entries(weights).map(([name, weight]) => rowsTimes(g, `${path}/${name}`, rows, weight))
}

/** Rows in codes times weight [N, K]: float [M, N]. */
function rowsTimes(
  g: GraphBuilder,
  path: string,
  { codes: rows, step }: RowCodes,
  weight: WeightSource,
  { zeroCode = MIDDLE, outputScale }: ProductOptions = {},
): Value {
  const [outputs, inputs] = weight.shape as [number, number]
  const { codes, scales } = g.int8(`${path}/weight`, weight, [inputs, outputs], {})
  const matrix = { codes, scales: outputScale ? mul(g, `${path}/scales`, scales, outputScale) : scales }
  return mul(g, `${path}/unscale`, rowProduct(g, path, rows, matrix, zeroCode), step)
}

export interface RowCodes {
  /** [M, K] */
  codes: Value
  /** [M, 1] */
  step: Value
}

/** Rows x [M, K] as uint8 codes over a step of their own: a row is `(code - zeroCode) * step`. */
export function rowCodes(g: GraphBuilder, path: string, x: Value, zeroCode = MIDDLE): RowCodes {
  return codesOf(g, path, x, rowStep(g, path, x, zeroCode), g.small('uint8', zeroCode))
}

/** The same as int8, with 0 for 0. */
export function signedRowCodes(g: GraphBuilder, path: string, x: Value): RowCodes {
  return codesOf(g, path, x, rowStep(g, path, x, MIDDLE), g.small('int8', 0))
}

function codesOf(g: GraphBuilder, path: string, x: Value, step: Value, zero: Value): RowCodes {
  const steps = g.node('Squeeze', `${path}/steps`, [step, g.integers(1)]) // [M]
  const zeros = g.node('Expand', `${path}/zeros`, [zero, g.node('Shape', `${path}/zeros`, [steps])])
  const codes = g.node('QuantizeLinear', `${path}/codes`, [x, steps, zeros], { attributes: { axis: int(0) } })
  return { codes, step }
}

/** Codes of rows [M, K] times a matrix [K, N]: float [M, N], in steps of each row. */
export function rowProduct(g: GraphBuilder, path: string, codes: Value, matrix: Int8Weight, zeroCode = MIDDLE): Value {
  const inputs = [codes, matrix.codes, g.scalar(1), matrix.scales, g.small('uint8', zeroCode)]
  return g.node('MatMulIntegerToFloat', path, inputs, { domain: 'com.microsoft' })
}

/** How far a row's codes lie apart so that both of its ends have one: [M, 1]. */
function rowStep(g: GraphBuilder, path: string, x: Value, zeroCode: number): Value {
  const end = (op: 'Max' | 'Min', codes: number) => {
    const found = g.node(`Reduce${op}`, `${path}/end`, [x], { attributes: { axes: ints(-1), keepdims: int(1) } })
    return mul(g, `${path}/${op}`, found, g.scalar(1 / codes))
  }
  return g.node('Max', `${path}/step`, [
    end('Max', UINT8_MAX - zeroCode),
    end('Min', -zeroCode),
    g.scalar(SMALLEST_PEAK),
  ])
}

/** The largest |x| of each row, [.., 1]. */
export function rowPeak(g: GraphBuilder, path: string, x: Value): Value {
  const peak = g.node('ReduceMax', `${path}/peak`, [abs(g, `${path}/peak`, x)], {
    attributes: { axes: { kind: 'ints', value: [-1] }, keepdims: { kind: 'int', value: 1 } },
  })
  return g.node('Max', `${path}/peak`, [peak, g.scalar(SMALLEST_PEAK)])
}
