/** All instances of a class: `Locate all <p>..</p> in this image.`, counted as the authors' LVIS-Ground (every `<rK>` of at most ten tokens, score 1). */
import { z } from 'zod'
import { auroc } from '../../../../native-models/metrics/auroc.ts'
import { DetectionEvaluation, type Xywh } from '../../../../native-models/metrics/detection.ts'
import { histogram } from '../../../../native-models/metrics/referring.ts'
import { bestOverlap, countMatched, rounded, toXywh } from '../boxes.ts'
import {
  type EvaluationImage,
  type EvaluationOptions,
  type EvaluationTask,
  WORST,
  type WorstCase,
} from '../evaluationTypes.ts'
import { barPlot } from '../plots.ts'
import { sample } from '../seeded.ts'
import { detectionMeasures } from './proposals.ts'
import { firstPointed } from './refer.ts'

const Box = z.tuple([z.number(), z.number(), z.number(), z.number()])
const Answer = z.object({ category: z.string(), boxes: z.array(Box), confidence: z.number() })
const Row = z.object({ answers: z.array(Answer), absent: z.array(Answer) })
type Row = z.infer<typeof Row>

/** A class's name as the authors put it into the question. */
const phraseOf = (category: string) => category.replaceAll('_', ' ').trim().toLowerCase()

const categoriesOf = ({ objects }: EvaluationImage) => [
  ...new Set(objects.flatMap(({ category, crowd }) => (category === null || crowd ? [] : [category]))),
]

const absentOf = (image: EvaluationImage, options: EvaluationOptions) =>
  sample(image.absentCategories, options.absent, options.seed, image.id)

export const groundAll: EvaluationTask<Row> = {
  parse: (value) => Row.parse(value),
  relevant: ['absent', 'seed'],
  questions: (image) => categoriesOf(image).length,
  async ask(image, { image: picture, run }, options) {
    const locate = async (category: string): Promise<z.infer<typeof Answer>> => {
      const answer = await run({ kind: 'locate', image: picture, phrase: phraseOf(category), all: true })
      const boxes = answer.pointed.map((region) => [...rounded(toXywh(answer.regions[region]!.boxCxcywh, image))])
      return { category, boxes: boxes as z.infer<typeof Box>[], confidence: firstPointed(answer)?.confidence ?? 0 }
    }
    const row: Row = { answers: [], absent: [] }
    for (const category of categoriesOf(image)) row.answers.push(await locate(category))
    for (const category of absentOf(image, options)) row.absent.push(await locate(category))
    return row
  },
  findings(rows) {
    const evaluation = new DetectionEvaluation()
    const numbers = new Map<string, number>()
    const worst: (WorstCase & { f1: number })[] = []
    const ious: number[] = []
    const confidences: number[] = []
    const absent: number[] = []
    const sum = { asked: 0, said: 0, found: 0, right: 0, exact: 0, questions: 0 }
    for (const { image, row } of rows) {
      absent.push(...row.absent.map(({ confidence }) => confidence))
      for (const { category, boxes, confidence } of row.answers) {
        if (!numbers.has(category)) numbers.set(category, numbers.size)
        const truths = image.objects.filter((object) => object.category === category)
        const exhaustive = !image.notExhaustive.includes(category)
        evaluation.add(
          truths.map(({ bboxXywh, area, crowd }) => ({ bboxXywh, area, crowd })),
          boxes.map((box) => ({ bboxXywh: box as Xywh, score: 1 })),
          { category: numbers.get(category)!, exhaustive },
        )
        const wanted = truths.filter(({ crowd }) => !crowd).map(({ bboxXywh }) => bboxXywh)
        const said = boxes as Xywh[]
        const matched = countMatched(wanted, said)
        const wrong = said.length - matched
        sum.asked += wanted.length
        sum.found += matched
        sum.questions++
        if (exhaustive) {
          sum.said += said.length
          sum.right += matched
        }
        if (matched === wanted.length && wrong === 0) sum.exact++
        ious.push(...wanted.map((box) => bestOverlap(box, said).iou))
        confidences.push(confidence)
        worst.push({
          image,
          f1: (2 * matched) / (wanted.length + said.length),
          text: `all "${phraseOf(category)}": ${matched} of ${wanted.length} found, ${wrong} wrong`,
          truth: wanted,
          predicted: said,
        })
      }
    }
    const share = (part: number, whole: number) => (whole === 0 ? null : part / whole)
    return {
      measures: [
        { key: 'recall50', label: 'recall at IoU 0.5', value: share(sum.found, sum.asked), unit: 'share' },
        { key: 'precision50', label: 'precision at IoU 0.5', value: share(sum.right, sum.said), unit: 'share' },
        {
          key: 'exact',
          label: 'questions with all boxes right and none wrong',
          value: share(sum.exact, sum.questions),
          unit: 'share',
        },
        ...detectionMeasures(evaluation.summary(), 'by class, score 1'),
        {
          key: 'aurocAbsent',
          label: 'AUROC of the confidence: what is there against what is not',
          value: auroc(confidences, absent),
          unit: 'share',
        },
        { key: 'questions', label: 'questions', value: sum.questions, unit: 'count' },
        { key: 'objects', label: 'objects', value: sum.asked, unit: 'count' },
        { key: 'absentQuestions', label: 'questions for nothing in the image', value: absent.length, unit: 'count' },
      ],
      plots: [barPlot('iou', 'Best IoU of each object', { x: 'IoU', y: 'objects' }, histogram(ious, 20))],
      worst: worst.sort((a, b) => a.f1 - b.f1).slice(0, WORST),
    }
  },
}
