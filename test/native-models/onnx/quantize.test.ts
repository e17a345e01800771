import { describe, expect, it } from 'vitest'
import { floats } from '../../../native-models/inference/session.ts'
import { linear } from '../../../native-models/onnx/ops.ts'
import { type BlockFormat, blocksPerRow, bytesPerRow, quantizeRows } from '../../../native-models/onnx/quantize.ts'
import { difference, noise, runGraph, weight } from './runGraph.ts'

/** What the codes stand for, as the operator's definition has it. */
function dequantize(values: Float32Array, width: number, format: BlockFormat): Float32Array {
  const { codes, scales } = quantizeRows(values, width, format)
  const blocks = blocksPerRow(width, format)
  const rowBytes = bytesPerRow(width, format)
  return values.map((_, i) => {
    const [row, column] = [Math.floor(i / width), i % width]
    const scale = scales[row * blocks + Math.floor(column / format.blockSize)]!
    if (format.bits === 8) return (codes[row * rowBytes + column]! - 128) * scale
    const pair = codes[row * rowBytes + (column >> 1)]!
    return ((column & 1 ? pair >> 4 : pair & 15) - 8) * scale
  })
}

function relativeError(a: Float32Array, b: Float32Array): number {
  const squares = (x: Float32Array) => x.reduce((sum, value) => sum + value * value, 0)
  return Math.sqrt(squares(a.map((value, i) => value - b[i]!)) / squares(b))
}

/** Normally distributed, nearly as trained weights are. */
const bell = (count: number) => {
  const [radius, angle] = [noise(count), noise(count, 977)]
  return radius.map((value, i) => Math.sqrt(-2 * Math.log((value + 1) / 2 + 1e-9)) * Math.cos(Math.PI * angle[i]!))
}

const formats: [number, number, number, number][] = [
  [4, 16, 0.08, 64],
  [4, 32, 0.085, 72],
  [4, 128, 0.1, 352],
  [8, 32, 0.006, 72],
  [8, 128, 0.008, 100],
]

describe('quantizeRows', () => {
  it.each(formats)('%i bits in blocks of %i: error under %f, width %i', (bits, blockSize, error, width) => {
    const values = bell(width * 40)
    expect(relativeError(dequantize(values, width, { bits: bits as 4 | 8, blockSize }), values)).toBeLessThan(error)
  })

  it('beats rounding to the largest value', () => {
    const values = bell(128 * 64)
    const plain = values.map((value, i) => {
      const block = values.subarray(i - (i % 32), i - (i % 32) + 32)
      const peak = block.reduce((best, other) => (Math.abs(other) > Math.abs(best) ? other : best), 0)
      return Math.min(7, Math.max(-8, Math.round((value * -8) / peak))) * (peak / -8)
    })
    const ours = relativeError(dequantize(values, 128, { bits: 4, blockSize: 32 }), values)
    expect(ours).toBeLessThan(0.97 * relativeError(plain, values))
  })

  it('keeps what fits exactly, zeros among it', () => {
    const values = Float32Array.from({ length: 64 }, (_, i) => (i < 32 ? ((i % 16) - 8) / 4 : 0))
    expect(difference(dequantize(values, 64, { bits: 4, blockSize: 32 }), values)).toBe(0)
  })

  it.each([Number.NaN, Number.POSITIVE_INFINITY])('refuses %f', (bad) => {
    for (const place of [0, 5, 31]) {
      const values = noise(32)
      values[place] = bad
      expect(() => quantizeRows(values, 32, { bits: 4, blockSize: 32 })).toThrow('not a finite number')
    }
  })
})

describe('linear under the real runtime', () => {
  it.each(formats)('%i bits in blocks of %i multiply as their codes say', async (bits, blockSize, _, width) => {
    const format = { bits: bits as 4 | 8, blockSize }
    const [rows, outputs] = [3, 21]
    const [x, w, b] = [noise(rows * width), noise(outputs * width, 2), noise(outputs, 3)]
    const y = await runGraph(
      (g) =>
        linear(
          g,
          '/fc',
          g.input('x', 'float32', ['N', width]),
          { weight: weight(w, outputs, width), bias: weight(b, outputs) },
          format,
        ),
      { x: floats(x, rows, width) },
      ['N', outputs],
    )
    const rounded = dequantize(w, width, format)
    const expected = Float32Array.from({ length: rows * outputs }, (_, i) => {
      const [row, output] = [Math.floor(i / outputs), i % outputs]
      let sum = b[output]!
      for (let k = 0; k < width; k++) sum += x[row * width + k]! * rounded[output * width + k]!
      return sum
    })
    expect(relativeError(y.data as Float32Array, expected)).toBeLessThan(0.01) // inputs are rounded to 8 bits
  })

  it('half floats: only their own rounding is lost', async () => {
    const [x, w, b] = [noise(30), noise(70, 2), noise(7, 3)]
    const run = (format: 'fp32' | 'fp16') =>
      runGraph(
        (g) =>
          linear(
            g,
            '/fc',
            g.input('x', 'float32', ['N', 10]),
            { weight: weight(w, 7, 10), bias: weight(b, 7) },
            format,
          ),
        { x: floats(x, 3, 10) },
        ['N', 7],
      )
    const [half, full] = [await run('fp16'), await run('fp32')]
    expect(relativeError(half.data as Float32Array, full.data as Float32Array)).toBeLessThan(1e-3)
  })

  it('half floats: a weight that none can hold is refused', async () => {
    const build = runGraph(
      (g) =>
        linear(g, '/fc', g.input('x', 'float32', ['N', 1]), { weight: weight(Float32Array.of(1e5), 1, 1) }, 'fp16'),
      { x: floats(new Float32Array(1), 1, 1) },
      ['N', 1],
    )
    await expect(build).rejects.toThrow('too large for a half float')
  })
})
