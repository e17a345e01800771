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
  items: { candidate: string; references: string[]; ciderD: number; meteor: number }[]
  ciderD: number
  meteor: number
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

  it('gives the METEOR of exact and stem matches, item by item', () => {
    const { mean, scores } = meteorLike(items)
    for (const [i, score] of scores.entries())
      expect(score, items[i]!.candidate).toBeCloseTo(fixture.items[i]!.meteor, 9)
    expect(mean).toBeCloseTo(fixture.meteor, 9)
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
