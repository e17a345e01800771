/** `evaluate work`: the model against people, on the images that are done. What people kept or drew there is the truth. */
import type { JudgedBox } from '../../../db/repositories/statistics.ts'
import { auroc } from '../../../native-models/metrics/auroc.ts'
import { sameCaption } from '../../../native-models/metrics/captions.ts'
import { ciderD } from '../../../native-models/metrics/ciderD.ts'
import { DetectionEvaluation, iouXywh } from '../../../native-models/metrics/detection.ts'
import { meteorLike } from '../../../native-models/metrics/meteorLike.ts'
import { ptbTokenize } from '../../../native-models/metrics/ptbTokenizer.ts'
import { percent, shareOf, withStatistics } from './statistics.ts'

export interface WorkReport {
  project: string
  images: number
  /** The model's boxes that were decided. */
  decided: number
  /** Boxes that people kept or drew. */
  truth: number
  /** Share of the model's boxes that people kept, as they were or changed. */
  precision: number | null
  /** Share of the truth that the model had proposed. */
  recall: number | null
  /** Share of kept boxes that nothing was changed of. */
  unchanged: number | null
  boxes: {
    /** Between the model's box and what people made of it. */
    meanIou: number | null
    ap: number | null
    ap50: number | null
    ar100: number | null
  }
  captions: {
    /** Kept boxes that the model had captioned and that still have a caption. */
    count: number
    exact: number | null
    meteorLike: number | null
    ciderD: number | null
  }
  /** How well the score tells what people keep from what they reject, and how often it is kept, by tenth of the score. */
  confidence: { auroc: number | null; tenths: { from: number; decided: number; kept: number }[] }
}

const isKept = ({ status }: JudgedBox) => status === 'accepted' || status === 'edited'

/** @throws NOT_FOUND, PROJECT_INVALID, PROJECT_NEWER, READ_ONLY, IO_FAILED */
export function workReport(projectPath: string): WorkReport {
  return withStatistics(projectPath, (statistics) => measure(projectPath, statistics.judgedBoxes()))
}

function measure(project: string, boxes: Iterable<JudgedBox>): WorkReport {
  const evaluation = new DetectionEvaluation()
  const tenths = Array.from({ length: 10 }, (_, i) => ({ from: i / 10, decided: 0, kept: 0 }))
  const scores = { kept: [] as number[], rejected: [] as number[] }
  const captions: { candidate: string; references: string[]; same: boolean }[] = []
  const sum = { images: 0, decided: 0, keptOfModel: 0, truth: 0, unchanged: 0, iou: 0, moved: 0 }
  let image: JudgedBox[] = []

  const take = (box: JudgedBox) => {
    const kept = isKept(box)
    if (kept) sum.truth++
    if (box.provenance !== 'model' || box.status === 'proposed') return
    sum.decided++
    if (box.modelScore !== null) {
      ;(kept ? scores.kept : scores.rejected).push(box.modelScore)
      const tenth = tenths[Math.min(9, Math.floor(box.modelScore * 10))]!
      tenth.decided++
      if (kept) tenth.kept++
    }
    if (!kept) return
    sum.keptOfModel++
    if (box.status === 'accepted') sum.unchanged++
    if (box.modelBboxXywh !== null) {
      sum.iou += iouXywh(box.modelBboxXywh, box.bboxXywh)
      sum.moved++
    }
    if (box.modelCaption && box.caption) {
      captions.push({
        candidate: ptbTokenize(box.modelCaption),
        references: [ptbTokenize(box.caption)],
        same: sameCaption(box.modelCaption, box.caption),
      })
    }
  }
  const closeImage = () => {
    if (image.length === 0) return
    sum.images++
    evaluation.add(
      image.filter(isKept),
      image.flatMap(({ provenance, modelBboxXywh, modelScore }) =>
        provenance === 'model' && modelBboxXywh !== null ? [{ bboxXywh: modelBboxXywh, score: modelScore ?? 0 }] : [],
      ),
    )
    image = []
  }
  for (const box of boxes) {
    if (image[0] !== undefined && image[0].imageId !== box.imageId) closeImage()
    image.push(box)
    take(box)
  }
  closeImage()

  const { ap, ap50, ar } = evaluation.summary()
  return {
    project,
    images: sum.images,
    decided: sum.decided,
    truth: sum.truth,
    precision: shareOf(sum.keptOfModel, sum.decided),
    recall: shareOf(sum.keptOfModel, sum.truth),
    unchanged: shareOf(sum.unchanged, sum.keptOfModel),
    boxes: { meanIou: shareOf(sum.iou, sum.moved), ap: ap.all, ap50, ar100: ar.at(-1)!.byArea.all },
    captions: {
      count: captions.length,
      exact: shareOf(captions.filter(({ same }) => same).length, captions.length),
      meteorLike: meteorLike(captions).mean,
      ciderD: ciderD(captions).mean,
    },
    confidence: { auroc: auroc(scores.kept, scores.rejected), tenths },
  }
}

export function workText({
  images,
  decided,
  truth,
  precision,
  recall,
  unchanged,
  boxes,
  captions,
  confidence,
}: WorkReport): string {
  const number = (value: number | null) => (value === null ? '-' : value.toFixed(3))
  return [
    `${images} images done, ${decided} of the model's boxes decided, ${truth} boxes kept or drawn`,
    `precision   ${percent(precision)} of the model's boxes were kept, ${percent(unchanged)} of those unchanged`,
    `recall      ${percent(recall)} of the boxes came from the model`,
    `boxes       mean IoU ${number(boxes.meanIou)}, AP ${number(boxes.ap)}, AP50 ${number(boxes.ap50)}, AR@100 ${number(boxes.ar100)}`,
    `captions    ${percent(captions.exact)} of ${captions.count} kept as they were, METEOR-like ${number(captions.meteorLike)}, CIDEr-D ${number(captions.ciderD)}`,
    `confidence  AUROC ${number(confidence.auroc)}`,
    ...confidence.tenths
      .filter(({ decided }) => decided > 0)
      .map(
        ({ from, decided, kept }) =>
          `  score ${from.toFixed(1)}-${(from + 0.1).toFixed(1)}: ${percent(kept / decided)} of ${decided} kept`,
      ),
  ].join('\n')
}
