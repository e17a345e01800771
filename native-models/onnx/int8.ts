import type { GraphBuilder, Value, WeightSource } from './graphBuilder.ts'
import { type Affine, abs, add, div, mul } from './ops.ts'

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

export interface Int8LinearOptions {
  /**
   * What one scale serves: each row its own, whatever the others hold, or all rows of a product together, which saves
   * three passes over the data.
   */
  scale: 'row' | 'tensor'
}

/** Smaller rows than this count as zero. */
const SMALLEST_PEAK = 1e-12

/**
 * x [M, K], weight [N, K] as checkpoints store it -> [M, N].
 * ```
 *  tensor:  x -> DynamicQuantizeMatMul + bias
 *  row:     x -> / its row's peak -> DynamicQuantizeMatMul -> * the peak -> + bias
 * ```
 */
export async function int8Linear(
  g: GraphBuilder,
  path: string,
  x: Value,
  { weight, bias }: Affine,
  { scale }: Int8LinearOptions,
): Promise<Value> {
  const [rows, width] = weight.shape as [number, number]
  const { codes, scales } = await int8Weight(g, `${path}/weight`, weight, { shape: [width, rows], transposed: true })
  const offset = bias ? await g.weight(`${path}/bias`, bias) : undefined
  const product = (input: Value, ...rest: Value[]) =>
    g.node('DynamicQuantizeMatMul', path, [input, codes, scales, ...rest], { domain: 'com.microsoft' })
  if (scale === 'tensor') return offset ? product(x, '', offset) : product(x)
  const peak = rowPeak(g, path, x) // [M, 1]
  const scaled = mul(g, `${path}/unscale`, product(div(g, `${path}/scale`, x, peak)), peak)
  return offset ? add(g, `${path}/bias`, scaled, offset) : scaled
}

/** The largest |x| of each row, [.., 1]. */
export function rowPeak(g: GraphBuilder, path: string, x: Value): Value {
  const peak = g.node('ReduceMax', `${path}/peak`, [abs(g, `${path}/peak`, x)], {
    attributes: { axes: { kind: 'ints', value: [-1] }, keepdims: { kind: 'int', value: 1 } },
  })
  return g.node('Max', `${path}/peak`, [peak, g.scalar(SMALLEST_PEAK)])
}
