import type { GraphBuilder, Value } from '../onnx/graphBuilder.ts'
import { add, concat, gridSample, linear, mul, reshape, softmax, split, sumOverLast, transpose } from '../onnx/ops.ts'
import type { Level } from './sinePositions.ts'
import type { Weights } from './weights.ts'

export interface DeformableAttention {
  /** [Q, C] what asks */
  query: Value
  /** [T, C] the pixels of all levels, finest first */
  values: Value
  levels: readonly Level[]
  width: number
  heads: number
  points: number
  /** Where a query looks without any offset, in GridSample's -1..1: broadcasts to [heads, Q, points, 2]. */
  centre: Value
  /** What one unit of offset means on a level, in GridSample's units: broadcasts to [heads, Q, points, 2]. */
  unit: (level: number) => Value
}

/**
 * Each query reads a few bilinear samples of every level around its own place.
 * ```
 *  query -> sampling_offsets [Q, h, L, p, 2] -> * unit + centre -----------------.
 *  values -> value_proj -> level l as [h, C/h, H, W] ------------------ GridSample [h, C/h, Q, p] -> Concat over l --.
 *  query -> attention_weights [Q, h, L p] -> Softmax -> [h, 1, Q, L p] ------------------------------------------ * -
 *                                                                 -> sum over L p -> [Q, C] -> output_proj
 * ```
 * @returns [Q, C]
 */
export async function deformableAttention(
  g: GraphBuilder,
  at: string,
  weights: Weights,
  { query, values, levels, width, heads, points, centre, unit }: DeformableAttention,
): Promise<Value> {
  const samples = levels.length * points
  const size = width / heads

  const projected = await linear(g, `${at}/value_proj`, values, weights.affine('value_proj', [width, width])) // [T, C]
  const perLevel = split(g, `${at}/values`, projected, 0, ...levels.map(({ height, width }) => height * width))

  const offsets = await linear(
    g,
    `${at}/sampling_offsets`,
    query,
    weights.affine('sampling_offsets', [heads * samples * 2, width]),
  )
  const perHead = reshape(g, `${at}/offsets`, offsets, -1, heads, levels.length, points, 2)
  const levelFirst = transpose(g, `${at}/offsets`, perHead, 2, 1, 0, 3, 4) // [L, h, Q, p, 2]
  const levelOffsets = split(g, `${at}/offsets`, levelFirst, 0, ...levels.map(() => 1))

  const sampled = levels.map(({ height, width: columns }, level) => {
    const name = `${at}/level.${level}`
    const rows = reshape(g, `${name}/value_rows`, perLevel[level]!, height * columns, heads, size)
    const planes = transpose(g, `${name}/value_planes`, rows, 1, 2, 0) // [h, C/h, H W]
    const map = reshape(g, `${name}/value_map`, planes, heads, size, height, columns)
    const offset = reshape(g, `${name}/offset`, levelOffsets[level]!, heads, -1, points, 2)
    const grid = add(g, `${name}/grid`, mul(g, `${name}/grid`, offset, unit(level)), centre)
    return gridSample(g, name, map, grid, false) // [h, C/h, Q, p]
  })

  const logits = await linear(
    g,
    `${at}/attention_weights`,
    query,
    weights.affine('attention_weights', [heads * samples, width]),
  )
  const shares = softmax(g, `${at}/shares`, reshape(g, `${at}/shares`, logits, -1, heads, samples)) // [Q, h, L p]
  const sharesOfHead = transpose(g, `${at}/shares_of_head`, shares, 1, 0, 2) // [h, Q, L p]
  const broadcastable = reshape(g, `${at}/shares_of_head`, sharesOfHead, heads, 1, -1, samples)

  const all = concat(g, `${at}/samples`, 3, ...sampled) // [h, C/h, Q, L p]
  const mixed = sumOverLast(g, `${at}/mix`, mul(g, `${at}/mix`, all, broadcastable)) // [h, C/h, Q]
  const merged = reshape(g, `${at}/merge`, transpose(g, `${at}/merge`, mixed, 2, 0, 1), -1, width) // [Q, C]
  return linear(g, `${at}/output_proj`, merged, weights.affine('output_proj', [width, width]))
}
