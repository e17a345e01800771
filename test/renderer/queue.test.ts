import { describe, expect, it } from 'vitest'
import type { Annotation, Category } from '../../db/records/records.ts'
import { acceptable, inQueueOrder, isAbove, neighbour, nextUndecided } from '../../renderer/stores/queue.ts'

const categories = new Map<number, Category>(
  ['cat', 'ant', 'bee'].map((name, i) => [i + 1, { id: i + 1, name, color: '#000000' }]),
)

const region = (id: number, change: Partial<Annotation> = {}): Annotation => ({
  id,
  imageId: 1,
  categoryId: 1,
  bboxXywh: [0, 0, 10, 10],
  caption: null,
  provenance: 'model',
  status: 'proposed',
  modelBboxXywh: null,
  modelCaption: null,
  modelScore: 0.5,
  modelHash: null,
  decidedAt: null,
  decisionMs: null,
  ...change,
})
const ids = (regions: readonly Annotation[]) => regions.map(({ id }) => id)

describe('inQueueOrder', () => {
  it('goes by class, then score, then id; without a class after, rejected last', () => {
    const ordered = inQueueOrder(
      [
        region(1, { categoryId: null, modelScore: 0.99 }),
        region(2, { categoryId: 1, modelScore: 0.2 }),
        region(3, { categoryId: 1, modelScore: 0.9 }),
        region(4, { categoryId: 2, modelScore: 0.1 }),
        region(5, { categoryId: 2, modelScore: 0.1 }),
        region(6, { categoryId: 2, status: 'rejected', modelScore: 1 }),
        region(7, { categoryId: 3, modelScore: null, provenance: 'human', status: 'accepted' }),
      ],
      categories,
    )
    expect(ids(ordered)).toEqual([4, 5, 7, 3, 2, 1, 6])
  })

  it('does not move what is accepted or edited', () => {
    const before = [region(1), region(2, { modelScore: 0.4 }), region(3, { modelScore: 0.3 })]
    const after = [
      before[0]!,
      { ...before[1]!, status: 'accepted' as const },
      { ...before[2]!, status: 'edited' as const },
    ]
    expect(ids(inQueueOrder(after, categories))).toEqual(ids(inQueueOrder(before, categories)))
  })
})

describe('the slider', () => {
  it('filters proposals only', () => {
    expect(isAbove(region(1, { modelScore: 0.2 }), 0.5)).toBe(false)
    expect(isAbove(region(1, { modelScore: 0.2, status: 'accepted' }), 0.5)).toBe(true)
  })

  it('counts a score that is shown as equal', () => {
    expect(
      acceptable([region(1, { modelScore: 0.35 - 1e-9 }), region(2, { modelScore: 0.34 })], 0.35).map((r) => r.id),
    ).toEqual([1])
  })
})

describe('nextUndecided', () => {
  const ordered = [
    region(1, { status: 'accepted' }),
    region(2),
    region(3, { modelScore: 0.1 }),
    region(4),
    region(5, { status: 'rejected' }),
  ]
  it.each([
    [null, 2],
    [1, 2],
    [2, 4],
    [4, 2],
    [5, 2],
  ])('after %s comes %s', (current, next) => {
    expect(nextUndecided(ordered, current, 0.3, new Set())).toBe(next)
  })
  it('leaves out what is being decided, and ends', () => {
    expect(nextUndecided(ordered, 2, 0.3, new Set([4]))).toBe(null)
    expect(nextUndecided([], null, 0, new Set())).toBe(null)
  })
})

describe('neighbour', () => {
  const ordered = [
    region(1),
    region(2, { modelScore: 0.1 }),
    region(3, { status: 'accepted' }),
    region(4, { status: 'rejected' }),
  ]
  it('walks what is on the picture and stops at the ends', () => {
    expect(neighbour(ordered, null, 1, 0.3)).toBe(1)
    expect(neighbour(ordered, 1, 1, 0.3)).toBe(3)
    expect(neighbour(ordered, 3, 1, 0.3)).toBe(null)
    expect(neighbour(ordered, 3, -1, 0.3)).toBe(1)
    expect(neighbour(ordered, 4, -1, 0.3)).toBe(3)
    expect(neighbour(ordered, null, -1, 0.3)).toBe(3)
  })
})
