import { int } from '../onnx/attributes.ts'
import type { GraphBuilder, Value, WeightSource } from '../onnx/graphBuilder.ts'
import { rowCodes, rowProduct } from '../onnx/int8.ts'
import { concat, matMul, mul, reshape, split } from '../onnx/ops.ts'
import type { Precision } from './modelFiles.ts'
import type { Weights } from './weights.ts'

const TAPS = 3

export interface FirstRound {
  /** patches along the picture's side */
  side: number
  channels: number
  /** how many times finer than the patches each level is, finest first */
  scales: readonly number[]
}

/** A part of a level's channels at the patches' resolution, [P P, c]: floats, or codes with each row's step. */
interface Part {
  rows: Value
  step?: Value
}

/**
 * The convolution of the first round of fusion, of levels that are nothing but the projected patches enlarged.
 * Enlarging is linear and acts on rows and columns alone, the 3x3 weights act on channels alone: so the weights go first, at
 * the patches' resolution, and each of the nine products is enlarged and moved by its tap afterwards. The same numbers
 * as a convolution of the enlarged levels, at a fifth of the work. In int8 the products with the weights have 8 bits, each
 * patch over its own range, since no norm has tamed the inputs; enlarging stays float.
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
  precision: Precision['vision'],
): Promise<Value[]> {
  const quarter = Math.floor(channels / 4)
  const lengths = [channels - 2 * quarter, quarter, quarter] // as the weights want them: own, top, down
  const [own, top, down] = await tapWeights(weights, channels, lengths)
  const weigh = { own: [], top: [], down: [] } as Record<Word, Weigh[]>
  for (const [word, sources] of Object.entries({ own, top, down }) as [Word, WeightSource[]][]) {
    for (const [row, source] of sources.entries())
      weigh[word].push(await weighing(g, `${at}/conv/${word}.${row}`, source, precision))
  }
  const parts = projected.map((rows, level) => {
    const values = split(g, `${at}/level.${level}/parts`, rows, 1, lengths[0]!, quarter, quarter)
    return values.map((part, i): Part => {
      if (precision !== 'int8') return { rows: part }
      const { codes, step } = rowCodes(g, `${at}/level.${level}/part.${i}`, part)
      return { rows: codes, step }
    })
  })
  const last = scales.length - 1
  const convolved: Value[] = []
  for (const [level, scale] of scales.entries()) {
    const name = `${at}/level.${level}`
    const size = side * scale
    const above = Math.min(level + 1, last)
    const below = Math.max(level - 1, 0)
    const sources = [
      { word: 'own', part: parts[level]![0]!, from: level },
      { word: 'top', part: parts[above]![2]!, from: above },
      { word: 'down', part: parts[below]![1]!, from: below },
    ] as const
    const stretched: Value[] = []
    const rowTaps: Float32Array[][] = []
    for (const { word, part, from } of sources) {
      const enlarge = throughLevel(side, side * scales[from]!, size)
      const moved = Array.from({ length: TAPS }, (_, tap) => movedBy(enlarge, size, side, tap - 1))
      const shares = await g.floats(`${name}/${word}/columns`, interleaved(moved, size, side), [size, side * TAPS])
      const columns = part.step ? await inSteps(g, `${name}/${word}`, shares, part.step, side) : shares
      for (const [tap, product] of weigh[word].entries()) {
        const weighed = product(`${name}/${word}.${tap}/weigh`, part.rows) // [P P, 3 C]
        const lines = reshape(g, `${name}/${word}.${tap}/lines`, weighed, side, side * TAPS, channels)
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

type Word = 'own' | 'top' | 'down'
/** A product [P P, 3 C] of one part's rows with the weights of one row of taps. */
type Weigh = (at: string, rows: Value) => Value

async function weighing(
  g: GraphBuilder,
  at: string,
  source: WeightSource,
  precision: Precision['vision'],
): Promise<Weigh> {
  const [outputs, inputs] = source.shape as [number, number]
  if (precision === 'int8') {
    const matrix = g.int8(at, source, [inputs, outputs], {})
    return (name, rows) => rowProduct(g, name, rows, matrix)
  }
  const weight = await g.weight(at, source)
  return (name, rows) => g.node('Gemm', name, [rows, weight], { attributes: { transB: int(1) } })
}

/** Shares [L, 3 P] of columns that come in steps of their own, [P P, 1]: [P, L, 3 P], one matrix for each row of patches. */
async function inSteps(g: GraphBuilder, at: string, shares: Value, step: Value, side: number): Promise<Value> {
  const taps = await g.floats(`${at}/taps`, new Float32Array(TAPS).fill(1), [1, 1, 1, TAPS])
  const places = reshape(g, `${at}/places`, step, side, 1, side, 1)
  const spread = reshape(g, `${at}/spread`, mul(g, `${at}/spread`, places, taps), side, 1, side * TAPS)
  return mul(g, `${at}/columns`, shares, spread)
}

/** `conv.weight` [C, C, 3, 3] as, for each of own, top and down, three matrices [3 * C, c]: one for each row of taps. */
async function tapWeights(weights: Weights, channels: number, lengths: readonly number[]): Promise<WeightSource[][]> {
  weights.source('conv.weight', [channels, channels, TAPS, TAPS])
  const stored = await weights.read('conv.weight')
  const values: WeightSource[][] = []
  let first = 0
  for (const length of lengths) {
    const start = first
    const matrix = (row: number) => {
      const values = new Float32Array(TAPS * channels * length)
      for (let column = 0; column < TAPS; column++) {
        for (let output = 0; output < channels; output++) {
          for (let c = 0; c < length; c++) {
            const source = ((output * channels + start + c) * TAPS + row) * TAPS + column
            values[(column * channels + output) * length + c] = stored[source]!
          }
        }
      }
      return values
    }
    const shape = [TAPS * channels, length]
    values.push(Array.from({ length: TAPS }, (_, row) => ({ shape, parts: () => [matrix(row)] })))
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
