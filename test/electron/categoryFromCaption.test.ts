import { describe, expect, it } from 'vitest'
import { categoryFromCaption } from '../../electron/services/categoryFromCaption.ts'

const cases: [caption: string, known: string[], expected: string | null][] = [
  // the head noun
  ['a large red circle', [], 'circle'],
  ['A brown dog on the sofa', [], 'dog'],
  ['a cup of coffee on a table', [], 'cup'],
  ['the man in a blue shirt', [], 'man'],
  ['two zebras next to a tree', [], 'zebras'],
  ['a woman wearing a hat', [], 'woman'],
  ['a T-shirt', [], 't-shirt'],
  ["a dog's", [], 'dog'],
  ['a group of people', [], 'people'],
  ['a piece of cake with cream', [], 'cake'],
  ['a traffic light', [], 'light'],
  ['ein großer Hund', [], 'hund'],
  ['一只狗', [], '一只狗'],
  // the project's own names
  ['a large red circle', ['star', 'circle'], 'circle'],
  ['a large red circle', ['Circle'], 'Circle'],
  ['two zebras', ['zebra'], 'zebra'],
  ['three boxes', ['box'], 'box'],
  ['a traffic light', ['light', 'traffic light'], 'traffic light'],
  ['a red circle on a table', ['table', 'circle'], 'circle'],
  ['a cup of coffee', ['coffee', 'cup'], 'cup'],
  ['a red circle on a table', ['table'], 'circle'],
  ['a red bus stop', ['red bus'], 'red bus'],
  ['on the left', ['left'], 'left'],
  // nothing to find
  ['', [], null],
  ['   ', ['circle'], null],
  ['a', [], null],
  ['the large red one', [], null],
  ['42', [], null],
  ['.,;!?', [], null],
  ['of of of', [], null],
  ['__proto__', [], 'proto'],
]

describe('categoryFromCaption', () => {
  for (const [caption, known, expected] of cases) {
    it(`${JSON.stringify(caption)}${known.length === 0 ? '' : ` knowing ${known.join(', ')}`} is ${expected}`, () => {
      expect(categoryFromCaption(caption, known)).toBe(expected)
    })
  }

  it('is total and fast on anything', () => {
    const long = 'a red thing of '.repeat(5_000)
    const startedAt = performance.now()
    for (const text of [long, '\u0000\ud800', '🟥'.repeat(1000), '-'.repeat(10_000), "'".repeat(10_000)]) {
      const name = categoryFromCaption(text, ['circle', ''])
      if (name !== null) expect(name.length).toBeGreaterThan(0)
      expect(name?.length ?? 0).toBeLessThanOrEqual(200)
    }
    expect(performance.now() - startedAt).toBeLessThan(1_000)
  })
})
