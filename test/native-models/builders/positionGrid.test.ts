import { describe, expect, it } from 'vitest'
import { resizePositionGrid } from '../../../native-models/builders/positionGrid.ts'
import { difference, noise } from '../onnx/runGraph.ts'

describe('resizePositionGrid', () => {
  it('leaves a grid of the right side alone', () => {
    const stored = noise((16 + 1) * 3)
    expect(resizePositionGrid(stored, 3, 4)).toBe(stored)
  })

  it('keeps the CLS row and constant channels', () => {
    const stored = Float32Array.from({ length: (49 + 1) * 2 }, (_, i) => (i < 2 ? 9 + i : i % 2 === 0 ? 3 : -5))
    const resized = resizePositionGrid(stored, 2, 5)
    expect(resized).toHaveLength((25 + 1) * 2)
    expect([...resized.subarray(0, 2)]).toEqual([9, 10])
    const rest = Float32Array.from({ length: 50 }, (_, i) => (i % 2 === 0 ? 3 : -5))
    expect(difference(resized.subarray(2), rest)).toBeLessThan(1e-6)
  })

  it('steps as if the target were a tenth of a patch wider', () => {
    // far from the borders bicubic nearly keeps a ramp: its value is about the place that is read, here not (x + 0.5) * 2 - 0.5
    const side = 20
    const stored = Float32Array.from({ length: side * side + 1 }, (_, i) => (i === 0 ? 0 : (i - 1) % side))
    const resized = resizePositionGrid(stored, 1, 10)
    const row = resized.subarray(1, 11)
    for (let x = 6; x < 8; x++) expect(row[x]).toBeCloseTo((x + 0.5) * (20 / 10.1) - 0.5, 1)
  })

  it('refuses positions that are no square', () => {
    expect(() => resizePositionGrid(noise(3 * 18), 3, 4)).toThrow('no square grid')
  })
})
