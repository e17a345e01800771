/** Proposals: how many objects the model finds before anyone asks for them. Class-agnostic, as the proposer is. */
import { z } from 'zod'
import {
  type AreaName,
  DetectionEvaluation,
  type DetectionSummary,
  type Xywh,
} from '../../../../native-models/metrics/detection.ts'
import { histogram } from '../../../../native-models/metrics/referring.ts'
import { bestOverlap, rounded, toXywh } from '../boxes.ts'
import { type EvaluationTask, type Measure, WORST, type WorstCase } from '../evaluationTypes.ts'
import { barPlot, linePlot } from '../plots.ts'

const Scored = z.tuple([z.number(), z.number(), z.number(), z.number(), z.number()])
const Row = z.object({
  /** [x, y, w, h, score] of every box that the proposer puts out, before threshold and suppression. */
  proposals: z.array(Scored),
  /** Those that become region tokens, and what a person sees. */
  selected: z.array(Scored),
})
type Row = z.infer<typeof Row>

const boxOf = ([x, y, w, h]: z.infer<typeof Scored>): Xywh => [x, y, w, h]

export const proposals: EvaluationTask<Row> = {
  parse: (value) => Row.parse(value),
  relevant: [],
  questions: () => 1,
  async ask(image, { image: picture, run }) {
    const scored = ({ boxCxcywh, score }: { boxCxcywh: [number, number, number, number]; score: number }) =>
      [...rounded(toXywh(boxCxcywh, image)), score] as z.infer<typeof Scored>
    const { proposals } = await run({ kind: 'proposals', image: picture })
    const { regions } = await run({ kind: 'propose', image: picture, captions: false })
    return { proposals: proposals.map(scored), selected: regions.map(scored) }
  },
  findings(rows) {
    const all = new DetectionEvaluation()
    const kept = new DetectionEvaluation()
    const ious: number[] = []
    const worst: (WorstCase & { iou: number })[] = []
    let proposed = 0
    for (const { image, row } of rows) {
      const truths = image.objects.map(({ bboxXywh, area, crowd }) => ({ bboxXywh, area, crowd }))
      const detections = (boxes: Row['proposals']) => boxes.map((box) => ({ bboxXywh: boxOf(box), score: box[4] }))
      all.add(truths, detections(row.proposals))
      kept.add(truths, detections(row.selected))
      const selected = row.selected.map(boxOf)
      proposed += selected.length
      for (const object of image.objects) {
        if (object.crowd) continue
        const { place, iou } = bestOverlap(object.bboxXywh, selected)
        ious.push(iou)
        const name = object.captions[0] ?? object.category ?? 'an object'
        worst.push({
          image,
          iou,
          text: `${name}: best IoU ${iou.toFixed(2)} among ${selected.length} proposals`,
          truth: [object.bboxXywh],
          predicted: place < 0 ? [] : [selected[place]!],
        })
      }
    }
    const count = ious.length
    const keptSummary = kept.summary()
    const shareAbove = (iou: number) => (count === 0 ? null : ious.filter((value) => value >= iou).length / count)
    const measures: Measure[] = [
      { key: 'recall50', label: 'recall at IoU 0.5 of the shown proposals', value: shareAbove(0.5), unit: 'share' },
      { key: 'recall75', label: 'recall at IoU 0.75 of the shown proposals', value: shareAbove(0.75), unit: 'share' },
      {
        key: 'proposalsPerObject',
        label: 'shown proposals an object',
        value: count === 0 ? null : proposed / count,
        unit: 'score',
      },
      {
        key: 'shownAr100',
        label: 'AR@100 of the shown proposals',
        value: arAt(keptSummary, 100, 'all'),
        unit: 'share',
      },
      { key: 'shownAp', label: 'AP of the shown proposals', value: keptSummary.ap.all, unit: 'share' },
      ...detectionMeasures(all.summary(), 'of all proposals, before threshold and suppression'),
      { key: 'objects', label: 'objects', value: count, unit: 'count' },
    ]
    const curve = kept.precisionCurve(0.5)
    const axes = { x: 'recall', y: 'precision' }
    return {
      measures,
      plots: [
        ...(curve === null ? [] : [linePlot('precision-recall', 'Shown proposals, IoU 0.5', axes, curve)]),
        barPlot('iou', 'Best IoU of each object', { x: 'IoU', y: 'objects' }, histogram(ious, 20)),
      ],
      worst: worst.sort((a, b) => a.iou - b.iou).slice(0, WORST),
    }
  },
}

export const arAt = ({ ar }: DetectionSummary, k: number, area: AreaName) =>
  ar.find((entry) => entry.k === k)?.byArea[area] ?? null

/** The numbers of a COCO table. */
export function detectionMeasures(summary: DetectionSummary, of: string): Measure[] {
  const { ap, ap50, ap75, ar, ar50, ar75 } = summary
  const share = (key: string, label: string, value: number | null): Measure => ({
    key,
    label: `${label} ${of}`,
    value,
    unit: 'share',
  })
  const most = ar.at(-1)!
  return [
    ...ar.map(({ k, byArea }) => share(`ar${k}`, `AR@${k}`, byArea.all)),
    share('arSmall', `AR@${most.k} small`, most.byArea.small),
    share('arMedium', `AR@${most.k} medium`, most.byArea.medium),
    share('arLarge', `AR@${most.k} large`, most.byArea.large),
    share('ar50', 'AR at IoU 0.5', ar50),
    share('ar75', 'AR at IoU 0.75', ar75),
    share('ap', 'AP', ap.all),
    share('ap50', 'AP50', ap50),
    share('ap75', 'AP75', ap75),
    share('apSmall', 'AP small', ap.small),
    share('apMedium', 'AP medium', ap.medium),
    share('apLarge', 'AP large', ap.large),
  ]
}
