/** Boxes against pycocotools: a draw it judged once, and fresh draws where GROMATIC_PYTHON names a Python that has it. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import {
  DetectionEvaluation,
  type DetectionSummary,
  iouXywh,
  type Xywh,
} from '../../native-models/metrics/detection.ts'

interface Judged {
  images: { id: number }[]
  annotations: { image_id: number; category_id: number; bbox: Xywh; area: number; iscrowd: number }[]
  results: { image_id: number; category_id: number; bbox: Xywh; score: number }[]
  byClass: { stats: number[]; curve: number[] }
  classAgnostic: { stats: number[]; curve: number[] }
}

const python = process.env.GROMATIC_PYTHON
const script = join(import.meta.dirname, 'detectionFixture.py')
const fixture = JSON.parse(
  readFileSync(join(import.meta.dirname, '../fixtures/metrics/detections.json'), 'utf8'),
) as Judged

function evaluate({ images, annotations, results }: Judged, byClass: boolean): DetectionEvaluation {
  const evaluation = new DetectionEvaluation()
  for (const { id } of images)
    for (const category of byClass ? [1, 2, 3] : [0]) {
      const here = (row: { image_id: number; category_id: number }) =>
        row.image_id === id && (!byClass || row.category_id === category)
      const inOrder = (a: { category_id: number }, b: { category_id: number }) => a.category_id - b.category_id
      evaluation.add(
        annotations
          .filter(here)
          .sort(inOrder)
          .map(({ bbox, area, iscrowd }) => ({ bboxXywh: bbox, area, crowd: iscrowd === 1 })),
        results
          .filter(here)
          .sort(inOrder)
          .map(({ bbox, score }) => ({ bboxXywh: bbox, score })),
        { category },
      )
    }
  return evaluation
}

/** In the order of COCOeval.stats. */
const stats = ({ ap, ap50, ap75, ar }: DetectionSummary) =>
  [
    ap.all,
    ap50,
    ap75,
    ap.small,
    ap.medium,
    ap.large,
    ...ar.map(({ byArea }) => byArea.all),
    ar[2]!.byArea.small,
    ar[2]!.byArea.medium,
    ar[2]!.byArea.large,
  ].map((value) => value ?? -1)

function expectSame(judged: Judged): void {
  for (const byClass of [true, false]) {
    const evaluation = evaluate(judged, byClass)
    const expected = byClass ? judged.byClass : judged.classAgnostic
    const got = stats(evaluation.summary())
    for (const [i, value] of got.entries())
      expect(value, `stats[${i}], byClass ${byClass}`).toBeCloseTo(expected.stats[i]!, 12)
    for (const [r, value] of evaluation.precisionCurve()!.entries())
      expect(value, `recall ${r}`).toBeCloseTo(expected.curve[r]!, 12)
  }
}

describe('boxes, as pycocotools counts them', () => {
  it('gives the same AP, AR per area and curve on a judged draw', () => expectSame(fixture))

  it.skipIf(python === undefined)('gives the same on fresh draws (GROMATIC_PYTHON)', () => {
    for (const seed of [11, 12, 13]) {
      const judged = JSON.parse(execFileSync(python!, [script, String(seed)], { encoding: 'utf8' })) as Judged
      expectSame(judged)
    }
  })

  it('has no number where there is nothing to find', () => {
    const evaluation = new DetectionEvaluation()
    evaluation.add([], [{ bboxXywh: [0, 0, 10, 10], score: 1 }])
    expect(evaluation.summary()).toMatchObject({ ap: { all: null }, ap50: null, ar50: null })
    expect(evaluation.precisionCurve()).toBeNull()
  })

  it('lets what matches nothing pass where not every box of a class is labelled', () => {
    const truth = [{ bboxXywh: [0, 0, 100, 100] as const }]
    const found = [
      { bboxXywh: [200, 200, 50, 50] as const, score: 0.9 },
      { bboxXywh: [0, 0, 100, 100] as const, score: 0.8 },
    ]
    const strict = new DetectionEvaluation()
    strict.add(truth, found)
    expect(strict.summary().ap.all).toBeCloseTo(0.5, 12)
    const lenient = new DetectionEvaluation()
    lenient.add(truth, found, { exhaustive: false })
    expect(lenient.summary().ap.all).toBeCloseTo(1, 12)
  })

  it('knows how much two boxes overlap', () => {
    expect(iouXywh([0, 0, 10, 10], [5, 0, 10, 10])).toBeCloseTo(1 / 3, 12)
    expect(iouXywh([0, 0, 10, 10], [10, 0, 10, 10])).toBe(0)
  })
})
