import type { GraphBuilder, Value } from '../onnx/graphBuilder.ts'
import { gelu, linear, reshape, slice, transpose } from '../onnx/ops.ts'
import type { Weights } from './weights.ts'

/**
 * Four neighbouring patches become one token of the language model (groma.md section 3).
 * ```
 *  hidden_state [1 + P, C] -> drop CLS -> [s/2, 2, s/2, 2, C] -> channels of (even row, even column), (odd, even),
 *  (even, odd), (odd, odd) side by side [P/4, 4C] -> Linear -> GELU -> Linear -> image_tokens [P/4, H]
 * ```
 * @param side patches along the picture's side, even
 */
export async function buildImageTokens(
  g: GraphBuilder,
  bridge: Weights,
  { side, width, hiddenSize }: { side: number; width: number; hiddenSize: number },
): Promise<Value> {
  const at = '/bridge'
  const half = side / 2
  const state = g.input('hidden_state', 'float32', [1 + side * side, width])
  const patches = slice(g, `${at}/patches`, state, 0, 1, 1 + side * side) // [P, C]
  const blocks = reshape(g, `${at}/blocks`, patches, half, 2, half, 2, width) // (row, its parity, column, its parity)
  const columnFirst = transpose(g, `${at}/blocks`, blocks, 0, 2, 3, 1, 4) // [s/2, s/2, column parity, row parity, C]
  const joined = reshape(g, `${at}/join`, columnFirst, half * half, 4 * width) // [P/4, 4C]
  const hidden = gelu(g, at, await linear(g, `${at}/0`, joined, bridge.affine('0', [hiddenSize, 4 * width])))
  return linear(g, `${at}/2`, hidden, bridge.affine('2', [hiddenSize, hiddenSize])) // [P/4, H]
}
