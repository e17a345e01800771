import fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import { parseGroundedText } from '../../../native-models/groma/groundedText.ts'
import { type GromaTokenizer, loadTokenizer } from '../../../native-models/preprocess/tokenizer.ts'
import { referenceExpectation, referenceNames, referenceTokenizerDir } from '../../support/referenceCases.ts'

let tokenizer: GromaTokenizer
beforeAll(async () => {
  tokenizer = await loadTokenizer(referenceTokenizerDir('one-level'))
})

const parseIds = (ids: readonly number[], regionCount = 10, complete = true) =>
  parseGroundedText({ ids, tokens: tokenizer.tokens, regionCount, decode: tokenizer.decode, complete })
const parse = (text: string, regionCount = 10, complete = true) =>
  parseIds(tokenizer.encode(text, { addBos: false }), regionCount, complete)
const brief = (text: string, regionCount?: number, complete?: boolean) => {
  const { spans, ...rest } = parse(text, regionCount, complete)
  return { ...rest, spans: spans.map(({ text, regions, unresolved }) => [text, regions, unresolved]) }
}

describe('well-formed answers', () => {
  it('reads phrases and their regions', () => {
    const answer = '<p>A brown dog</p><roi><r3></roi> sits with <p>two red balls</p><roi><r1><r7></roi>.</s>'
    expect(parse(answer)).toEqual({
      text: 'A brown dog sits with two red balls.',
      malformed: false,
      spans: [
        { text: 'A brown dog', start: 0, end: 11, regions: [3], unresolved: [], regionTokenIndices: expect.any(Array) },
        {
          text: 'two red balls',
          start: 22,
          end: 35,
          regions: [1, 7],
          unresolved: [],
          regionTokenIndices: expect.any(Array),
        },
      ],
    })
  })

  it('says where each <rK> stands', () => {
    const ids = tokenizer.encode('<p>a dog</p><roi><r3><r5></roi>', { addBos: false })
    const { regionTokenIndices } = parseIds(ids).spans[0]!
    expect(regionTokenIndices.map((at) => ids[at])).toEqual([tokenizer.tokens.regions[3], tokenizer.tokens.regions[5]])
  })

  it('reads a bare list as a pointer without words', () => {
    expect(brief('<roi><r3></roi>')).toEqual({ text: '', malformed: false, spans: [['', [3], []]] })
  })

  it('counts code points', () => {
    const { text, spans } = parse('🙂🙂 and <p>你好 🙂</p><roi><r0></roi> é')
    const [span] = spans
    expect([...text].slice(span!.start, span!.end).join('')).toBe('你好 🙂')
    expect(text).toBe('🙂🙂 and 你好 🙂 é')
  })

  it('names regions that do not exist', () => {
    expect(brief('<p>dog</p><roi><r3><r9></roi>', 5)).toEqual({
      text: 'dog',
      malformed: false,
      spans: [['dog', [3], [9]]],
    })
  })

  it('does not blame an answer that is still being written', () => {
    expect(brief('a <p>dog', 10, false)).toEqual({ text: 'a dog', malformed: false, spans: [['dog', [], []]] })
    expect(brief('<p>dog</p><roi><r3>', 10, false)).toEqual({
      text: 'dog',
      malformed: false,
      spans: [['dog', [3], []]],
    })
  })
})

describe('broken answers', () => {
  it.each<[string, string, [string, number[], number[]][]]>([
    ['<p>a dog', 'a dog', [['a dog', [], []]]],
    ['<p>a dog</p><roi><r3>', 'a dog', [['a dog', [3], []]]],
    ['<p>a dog<roi><r3></roi>', 'a dog', [['a dog', [3], []]]],
    [
      '<p>a <p>dog</p><roi><r3></roi>',
      'a dog',
      [
        ['a', [], []],
        ['dog', [3], []],
      ],
    ],
    ['a dog</p></roi>', 'a dog', []],
    ['see <r4>', 'see', [['', [4], []]]],
    [
      '<roi><r1><roi><r2></roi>',
      '',
      [
        ['', [1], []],
        ['', [2], []],
      ],
    ],
    ['<p>dog</p> runs', 'dog runs', [['dog', [], []]]],
    ['<roi>a dog<r2></roi>', 'a dog', [['', [2], []]]],
    ['<roi></roi>', '', [['', [], []]]],
    ['a <image> dog', 'a dog', []],
  ])('%s', (answer, text, spans) => {
    expect(brief(answer)).toEqual({ text, malformed: true, spans })
  }) // prettier-ignore

  it('takes any ids', () => {
    const special = fc.constantFrom(...tokenizer.tokens.all)
    const any = fc.oneof(special, special, fc.integer({ min: 0, max: 599 }), fc.integer())
    fc.assert(
      fc.property(fc.array(any, { maxLength: 60 }), fc.nat(100), fc.boolean(), (ids, regionCount, complete) => {
        const { text, spans } = parseIds(ids, regionCount, complete)
        const points = [...text]
        expect(text).not.toMatch(/^ | $| {2}/)
        for (const span of spans) {
          expect(points.slice(span.start, span.end).join('')).toBe(span.text)
          expect(span.start).toBeGreaterThanOrEqual(0)
          expect(span.end).toBeLessThanOrEqual(points.length)
          expect(span.regions.every((region) => region < regionCount)).toBe(true)
          expect(span.regionTokenIndices.map((at) => tokenizer.tokens.regionOfId.get(ids[at]!))).toEqual(span.regions)
          expect(span.unresolved.every((region) => region >= regionCount)).toBe(true)
        }
      }),
      { numRuns: 3000 },
    )
  })

  it('reads every answer of the reference', () => {
    for (const name of referenceNames) {
      for (const { cases } of referenceExpectation(name).images) {
        for (const { output_ids: ids } of cases) expect(parseIds(ids, 25).text).not.toMatch(/<r\d+>|<\/?roi>|<\/?p>/)
      }
    }
  })
})
