/** Captions against pycocoevalcap: the fixture says how it was made. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { sameCaption } from '../../native-models/metrics/captions.ts'
import { ciderD } from '../../native-models/metrics/ciderD.ts'
import { meteorLike } from '../../native-models/metrics/meteorLike.ts'
import { porter2 } from '../../native-models/metrics/porter2.ts'
import { ptbTokenize } from '../../native-models/metrics/ptbTokenizer.ts'

interface Fixture {
  tokens: { caption: string; tokens: string }[]
  items: { candidate: string; references: string[]; ciderD: number }[]
  ciderD: number
}
const folder = join(import.meta.dirname, '../fixtures/metrics')
const fixture = JSON.parse(readFileSync(join(folder, 'captions.json'), 'utf8')) as Fixture
const items = fixture.items.map(({ candidate, references }) => ({
  candidate: ptbTokenize(candidate),
  references: references.map(ptbTokenize),
}))

describe('captions, as pycocoevalcap scores them', () => {
  it.each(fixture.tokens)('tokenises $caption', ({ caption, tokens }) => expect(ptbTokenize(caption)).toBe(tokens))

  it('gives the same CIDEr-D, item by item', () => {
    const { mean, scores } = ciderD(items)
    for (const [i, score] of scores.entries())
      expect(score, items[i]!.candidate).toBeCloseTo(fixture.items[i]!.ciderD, 9)
    expect(mean).toBeCloseTo(fixture.ciderD, 9)
  })

  // precision P and recall R of weighted matches; PR / (0.85 P + 0.15 R) * (1 - 0.6 (chunks / matches)^0.2)
  it.each([
    ['all words, one stretch', 'a large red circle', 'a large red circle', 1],
    [
      'half of the words, one stretch',
      'a large',
      'a large red circle',
      (0.5 / (0.85 + 0.15 * 0.5)) * (1 - 0.6 * 0.5 ** 0.2),
    ],
    ['two stretches change places', 'red circle a large', 'a large red circle', 1 - 0.6 * 0.5 ** 0.2],
    ['a stem counts 0.6', 'dogs', 'dog', 0.6],
    ['the same word before the same stem', 'dogs dog', 'dog cat', 0.5 * (1 - 0.6)],
    ['no word', 'two stars', 'a circle', 0],
    ['nothing said', '', 'a circle', 0],
  ])('scores %s', (_, candidate, reference, score) => {
    const { scores } = meteorLike([{ candidate, references: ['zzz', reference] }])
    expect(scores[0]).toBeCloseTo(score, 12)
  })

  it('sums counts over a corpus and takes the best reference of each', () => {
    const corpus = [
      { candidate: 'a red circle', references: ['blue', 'a red circle'] },
      { candidate: 'star', references: ['heart'] },
    ]
    const share = 3 / 4
    const mean = 1 / (0.15 / share + 0.85 / share)
    expect(meteorLike(corpus).mean).toBeCloseTo(mean * (1 - 0.6 * (1 / 3) ** 0.2), 12)
  })

  it('scores a sentence that says it all highest, and nothing zero', () => {
    const said = { candidate: 'a large red circle', references: ['a large red circle'] }
    const other = { candidate: 'nothing', references: ['two small blue stars'] }
    expect(ciderD([said, other]).scores).toEqual([expect.closeTo(10, 9), 0])
    expect(meteorLike([said, other]).scores).toEqual([expect.closeTo(1, 9), 0])
    expect([ciderD([]).mean, meteorLike([]).mean]).toEqual([null, null])
  })

  it('stems as Snowball does', () => {
    const words = 'caresses flies dying playing generously communism hopping tied conditional kneel skies yearly'
    expect(words.split(' ').map(porter2).join(' ')).toBe(
      'caress fli die play generous communism hop tie condit kneel sky year',
    )
  })

  it('compares captions by their words', () => {
    expect(sameCaption('A large  red circle.', 'a large red circle')).toBe(true)
    expect(sameCaption('a large red circle', 'a large red ring')).toBe(false)
  })
})
