import { describe, expect, it } from 'vitest'
import { auroc } from '../../native-models/metrics/auroc.ts'
import { histogram, referringSummary } from '../../native-models/metrics/referring.ts'

describe('AUROC', () => {
  it.each([
    { positives: [0.9, 0.8], negatives: [0.1, 0.2], expected: 1 },
    { positives: [0.1, 0.2], negatives: [0.9, 0.8], expected: 0 },
    { positives: [0.5], negatives: [0.5], expected: 0.5 },
    { positives: [0.1, 0.4, 0.35, 0.8], negatives: [0.1, 0.3], expected: 0.8125 }, // pairs won: 6.5 of 8
    { positives: [], negatives: [0.5], expected: null },
  ])('of $positives against $negatives is $expected', ({ positives, negatives, expected }) => {
    expect(auroc(positives, negatives)).toBe(expected)
  })
})

describe('referring expressions', () => {
  it('count above IoU 0.5, and no box as wrong', () => {
    expect(referringSummary([0.5, 0.51, 1, null])).toEqual({
      count: 4,
      accuracy: 0.5,
      meanIou: (0.5 + 0.51 + 1) / 4,
      unanswered: 0.25,
    })
    expect(referringSummary([])).toEqual({ count: 0, accuracy: null, meanIou: null, unanswered: null })
  })
  it('fill a histogram with both ends', () =>
    expect(histogram([0, 0.05, 0.5, 0.99, 1], 10)).toEqual([2, 0, 0, 0, 0, 1, 0, 0, 0, 2]))
})
