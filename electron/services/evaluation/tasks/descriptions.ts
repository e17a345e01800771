/** Grounded descriptions: which objects are mentioned with the right box, and which phrases got a wrong one. */
import { z } from 'zod'
import { sameCaption } from '../../../../native-models/metrics/captions.ts'
import { iouXywh, type Xywh } from '../../../../native-models/metrics/detection.ts'
import { rounded, toXywh } from '../boxes.ts'
import { type EvaluationTask, WORST, type WorstCase } from '../evaluationTypes.ts'

const Box = z.tuple([z.number(), z.number(), z.number(), z.number()])
const Row = z.object({ text: z.string(), pairs: z.array(z.object({ phrase: z.string(), box: Box })) })
type Row = z.infer<typeof Row>

/** The authors' own words. */
const QUESTION = 'Give me a concise description of the image.'
const IOU = 0.5

export const descriptions: EvaluationTask<Row> = {
  parse: (value) => Row.parse(value),
  relevant: [],
  questions: (image) => (image.objects.some(({ captions }) => captions.length > 0) ? 1 : 0),
  async ask(image, { image: picture, run }) {
    const answer = await run({ kind: 'ask', image: picture, question: QUESTION, grounded: true, boxesCxcywh: [] })
    const pairs = answer.spans.flatMap((span) =>
      span.regions.map(({ boxCxcywh }) => ({
        phrase: span.text,
        box: [...rounded(toXywh(boxCxcywh, image))] as z.infer<typeof Box>,
      })),
    )
    return { text: answer.text, pairs }
  },
  findings(rows) {
    const sum = { objects: 0, mentioned: 0, pairs: 0, wrong: 0, exact: 0 }
    const worst: (WorstCase & { faults: number })[] = []
    for (const { image, row } of rows) {
      const objects = image.objects.filter(({ captions, crowd }) => captions.length > 0 && !crowd)
      const fits = (pair: Row['pairs'][number], object: (typeof objects)[number]) =>
        iouXywh(pair.box as Xywh, object.bboxXywh) >= IOU &&
        object.captions.some((caption) => sameCaption(pair.phrase, caption))
      const missed = objects.filter((object) => !row.pairs.some((pair) => fits(pair, object)))
      const wrong = row.pairs.filter((pair) => !objects.some((object) => fits(pair, object)))
      sum.objects += objects.length
      sum.mentioned += objects.length - missed.length
      sum.pairs += row.pairs.length
      sum.wrong += wrong.length
      if (missed.length + wrong.length === 0) sum.exact++
      worst.push({
        image,
        faults: missed.length + wrong.length,
        text: `${missed.length} of ${objects.length} not mentioned, ${wrong.length} wrong: "${row.text}"`,
        truth: missed.map(({ bboxXywh }) => bboxXywh),
        predicted: wrong.map(({ box }) => box as Xywh),
      })
    }
    const share = (part: number, whole: number) => (whole === 0 ? null : part / whole)
    return {
      measures: [
        {
          key: 'mentioned',
          label: 'objects mentioned with the right box',
          value: share(sum.mentioned, sum.objects),
          unit: 'share',
        },
        {
          key: 'wrongPairs',
          label: 'wrong pairs of phrase and box',
          value: share(sum.wrong, sum.pairs),
          unit: 'share',
        },
        {
          key: 'exact',
          label: 'descriptions with all right and none wrong',
          value: share(sum.exact, rows.length),
          unit: 'share',
        },
        { key: 'objects', label: 'objects', value: sum.objects, unit: 'count' },
        { key: 'pairs', label: 'pairs of phrase and box', value: sum.pairs, unit: 'count' },
      ],
      plots: [],
      worst: worst
        .filter(({ faults }) => faults > 0)
        .sort((a, b) => b.faults - a.faults)
        .slice(0, WORST),
    }
  },
}
