import type { GraphBuilder, Value } from '../onnx/graphBuilder.ts'
import { concat, matMul, reshape, split } from '../onnx/ops.ts'
import type { Weights } from './weights.ts'

const TAPS = 3

export interface FirstRound {
  /** patches along the picture's side */
  side: number
  channels: number
  /** how many times finer than the patches each level is, finest first */
  scales: readonly number[]
}

/**
 * The convolution of the first round of fusion, of levels that are nothing but the projected patches enlarged.
 * Enlarging is linear and acts on rows and columns alone, the 3x3 weights act on channels alone: so the weights go first, at
 * the patches' resolution, and each of the nine products is enlarged and moved by its tap afterwards. The same numbers
 * as a convolution of the enlarged levels, at a fifth of the work, and in float: this is the one place of the fusion whose
 * inputs no norm has tamed.
 * ```
 *  per level, for its own channels and those of its neighbours (regionMaps.ts), each with its row of taps r:
 *  patches [P P, c] -> * weights of r [c, 3 C] -> [P (row), P 3 (column, tap), C] -> columns [L, P 3] * -> [P, L, C] -.
 *  all of them: Concat [9 P, L C] -> rows [L, 9 P] * -> [L L, C]
 * ```
 * @param projected [P * P, C] of each level
 * @returns [L * L, C] of each level, row-major, not yet normed
 */
export async function firstRound(
  g: GraphBuilder,
  at: string,
  weights: Weights,
  projected: readonly Value[],
  { side, channels, scales }: FirstRound,
): Promise<Value[]> {
  const quarter = Math.floor(channels / 4)
  const lengths = [channels - 2 * quarter, quarter, quarter] // as the weights want them: own, top, down
  const [own, top, down] = await tapWeights(g, at, weights, channels, lengths)
  const parts = projected.map((rows, level) =>
    split(g, `${at}/level.${level}/parts`, rows, 1, lengths[0]!, quarter, quarter),
  )
  const last = scales.length - 1
  const convolved: Value[] = []
  for (const [level, scale] of scales.entries()) {
    const name = `${at}/level.${level}`
    const size = side * scale
    const above = Math.min(level + 1, last)
    const below = Math.max(level - 1, 0)
    const sources = [
      { word: 'own', rows: parts[level]![0]!, weights: own!, from: level },
      { word: 'top', rows: parts[above]![2]!, weights: top!, from: above },
      { word: 'down', rows: parts[below]![1]!, weights: down!, from: below },
    ]
    const stretched: Value[] = []
    const rowTaps: Float32Array[][] = []
    for (const { word, rows, weights, from } of sources) {
      const enlarge = throughLevel(side, side * scales[from]!, size)
      const moved = Array.from({ length: TAPS }, (_, tap) => movedBy(enlarge, size, side, tap - 1))
      const columns = await g.floats(`${name}/${word}/columns`, interleaved(moved, size, side), [size, side * TAPS])
      for (const [tap, weight] of weights.entries()) {
        const product = matMul(g, `${name}/${word}.${tap}/weigh`, rows, weight) // [P P, 3 C]
        const lines = reshape(g, `${name}/${word}.${tap}/lines`, product, side, side * TAPS, channels)
        const across = matMul(g, `${name}/${word}.${tap}/across`, columns, lines) // [P, L, C]
        stretched.push(reshape(g, `${name}/${word}.${tap}/across`, across, side, size * channels))
        rowTaps.push([moved[tap]!])
      }
    }
    const all = concat(g, `${name}/stretched`, 0, ...stretched) // [9 P, L C]
    const rows = await g.floats(`${name}/rows`, sideBySide(rowTaps.flat(), size, side), [size, rowTaps.length * side])
    convolved.push(reshape(g, name, matMul(g, `${name}/down`, rows, all), size * size, channels))
  }
  return convolved
}

/** `conv.weight` [C, C, 3, 3] as, for each of own, top and down, three matrices [c, 3 * C]: one for each row of taps. */
async function tapWeights(
  g: GraphBuilder,
  at: string,
  weights: Weights,
  channels: number,
  lengths: readonly number[],
): Promise<Value[][]> {
  weights.source('conv.weight', [channels, channels, TAPS, TAPS])
  const stored = await weights.read('conv.weight')
  const values: Value[][] = []
  let first = 0
  for (const [part, length] of lengths.entries()) {
    const rows: Value[] = []
    for (let row = 0; row < TAPS; row++) {
      const matrix = new Float32Array(length * TAPS * channels)
      for (let output = 0; output < channels; output++) {
        for (let c = 0; c < length; c++) {
          const source = ((output * channels + first + c) * TAPS + row) * TAPS
          for (let column = 0; column < TAPS; column++) {
            matrix[(c * TAPS + column) * channels + output] = stored[source + column]!
          }
        }
      }
      rows.push(await g.floats(`${at}/conv/weight.${part}.${row}`, matrix, [length, TAPS * channels]))
    }
    values.push(rows)
    first += length
  }
  return values
}

/** Enlarging patches to a level and that level to another size, as one matrix [size, side]. */
function throughLevel(side: number, level: number, size: number): Float64Array {
  const toLevel = bilinear(side, level)
  if (level === size) return toLevel
  const toSize = bilinear(level, size)
  const product = new Float64Array(size * side)
  for (let i = 0; i < size; i++) {
    for (let k = 0; k < level; k++) {
      const weight = toSize[i * level + k]!
      if (weight !== 0) for (let j = 0; j < side; j++) product[i * side + j]! += weight * toLevel[k * side + j]!
    }
  }
  return product
}

/** Bilinear resizing of a line with aligned ends: [to, from]. */
function bilinear(from: number, to: number): Float64Array {
  const matrix = new Float64Array(to * from)
  for (let i = 0; i < to; i++) {
    const place = to === 1 ? 0 : (i * (from - 1)) / (to - 1)
    const low = Math.min(Math.floor(place), from - 1)
    matrix[i * from + low]! += 1 - (place - low)
    if (low + 1 < from) matrix[i * from + low + 1]! += place - low
  }
  return matrix
}

/** Row i of the result is row i + offset; what lies beyond counts as zero, as a convolution's padding does. */
function movedBy(matrix: Float64Array, size: number, side: number, offset: number): Float32Array {
  const moved = new Float32Array(size * side)
  for (let i = 0; i < size; i++) {
    const row = i + offset
    if (row >= 0 && row < size) moved.set(matrix.subarray(row * side, (row + 1) * side), i * side)
  }
  return moved
}

/** [size, side] matrices as [size, side * count], entry by entry in turn. */
function interleaved(matrices: readonly Float32Array[], size: number, side: number): Float32Array {
  return Float32Array.from({ length: size * side * matrices.length }, (_, i) => {
    return matrices[i % matrices.length]![Math.floor(i / matrices.length)]!
  })
}

/** [size, side] matrices as [size, count * side], one after the other. */
function sideBySide(matrices: readonly Float32Array[], size: number, side: number): Float32Array {
  const joined = new Float32Array(size * side * matrices.length)
  for (const [index, matrix] of matrices.entries()) {
    for (let i = 0; i < size; i++) {
      joined.set(matrix.subarray(i * side, (i + 1) * side), (i * matrices.length + index) * side)
    }
  }
  return joined
}
