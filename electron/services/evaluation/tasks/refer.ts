/** Referring expressions: `Locate <p>..</p> in the image.`, counted as the authors count (the first `<rK>` of at most three tokens). */
import { z } from 'zod'
import { auroc } from '../../../../native-models/metrics/auroc.ts'
import { iouXywh, type Xywh } from '../../../../native-models/metrics/detection.ts'
import { histogram, referringSummary } from '../../../../native-models/metrics/referring.ts'
import type { EngineAnswer } from '../../../contract/engineProtocol.ts'
import { rounded, toXywh } from '../boxes.ts'
import {
  type EvaluationImage,
  type EvaluationOptions,
  type EvaluationTask,
  WORST,
  type WorstCase,
} from '../evaluationTypes.ts'
import { barPlot } from '../plots.ts'
import { sample } from '../seeded.ts'

const Box = z.tuple([z.number(), z.number(), z.number(), z.number()])
const Answer = z.object({ phrase: z.string(), box: Box.nullable(), confidence: z.number() })
const Row = z.object({
  /** One for each of the image's references, in their order. */
  answers: z.array(Answer),
  /** Phrases that name nothing in the image. */
  absent: z.array(Answer),
})
type Row = z.infer<typeof Row>

/** The box that counts, and the probability of its `<rK>`; 0 where none was said. */
export function firstPointed(answer: EngineAnswer): { region: number; confidence: number } | null {
  const region = answer.pointed[0]
  if (region === undefined) return null
  const said = answer.spans.flatMap((span) => span.regions).find(({ index }) => index === region)
  return { region, confidence: said?.score ?? 0 }
}

const absentOf = (image: EvaluationImage, options: EvaluationOptions) =>
  sample(image.absentPhrases, options.absent, options.seed, image.id)

export const refer: EvaluationTask<Row> = {
  parse: (value) => Row.parse(value),
  relevant: ['absent', 'seed'],
  questions: (image) => image.references.length,
  async ask(image, { image: picture, run }, options) {
    const locate = async (phrase: string): Promise<z.infer<typeof Answer>> => {
      const answer = await run({ kind: 'locate', image: picture, phrase, all: false })
      const first = firstPointed(answer)
      const box = first === null ? null : [...rounded(toXywh(answer.regions[first.region]!.boxCxcywh, image))]
      return { phrase, box: box as z.infer<typeof Box> | null, confidence: first?.confidence ?? 0 }
    }
    const row: Row = { answers: [], absent: [] }
    for (const { phrase } of image.references) row.answers.push(await locate(phrase))
    for (const phrase of absentOf(image, options)) row.absent.push(await locate(phrase))
    return row
  },
  findings(rows) {
    const ious: (number | null)[] = []
    const worst: (WorstCase & { iou: number; confidence: number })[] = []
    const confidences: number[] = []
    const absent: number[] = []
    for (const { image, row } of rows) {
      absent.push(...row.absent.map(({ confidence }) => confidence))
      for (const [place, { phrase, box, confidence }] of row.answers.entries()) {
        const truth = image.references[place]!.bboxXywh
        const iou = box === null ? null : iouXywh(box as Xywh, truth)
        ious.push(iou)
        confidences.push(confidence)
        const said = iou === null ? 'no box' : `IoU ${iou.toFixed(2)}, confidence ${confidence.toFixed(2)}`
        worst.push({
          image,
          iou: iou ?? 0,
          confidence,
          text: `"${phrase}": ${said}`,
          truth: [truth],
          predicted: box === null ? [] : [box],
        })
      }
    }
    const { count, accuracy, meanIou, unanswered } = referringSummary(ious)
    const right = confidences.filter((_, i) => (ious[i] ?? 0) > 0.5)
    const wrong = confidences.filter((_, i) => (ious[i] ?? 0) <= 0.5)
    const all = (values: readonly number[]) => histogram(values, 20)
    return {
      measures: [
        { key: 'accuracy', label: 'accuracy at IoU 0.5', value: accuracy, unit: 'share' },
        { key: 'meanIou', label: 'mean IoU', value: meanIou, unit: 'share' },
        { key: 'unanswered', label: 'answers without a box', value: unanswered, unit: 'share' },
        {
          key: 'aurocRight',
          label: 'AUROC of the confidence: right against wrong',
          value: auroc(right, wrong),
          unit: 'share',
        },
        {
          key: 'aurocAbsent',
          label: 'AUROC of the confidence: what is there against what is not',
          value: auroc(confidences, absent),
          unit: 'share',
        },
        { key: 'phrases', label: 'phrases', value: count, unit: 'count' },
        { key: 'absentPhrases', label: 'phrases for nothing in the image', value: absent.length, unit: 'count' },
      ],
      plots: [
        barPlot('iou', 'IoU of the box that was given', { x: 'IoU', y: 'phrases' }, all(ious.map((iou) => iou ?? 0))),
        barPlot(
          'confidence',
          'Confidence (outlined: nothing is there)',
          { x: 'confidence', y: 'phrases' },
          all(confidences),
          all(absent),
        ),
      ],
      worst: worst.sort((a, b) => a.iou - b.iou || b.confidence - a.confidence).slice(0, WORST),
    }
  },
}
