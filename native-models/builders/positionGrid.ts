import { GromaError } from '../errors.ts'

/** The kernel's sharpness in torch's bicubic. */
const A = -0.75

/**
 * Position embeddings for a side x side grid of patches. Where the stored grid has another side, it is resized as the
 * authors' library does: bicubic, half-pixel centres, borders repeated, and the step of a grid (side + 0.1) wide.
 * @param stored [1 + n * n, width] CLS first, row-major
 * @returns [1 + side * side, width]
 * @throws GromaError CHECKPOINT_INVALID when the stored positions are no square
 */
export function resizePositionGrid(stored: Float32Array, width: number, side: number): Float32Array {
  const storedSide = Math.round(Math.sqrt(stored.length / width - 1))
  if ((storedSide * storedSide + 1) * width !== stored.length) {
    throw new GromaError('CHECKPOINT_INVALID', 'the position embeddings of the vision encoder are no square grid')
  }
  if (storedSide === side) return stored
  const step = Math.fround(1 / Math.fround((side + 0.1) / storedSide))
  const taps = Array.from({ length: side }, (_, index) => bicubicTaps(index, step, storedSide))
  const grid = stored.subarray(width)
  const resized = new Float32Array((side * side + 1) * width)
  resized.set(stored.subarray(0, width))

  const between = new Float64Array(storedSide * side * width) // [storedSide (rows), side (columns), width]
  for (let row = 0; row < storedSide; row++) {
    for (let column = 0; column < side; column++) {
      const target = (row * side + column) * width
      for (const { index, weight } of taps[column]!) {
        const source = (row * storedSide + index) * width
        for (let c = 0; c < width; c++) between[target + c]! += weight * grid[source + c]!
      }
    }
  }
  for (let row = 0; row < side; row++) {
    for (let column = 0; column < side; column++) {
      const target = (1 + row * side + column) * width
      for (let c = 0; c < width; c++) {
        let sum = 0
        for (const { index, weight } of taps[row]!) sum += weight * between[(index * side + column) * width + c]!
        resized[target + c] = sum
      }
    }
  }
  return resized
}

function bicubicTaps(target: number, step: number, length: number): { index: number; weight: number }[] {
  const position = Math.fround(step * (target + 0.5) - 0.5)
  const first = Math.floor(position)
  const t = position - first
  const near = (x: number) => ((A + 2) * x - (A + 3)) * x * x + 1
  const far = (x: number) => ((A * x - 5 * A) * x + 8 * A) * x - 4 * A
  return [far(t + 1), near(t), near(1 - t), far(2 - t)].map((weight, tap) => ({
    index: Math.min(Math.max(first - 1 + tap, 0), length - 1),
    weight,
  }))
}
