import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  boxCxcywh,
  boxXywhPixels,
  cxcywhToXywhPixels,
  cxcywhToXyxy,
  xywhPixelsToCxcywh,
  xyxyToCxcywh,
} from '../../../native-models/geometry/boxes.ts'
import { iouXyxy, nonMaxSuppression } from '../../../native-models/geometry/overlap.ts'

describe('boxes', () => {
  it.each([
    ['inside', boxCxcywh(0.5, 0.5, 0.5, 0.5), [25, 50, 50, 100]],
    ['clamped at the left and top', boxCxcywh(0, 0, 0.5, 0.5), [0, 0, 25, 50]],
    ['clamped at the right and bottom', boxCxcywh(1, 1, 0.5, 0.5), [75, 150, 25, 50]],
    ['larger than the picture', boxCxcywh(0.5, 0.5, 9, 9), [0, 0, 100, 200]],
    ['thinner than a pixel', boxCxcywh(0.5, 0.5, 0.005, 0.5), null],
    ['outside', boxCxcywh(2, 2, 0.5, 0.5), null],
    ['negative', boxCxcywh(0.5, 0.5, -0.5, 0.5), null],
    ['not a number', boxCxcywh(Number.NaN, 0.5, 0.5, 0.5), null],
    ['infinite', boxCxcywh(0.5, 0.5, Number.POSITIVE_INFINITY, 0.5), null],
  ])('%s', (_, box, expected) => {
    expect(cxcywhToXywhPixels(box, 100, 200)).toEqual(expected)
  })

  it('converts there and back', () => {
    const fraction = fc.double({ min: 0.05, max: 0.45, noNaN: true })
    fc.assert(
      fc.property(fraction, fraction, fraction, fraction, fc.integer({ min: 100, max: 5000 }), (x, y, w, h, side) => {
        const box = boxXywhPixels(x * side, y * side, w * side, h * side)
        const back = cxcywhToXywhPixels(xywhPixelsToCxcywh(box, side, side), side, side)!
        const again = xyxyToCxcywh(cxcywhToXyxy(boxCxcywh(x, y, w, h)))
        for (let i = 0; i < 4; i++) {
          expect(back[i]).toBeCloseTo(box[i]!, 8)
          expect(again[i]).toBeCloseTo([x, y, w, h][i]!, 12)
        }
      }),
    )
  })
})

describe('overlap', () => {
  it.each([
    ['the same box', [0, 0, 2, 2], [0, 0, 2, 2], 1],
    ['a half', [0, 0, 2, 2], [0, 0, 2, 1], 0.5],
    ['touching', [0, 0, 1, 1], [1, 0, 2, 1], 0],
    ['apart', [0, 0, 1, 1], [5, 5, 6, 6], 0],
    ['without area', [0, 0, 0, 0], [0, 0, 0, 0], 0],
  ] as const)('%s', (_, a, b, expected) => {
    expect(iouXyxy(a, b)).toBe(expected)
    expect(iouXyxy(b, a)).toBe(expected)
  })

  it('keeps the best of a cluster, ties in input order, and what lies exactly on the threshold', () => {
    const boxes = [0, 0, 2, 2, 0, 0, 2, 1, 10, 10, 12, 12, 10, 10, 12, 12]
    expect(nonMaxSuppression(boxes, [0.5, 0.9, 0.7, 0.7], 0.5)).toEqual([1, 2, 0])
    expect(nonMaxSuppression(boxes, [0.5, 0.9, 0.7, 0.7], 0.49)).toEqual([1, 2])
    expect(nonMaxSuppression([], [], 0.5)).toEqual([])
  })

  it('survives boxes that are no boxes', () => {
    const any = fc.array(fc.float(), { maxLength: 80 })
    fc.assert(
      fc.property(any, (numbers) => {
        const count = Math.floor(numbers.length / 5)
        const kept = nonMaxSuppression(numbers.slice(0, count * 4), numbers.slice(count * 4, count * 5), 0.6)
        expect(new Set(kept).size).toBe(kept.length)
        if (count > 0) expect(kept.length).toBeGreaterThan(0)
      }),
    )
  })
})
