import { describe, expect, it } from 'vitest'
import { roiAlign } from '../../../native-models/builders/roiAlign.ts'
import { floats } from '../../../native-models/inference/session.ts'
import { reshape, split, transpose } from '../../../native-models/onnx/ops.ts'
import { difference, noise, runGraph } from '../onnx/runGraph.ts'

const CHANNELS = 3

/** torchvision's loops, in float64: aligned, two samples a side, average; map [C, L, L], box x1, y1, x2, y2. */
function referenceRoiAlign(
  map: Float32Array,
  length: number,
  box: readonly number[],
  scale: number,
  bins: number,
): number[] {
  const [startX, startY, endX, endY] = box.map((value) => value * scale - 0.5) as [number, number, number, number]
  const [binWidth, binHeight] = [(endX - startX) / bins, (endY - startY) / bins]
  const sample = (channel: number, y: number, x: number): number => {
    if (y < -1 || y > length || x < -1 || x > length) return 0
    const axis = (value: number) => {
      const clamped = Math.max(value, 0)
      const low = Math.floor(clamped)
      return low >= length - 1 ? ([length - 1, length - 1, 0] as const) : ([low, low + 1, clamped - low] as const)
    }
    const [y0, y1, fy] = axis(y)
    const [x0, x1, fx] = axis(x)
    const at = (row: number, column: number) => map[(channel * length + row) * length + column]!
    return (1 - fy) * ((1 - fx) * at(y0, x0) + fx * at(y0, x1)) + fy * ((1 - fx) * at(y1, x0) + fx * at(y1, x1))
  }
  const result: number[] = []
  for (let channel = 0; channel < CHANNELS; channel++) {
    for (let row = 0; row < bins; row++) {
      for (let column = 0; column < bins; column++) {
        let sum = 0
        for (const iy of [0.25, 0.75]) {
          for (const ix of [0.25, 0.75]) {
            sum += sample(channel, startY + (row + iy) * binHeight, startX + (column + ix) * binWidth)
          }
        }
        result.push(sum / 4)
      }
    }
  }
  return result
}

describe('roiAlign', () => {
  const boxes: [name: string, box: number[]][] = [
    ['inside', [3, 4, 20, 17]],
    ['the whole map and beyond', [-9, -8, 60, 55]],
    ['backwards in both directions', [21, 18, 4, 6]],
    ['backwards in one direction, as cxcywh read as corners', [14, 3, 5, 9]],
    ['outside', [70, 70, 90, 90]],
    ['along the upper left edge, where samples are clamped', [-1.9, -1.9, 3, 3]],
    ['along the lower right edge', [20, 19, 33, 34]],
    ['no area', [7, 7, 7, 7]],
    ['tiny', [5.01, 5.02, 5.03, 5.05]],
  ]

  it.each([
    { length: 12, scale: 0.5, bins: 7 },
    { length: 16, scale: 8 / 14, bins: 14 },
  ])('equals the loops on a map of $length, $bins bins', async ({ length, scale, bins }) => {
    const map = noise(CHANNELS * length * length, 5) // [C, L, L]
    const data = Float32Array.from(boxes.flatMap(([, box]) => box))
    const y = await runGraph(
      (g) => {
        const planes = g.input('map', 'float32', [CHANNELS, length, length])
        const corners = split(g, '/corners', g.input('boxes', 'float32', ['N', 4]), 1, 1, 1, 1, 1)
        const lines = transpose(g, '/lines', reshape(g, '/lines', planes, CHANNELS, length, length), 1, 0, 2)
        return roiAlign(g, '/roi', lines, corners, { bins, length, channels: CHANNELS, spatialScale: scale })
      },
      { map: floats(map, CHANNELS, length, length), boxes: floats(data, boxes.length, 4) },
      ['N', CHANNELS, bins, bins],
    )
    expect(y.dims).toEqual([boxes.length, CHANNELS, bins, bins])
    const size = CHANNELS * bins * bins
    for (const [i, [name, box]] of boxes.entries()) {
      const pooled = (y.data as Float32Array).subarray(i * size, (i + 1) * size)
      expect(difference(pooled, referenceRoiAlign(map, length, box, scale, bins)), name).toBeLessThan(2e-5)
    }
  })
})
