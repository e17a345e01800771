import { describe, expect, it } from 'vitest'
import { resizeBicubicPillow } from '../../../native-models/preprocess/resize.ts'

/** Pillow's two passes number by number: 22-bit weights, half a step added, shifted, clipped. */
function plainly(rgb: Uint8Array, width: number, height: number, outWidth: number, outHeight: number): Uint8Array {
  const pass = (source: Uint8Array, lines: number, length: number, outLength: number) => {
    const scale = length / outLength
    const filter = Math.max(scale, 1)
    const out = new Uint8Array(lines * outLength * 3)
    for (let x = 0; x < outLength; x++) {
      const centre = (x + 0.5) * scale
      const first = Math.max(0, Math.trunc(centre - 2 * filter + 0.5))
      const last = Math.min(length, Math.trunc(centre + 2 * filter + 0.5))
      const exact = Array.from({ length: last - first }, (_, k) => cubic((k + first - centre + 0.5) * (1 / filter)))
      const total = exact.reduce((sum, weight) => sum + weight, 0)
      const weights = exact.map((weight) => {
        const fixed = (weight / total) * 2 ** 22
        return Math.trunc(fixed + (fixed < 0 ? -0.5 : 0.5))
      })
      for (let line = 0; line < lines; line++)
        for (let channel = 0; channel < 3; channel++) {
          let sum = 2 ** 21
          for (const [k, weight] of weights.entries())
            sum += source[(line * length + first + k) * 3 + channel]! * weight
          out[(line * outLength + x) * 3 + channel] = Math.min(255, Math.max(0, sum >> 22))
        }
    }
    return out
  }
  const turned = (source: Uint8Array, rows: number, columns: number) => {
    const out = new Uint8Array(source.length)
    for (let y = 0; y < rows; y++)
      for (let x = 0; x < columns; x++)
        for (let c = 0; c < 3; c++) out[(x * rows + y) * 3 + c] = source[(y * columns + x) * 3 + c]!
    return out
  }
  const narrow = width === outWidth ? rgb : pass(rgb, height, width, outWidth)
  if (height === outHeight) return narrow
  return turned(pass(turned(narrow, height, outWidth), outWidth, height, outHeight), outWidth, outHeight)
}

function cubic(distance: number): number {
  const x = Math.abs(distance)
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0
}

describe('a picture made larger or smaller', () => {
  it.each([
    [1, 1, 56, 56],
    [5, 7, 28, 29],
    [3, 900, 14, 31],
    [900, 3, 31, 14],
    [333, 200, 33, 65],
    [6000, 8, 5, 3], // more memory than the kernels begin with
    [448, 90, 448, 112],
  ])('%d x %d -> %d x %d: every byte', (width, height, outWidth, outHeight) => {
    let state = width
    const rgb = Uint8Array.from({ length: width * height * 3 }, () => {
      state = (Math.imul(state, 1664525) + 1013904223) | 0
      return state & 64 ? 255 * (state >>> 31) : state >>> 24 // hard edges overshoot
    })
    const found = resizeBicubicPillow(rgb, width, height, outWidth, outHeight)
    expect(Buffer.compare(found, plainly(rgb, width, height, outWidth, outHeight))).toBe(0)
  })
})
