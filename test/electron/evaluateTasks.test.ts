/** How answers are counted: rows written by hand, so that every number can be. */
import { describe, expect, it } from 'vitest'
import type { EngineAnswer } from '../../electron/contract/engineProtocol.ts'
import { countMatched } from '../../electron/services/evaluation/boxes.ts'
import type {
  Asker,
  EvaluationImage,
  EvaluationObject,
  EvaluationOptions,
  Findings,
} from '../../electron/services/evaluation/evaluationTypes.ts'
import { sample, uniform } from '../../electron/services/evaluation/seeded.ts'
import { asDrawn, captions } from '../../electron/services/evaluation/tasks/captions.ts'
import { descriptions } from '../../electron/services/evaluation/tasks/descriptions.ts'
import { groundAll } from '../../electron/services/evaluation/tasks/groundAll.ts'
import { refer } from '../../electron/services/evaluation/tasks/refer.ts'

const options: EvaluationOptions = { resize: 'pillow', boxes: 'truth', detail: 'brief', absent: 1, seed: 0 }
const value = ({ measures }: Findings, key: string) => measures.find((measure) => measure.key === key)!.value

const object = (
  bboxXywh: EvaluationObject['bboxXywh'],
  caption: string,
  change: Partial<EvaluationObject> = {},
): EvaluationObject => ({
  bboxXywh,
  category: caption.split(' ').at(-1)!,
  crowd: false,
  captions: [caption],
  attributes: {},
  ...change,
})
const image: EvaluationImage = {
  id: 1,
  fileName: 'a.png',
  path: '/a.png',
  width: 200,
  height: 100,
  objects: [
    object([0, 0, 50, 50], 'a large red circle'),
    object([100, 0, 50, 50], 'a large blue circle'),
    object([0, 60, 20, 20], 'a small red star'),
  ],
  references: [
    { phrase: 'the large red circle', bboxXywh: [0, 0, 50, 50] },
    { phrase: 'the large blue circle', bboxXywh: [100, 0, 50, 50] },
    { phrase: 'the small red star', bboxXywh: [0, 60, 20, 20] },
  ],
  absentPhrases: ['the large green heart'],
  absentCategories: ['heart'],
  notExhaustive: [],
}

/** An engine that points at these regions, whatever it is asked; regions lie where the image's objects do. */
function pointing(pointed: number[], score: (region: number) => number = () => 0.5): Asker {
  const regions = image.objects.map(({ bboxXywh: [x, y, w, h] }) => ({
    boxCxcywh: [(x + w / 2) / 200, (y + h / 2) / 100, w / 200, h / 100] as [number, number, number, number],
    score: 0.9,
  }))
  const distinct = [...new Set(pointed)]
  const answer: EngineAnswer = {
    text: '',
    spans: [
      {
        text: 'a large red circle',
        start: 0,
        end: 0,
        regions: distinct.map((index) => ({ index, boxCxcywh: regions[index]!.boxCxcywh, score: score(index) })),
        unresolved: [],
      },
    ],
    regions,
    pointed,
    outputIds: [],
    stopReason: 'eos',
    malformed: false,
  }
  return { image: { path: '/a.png', key: 'a' }, run: (async () => answer) as unknown as Asker['run'] }
}

describe('answers are counted as the authors count them', () => {
  it('takes the first region that was said, and its probability as the confidence', async () => {
    const row = await refer.ask(
      image,
      pointing([1, 0], (region) => (region === 1 ? 0.8 : 0.1)),
      options,
    )
    const findings = refer.findings([{ image, row }], options)
    expect(value(findings, 'accuracy')).toBeCloseTo(1 / 3, 12) // only "the large blue circle" lies there
    expect(value(findings, 'meanIou')).toBeCloseTo(1 / 3, 12)
    expect(value(findings, 'absentPhrases')).toBe(1)
    expect(value(findings, 'aurocAbsent')).toBe(0.5)
    expect(findings.worst[0]!.text).toContain('confidence 0.80')
    expect(refer.parse(JSON.parse(JSON.stringify(row)))).toEqual(row)
  })

  it('counts an answer without a region as wrong', async () => {
    const findings = refer.findings([{ image, row: await refer.ask(image, pointing([]), options) }], options)
    expect([value(findings, 'accuracy'), value(findings, 'unanswered'), value(findings, 'meanIou')]).toEqual([0, 1, 0])
  })

  it('counts every region that was said of a class, repetitions too', async () => {
    const row = await groundAll.ask(image, pointing([0, 0, 1]), options)
    expect(row).toMatchObject({
      answers: [{ category: 'circle' }, { category: 'star' }],
      absent: [{ category: 'heart' }],
    })
    const findings = groundAll.findings([{ image, row }], options)
    // circle: both found, one said twice; star: none found, three wrong
    expect(value(findings, 'recall50')).toBeCloseTo(2 / 3, 12)
    expect(value(findings, 'precision50')).toBeCloseTo(2 / 6, 12)
    expect(value(findings, 'ar50')).toBeCloseTo((1 + 0) / 2, 12)
    expect(value(findings, 'exact')).toBe(0)
  })

  it('holds nothing against what was found of a class that is not labelled whole', async () => {
    const open = { ...image, notExhaustive: ['star'] }
    const row = await groundAll.ask(open, pointing([0, 1]), options)
    expect(value(groundAll.findings([{ image: open, row }], options), 'precision50')).toBe(1)
  })

  it('wants the right box and the right words of a description', async () => {
    const row = await descriptions.ask(image, pointing([0, 2]), options)
    const findings = descriptions.findings([{ image, row }], options)
    expect(value(findings, 'mentioned')).toBeCloseTo(1 / 3, 12)
    expect(value(findings, 'wrongPairs')).toBe(1 / 2) // "a large red circle" on the star
  })

  it('scores captions by their words', () => {
    const row = {
      captions: [
        { object: 0, box: [0, 0, 50, 50] as [number, number, number, number], text: 'A large red circle.' },
        { object: 2, box: [0, 60, 20, 20] as [number, number, number, number], text: 'a small red heart' },
      ],
      unmatched: 1,
    }
    const findings = captions.findings([{ image, row }], options)
    expect(value(findings, 'exact')).toBe(0.5)
    expect(value(findings, 'unmatched')).toBe(1)
    expect(findings.worst.map(({ text }) => text)).toEqual(['"a small red heart" for "a small red star"'])
  })
})

describe('draws', () => {
  it('are the same for the same words, and each box once', () => {
    expect(uniform('a', 1)).toBe(uniform('a', 1))
    expect(uniform('a', 1)).not.toBe(uniform('a', 2))
    const many = Array.from({ length: 50 }, (_, i) => i)
    expect(sample(many, 10, 'x')).toEqual(sample(many, 10, 'x'))
    expect(sample(many, 10, 'x')).not.toEqual(sample(many, 10, 'y'))
    expect(new Set(sample(many, 10, 'x')).size).toBe(10)
    expect(sample(many, 60, 'x')).toEqual(many)
  })

  it('move each side of a box by a tenth of it at most', () => {
    for (let k = 0; k < 200; k++) {
      const [x, y, w, h] = asDrawn([100, 50, 40, 20], k)
      expect(Math.abs(x - 100)).toBeLessThanOrEqual(4)
      expect(Math.abs(x + w - 140)).toBeLessThanOrEqual(4)
      expect(Math.abs(y - 50)).toBeLessThanOrEqual(2)
      expect(Math.abs(y + h - 70)).toBeLessThanOrEqual(2)
    }
  })

  it('match each true box once', () => {
    const one = [0, 0, 10, 10] as const
    expect(countMatched([one], [one, one])).toBe(1)
    expect(countMatched([one, one], [one, one])).toBe(2)
    expect(countMatched([one], [[20, 20, 5, 5]])).toBe(0)
  })
})
