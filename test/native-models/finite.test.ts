import { describe, expect, it } from 'vitest'
import { allFinite } from '../../native-models/finite.ts'

describe('numbers', () => {
  it('are finite, however large and many', () => {
    expect(allFinite(new Float32Array())).toBe(true)
    expect(allFinite(new Float32Array(100_001).fill(3.4e38))).toBe(true)
  })

  it.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])('%d is found wherever it is', (wrong) => {
    for (let length = 1; length < 12; length++)
      for (let at = 0; at < length; at++)
        expect(allFinite(new Float32Array(length).fill(1).fill(wrong, at, at + 1))).toBe(false)
    expect(allFinite(Float32Array.of(Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY))).toBe(false)
  })
})
