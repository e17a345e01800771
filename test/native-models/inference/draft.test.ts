import { describe, expect, it } from 'vitest'
import type { SpecialTokens } from '../../../native-models/groma/specialTokens.ts'
import { AnswerDrafter, DraftRecord } from '../../../native-models/inference/draft.ts'
import { noise } from '../onnx/runGraph.ts'

const [EOS, PHRASE_END, ROI, ROI_END, R0] = [2, 11, 12, 13, 20]
const tokens = {
  eos: EOS,
  phraseEnd: PHRASE_END,
  roiStart: ROI,
  roiEnd: ROI_END,
  regionOfId: new Map([0, 1, 2].map((region) => [R0 + region, region])),
} as unknown as SpecialTokens

const drafter = (record: DraftRecord, question: number[] = [], topic = 'image') =>
  new AnswerDrafter(record, { tokens, question, topic })
/** A record of a machine on which a further row costs so many passes. */
function recordOf(rowCost: number): DraftRecord {
  const record = new DraftRecord()
  for (let rows = 1; rows <= 8; rows++) record.time(rows, 100 * (1 + rowCost * (rows - 1)))
  return record
}

describe('AnswerDrafter', () => {
  it('knows what the grammar asks for', () => {
    const draft = drafter(recordOf(0.2))
    expect(draft.guess([100, PHRASE_END], 10)).toEqual([ROI])
    expect(draft.guess([100, PHRASE_END, ROI, R0 + 1], 10)).toEqual([ROI_END])
    expect(draft.guess([100], 10)).toEqual([])
  })

  it('copies what followed the same words, in the question, the answer, and earlier answers', () => {
    const record = recordOf(0.05)
    expect(drafter(record, [1, 50, 51, 52, 53, 9]).guess([50, 51], 2)).toEqual([52, 53])
    record.remember('image', [60, 61, 62, EOS])
    expect(drafter(record).guess([60, 61], 5)).toEqual([62, EOS])
    expect(drafter(record).guess([60, 61], 1)).toEqual([62])
    expect(drafter(record).guess([60, 61], 0)).toEqual([])
  })

  it('does not take regions from answers about another image', () => {
    const record = recordOf(0.05)
    record.remember('other', [70, 71, ROI, R0 + 2, ROI_END])
    expect(drafter(record).guess([70, 71, ROI], 5)).toEqual([])
    record.remember('image', [70, 71, ROI, R0 + 1, ROI_END])
    expect(drafter(record).guess([70, 71, ROI], 5)).toEqual([R0 + 1, ROI_END])
  })

  it('guesses fewer where rows are dear, and not at all where they cost as much as passes', () => {
    const text = [50, 51, 52, 53, 54, 55, 56, 57, 58, 59]
    const guessed = (cost: number) => drafter(recordOf(cost), text).guess(text.slice(0, 4), 7).length
    expect(guessed(0.02)).toBeGreaterThan(guessed(0.3))
    expect(guessed(0.3)).toBeGreaterThan(0)
    expect(guessed(1)).toBe(0)
  })

  it('gives up a source that is wrong, and tries it again after a while', () => {
    const record = recordOf(0.25)
    const text = [50, 51, 52, 53]
    let tries = 0
    const passes = 400
    for (let pass = 0; pass < passes; pass++) {
      const draft = drafter(record, text)
      const guesses = draft.guess([50, 51, 52], 1)
      if (guesses.length > 0) draft.learn(0, 1)
      tries += guesses.length
    }
    expect(tries).toBeGreaterThan(3)
    expect(tries / passes).toBeLessThan(0.05)
    const again = drafter(record, text)
    for (let pass = 0; pass < 400 && again.guess([50, 51, 52], 1).length === 0; pass++);
    for (let pass = 0; pass < 8; pass++) again.learn(1, again.guess([50, 51, 52], 1).length)
    expect(again.guess([50, 51, 52], 1)).toEqual([53])
  })

  it.each([10, 50, 300, 3000])('loses next to nothing where a text of %i words follows no pattern', (vocabulary) => {
    const rowCost = 0.22
    const record = recordOf(rowCost)
    const words = noise(1015, vocabulary).map((one) => 100 + Math.floor(one ** 2 * vocabulary))
    const text = Array.from(words.slice(15))
    const draft = drafter(record, Array.from(words.slice(0, 15)))
    let passes = 0
    let cost = 0
    for (let said = 0; said < text.length; passes++) {
      const guesses = draft.guess(text.slice(0, said), text.length - said - 1)
      let right = 0
      while (right < guesses.length && guesses[right] === text[said + right]) right++
      draft.learn(right, Math.min(guesses.length, right + 1))
      cost += 1 + rowCost * guesses.length
      said += right + 1
    }
    expect(cost / text.length).toBeLessThan(1.03)
    expect(passes).toBeGreaterThan(0)
  })

  it('counts no guess as wrong that nothing was said about', () => {
    const record = recordOf(0.05)
    const draft = drafter(record, [50, 51, 52, 53, 54])
    const before = record.chance('copy-4')
    expect(draft.guess([50, 51], 3)).toEqual([52, 53, 54])
    draft.learn(1, 1) // the answer ended with the first
    expect(record.chance('copy-4')).toBe(before)
    expect(record.chance('copy-2')).toBeGreaterThan(0.5)
  })
})

describe('DraftRecord', () => {
  it('reads costs off between measured ones', () => {
    const record = new DraftRecord()
    record.time(1, 100)
    record.time(3, 150)
    record.time(5, 250)
    expect([1, 2, 3, 4, 5].map((rows) => record.cost(rows))).toEqual([1, 1.25, 1.5, 2, 2.5])
    expect(record.cost(8)).toBeCloseTo(2.5 + 3 * 0.375)
  })

  it('forgets old texts', () => {
    const record = new DraftRecord()
    for (let i = 0; i < 100; i++) record.remember(`${i}`, Array(100).fill(i))
    const texts = record.texts('99')
    expect(texts.length).toBeLessThan(50)
    expect(texts[0]).toMatchObject({ sameRegions: true })
    expect(record.texts('0').some(({ sameRegions }) => sameRegions)).toBe(false)
  })
})
