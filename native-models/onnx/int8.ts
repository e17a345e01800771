import { int, ints } from './attributes.ts'
import type { GraphBuilder, Value, WeightSource } from './graphBuilder.ts'
import { type Affine, abs, add, mul } from './ops.ts'

/**
 * Products in 8 bits for the CPU: weights rounded once, a scale for each row of [N, K] (each output); activations rounded
 * while the graph runs, to uint8 (the only form that onnxruntime's fast kernels take).
 */

const CODE_MAX = 127
/** Added and taken away again, it leaves a small number rounded: several times as fast as Math.round. */
const ROUNDING = 1.5 * 2 ** 52
/** Rows are written to their transposed place in tiles of so many. */
const TILE_ROWS = 64

/** A matrix as the integer kernels want it. */
export interface Int8Weight {
  /** int8 */
  codes: Value
  /** float32 [N]: weight = code * scale */
  scales: Value
}

/** Where the weights of one output row go, and what they are called there. */
export interface Int8Layout {
  /** of the stored tensor */
  shape: readonly number[]
  /** [K]: the place along K of each weight of a row as the checkpoint has it; as it is by default */
  order?: Int32Array
  /** [K, N] as matrix products want it, or [N, K] as convolutions do */
  transposed: boolean
}

/**
 * Rounds a weight whose first axis is the output. Holds the whole tensor in memory once, in bytes.
 * @throws RangeError when a weight is not finite
 */
export async function int8Weight(
  g: GraphBuilder,
  path: string,
  source: WeightSource,
  { shape, order, transposed }: Int8Layout,
): Promise<Int8Weight> {
  const rows = source.shape[0]!
  const width = source.shape.slice(1).reduce((product, extent) => product * extent, 1)
  const codes = new Int8Array(rows * width)
  const scales = new Float32Array(rows)
  const tile = new Int8Array(TILE_ROWS * width)
  let row = 0
  for await (const part of source.parts()) {
    for (let start = 0; start < part.length; start += TILE_ROWS * width) {
      const count = Math.min(TILE_ROWS, (part.length - start) / width)
      for (let i = 0; i < count; i++) {
        const values = part.subarray(start + i * width, start + (i + 1) * width)
        scales[row + i] = roundRow(values, tile.subarray(i * width, (i + 1) * width))
      }
      if (transposed) placeTransposed(tile, { count, width, rows, row }, order, codes)
      else placeRows(tile, { count, width, row }, order, codes)
      row += count
    }
  }
  const value = await g.bytes(`${path}/codes`, 'int8', shape, [new Uint8Array(codes.buffer)])
  return { codes: value, scales: await g.floats(`${path}/scales`, scales, [rows]) }
}

interface Tile {
  /** rows in it, and their length */
  count: number
  width: number
  /** which row of the matrix its first one is */
  row: number
}

/** To [K, N], column by column, so that writes fall side by side. */
function placeTransposed(
  tile: Int8Array,
  { count, width, row, rows }: Tile & { rows: number },
  order: Int32Array | undefined,
  codes: Int8Array,
): void {
  for (let k = 0; k < width; k++) {
    const start = (order ? order[k]! : k) * rows + row
    for (let i = 0; i < count; i++) codes[start + i] = tile[i * width + k]!
  }
}

/** To [N, K]. */
function placeRows(
  tile: Int8Array,
  { count, width, row }: Tile,
  order: Int32Array | undefined,
  codes: Int8Array,
): void {
  if (!order) codes.set(tile.subarray(0, count * width), row * width)
  for (let i = 0; order && i < count; i++) {
    for (let k = 0; k < width; k++) codes[(row + i) * width + order[k]!] = tile[i * width + k]!
  }
}

/** Writes one row's codes and tells their scale. */
function roundRow(values: Float32Array, codes: Int8Array): number {
  let peak = 0
  for (let k = 0; k < values.length; k++) {
    const size = Math.abs(values[k]!)
    if (!(size <= peak)) peak = size
  }
  if (!Number.isFinite(peak)) throw new RangeError('a weight is not a finite number')
  if (peak === 0) {
    codes.fill(0)
    return 1
  }
  const inverse = CODE_MAX / peak
  for (let k = 0; k < values.length; k++) codes[k] = values[k]! * inverse + ROUNDING - ROUNDING
  return peak / CODE_MAX
}

/** The code of 0 where inputs lie on both sides of it alike. */
const MIDDLE = 128
const UINT8_MAX = 255
/** Rows that reach less far count as zero. */
const SMALLEST_PEAK = 1e-12

/**
 * x [M, K], weight [N, K] as checkpoints store it -> [M, N]. Each row has a step of its own, whatever the others hold.
 * ```
 *  x -+------------------------> QuantizeLinear -> MatMulIntegerToFloat -> * step -> + bias
 *     '-> its row's ends -> step [M] --'--------------------------------------'
 * ```
 * @param zeroCode of the inputs' codes: low for inputs that are hardly ever negative
 */
export async function int8Linear(
  g: GraphBuilder,
  path: string,
  x: Value,
  { weight, bias }: Affine,
  { zeroCode = MIDDLE }: { zeroCode?: number } = {},
): Promise<Value> {
  const [rows, width] = weight.shape as [number, number]
  const matrix = await int8Weight(g, `${path}/weight`, weight, { shape: [width, rows], transposed: true })
  const { codes, step } = rowCodes(g, path, x, zeroCode)
  const scaled = mul(g, `${path}/unscale`, rowProduct(g, path, codes, matrix, zeroCode), step)
  return bias ? add(g, `${path}/bias`, scaled, await g.weight(`${path}/bias`, bias)) : scaled
}

/** Rows x [M, K] as uint8 codes over a step of their own, [M, 1]: a row is `(code - zeroCode) * step`. */
export function rowCodes(g: GraphBuilder, path: string, x: Value, zeroCode = MIDDLE): { codes: Value; step: Value } {
  const step = rowStep(g, path, x, zeroCode)
  const steps = g.node('Squeeze', `${path}/steps`, [step, g.integers(1)]) // [M]
  const nothing = mul(g, `${path}/zeros`, steps, g.scalar(0))
  const zeros = g.node('QuantizeLinear', `${path}/zeros`, [nothing, g.scalar(1), g.small('uint8', zeroCode)])
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
