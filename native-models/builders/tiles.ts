import type { WeightSource } from '../onnx/graphBuilder.ts'
import { MIDDLE } from '../onnx/int8.ts'

/** Weights along a side of a convolution. */
export const TAPS = 3
/** Places side by side that are computed together: a tile. */
export const TILE = 2

/**
 * Winograd's F(2, 3): of the four places d0..d3 that a tile's two results see along a side (the one before it, its own two, the
 * one behind) and the three weights g0, g1, g2, four products are needed instead of six:
 * ```
 *  (d0 - d2) g0 = m0   (d1 + d2) (g0 + g1 + g2) / 2 = m1   (d2 - d1) (g0 - g1 + g2) / 2 = m2   (d1 - d3) g2 = m3
 *  first result = m0 + m1 + m2   second result = m1 - m2 - m3
 * ```
 * What is made of codes has codes again: `zero` is the code of 0.
 */
export const KINDS = [
  { places: [1, 0, -1, 0], weights: [1, 0, 0], shares: [1, 0], zero: MIDDLE },
  { places: [0, 1, 1, 0], weights: [0.5, 0.5, 0.5], shares: [1, 1], zero: 0 },
  { places: [0, -1, 1, 0], weights: [0.5, -0.5, 0.5], shares: [1, -1], zero: MIDDLE },
  { places: [0, 1, 0, -1], weights: [0, 0, 1], shares: [0, -1], zero: MIDDLE },
] as const
export type Kind = (typeof KINDS)[number]
/** What is made of codes in steps so many times as large never leaves the range of codes. */
export const SAFE_STEP = 2
/** For each result of a tile, what each kind has in it. */
export const SHARES = Array.from({ length: TILE }, (_, result) => KINDS.map(({ shares }) => shares[result]!))

/**
 * 3x3 weights [N, C, 3, 3] of several tensors, side by side along C, of which one axis is summed as a kind has it:
 * [N, all C, 3], read row by row.
 * @param along what tiles lie along
 */
export function kindWeights(
  tensors: readonly { shape: readonly number[]; read: () => Promise<Float32Array> }[],
  { weights: [first, second, third] }: Kind,
  along: 'rows' | 'columns',
): WeightSource {
  const outputs = tensors[0]!.shape[0]!
  const widths = tensors.map(({ shape }) => shape[1]! * TAPS)
  const all = widths.reduce((sum, width) => sum + width, 0)
  const [step, next] = along === 'rows' ? [TAPS, 1] : [1, TAPS]
  return {
    shape: [outputs, all / TAPS, TAPS],
    async *parts() {
      const stored = await Promise.all(tensors.map(({ read }) => read()))
      for (let output = 0; output < outputs; output++) {
        const row = new Float32Array(all)
        let start = 0
        for (const [tensor, values] of stored.entries()) {
          const width = widths[tensor]!
          for (let i = 0; i < width; i++) {
            const at = (output * width + Math.floor(i / TAPS) * TAPS) * TAPS + (i % TAPS) * next
            row[start + i] = first * values[at]! + second * values[at + step]! + third * values[at + 2 * step]!
          }
          start += width
        }
        yield row
      }
    },
  }
}

/** From (channel, tap) to (tap, channel): where each weight of an output goes in a product with gathered taps. */
export function tapsFirst(channels: number): Int32Array {
  return Int32Array.from({ length: channels * TAPS }, (_, i) => (i % TAPS) * channels + Math.floor(i / TAPS))
}
