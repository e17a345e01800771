import type { GraphBuilder, Value } from './graphBuilder.ts'
import { int8Linear } from './int8.ts'
import { type Affine, type LinearFormat, linear } from './ops.ts'

/** `int8-rows`: weights in 8 bits with a scale a row, inputs rounded row by row: the fastest product of many rows on a CPU. */
export type AnyLinearFormat = LinearFormat | 'int8-rows'

/** x [M, K], weight [N, K] as checkpoints store it -> [M, N], with the weights kept in a format. */
export function linearIn(
  format: AnyLinearFormat,
  g: GraphBuilder,
  path: string,
  x: Value,
  affine: Affine,
): Promise<Value> {
  return format === 'int8-rows' ? int8Linear(g, path, x, affine) : linear(g, path, x, affine, format)
}
