/** Captions of boxes: the true ones (as the paper), those that a hand draws, or those that the model proposed itself. */
import { z } from 'zod'
import { sameCaption } from '../../../../native-models/metrics/captions.ts'
import { ciderD } from '../../../../native-models/metrics/ciderD.ts'
import type { Xywh } from '../../../../native-models/metrics/detection.ts'
import { meteorLike } from '../../../../native-models/metrics/meteorLike.ts'
import { ptbTokenize } from '../../../../native-models/metrics/ptbTokenizer.ts'
import { histogram } from '../../../../native-models/metrics/referring.ts'
import { bestOverlap, rounded, toCxcywh, toXywh } from '../boxes.ts'
import {
  type EvaluationImage,
  type EvaluationObject,
  type EvaluationOptions,
  type EvaluationTask,
  type Measure,
  WORST,
} from '../evaluationTypes.ts'
import { barPlot } from '../plots.ts'
import { uniform } from '../seeded.ts'

const Box = z.tuple([z.number(), z.number(), z.number(), z.number()])
const Row = z.object({
  /** `object` is what the box stands for. */
  captions: z.array(z.object({ object: z.int(), box: Box, text: z.string() })),
  /** Proposals that stand for no object. */
  unmatched: z.int(),
})
type Row = z.infer<typeof Row>

/** A box as a hand draws it: each side off by up to a tenth of the box. */
export function asDrawn([x, y, w, h]: Xywh, ...names: readonly (string | number)[]): Xywh {
  const off = (side: string, length: number) => (2 * uniform(...names, side) - 1) * 0.1 * length
  const left = x + off('left', w)
  const top = y + off('top', h)
  return [left, top, x + w + off('right', w) - left, y + h + off('bottom', h) - top]
}

const described = (image: EvaluationImage) =>
  image.objects.flatMap((object, place) => (object.captions.length > 0 && !object.crowd ? [{ object, place }] : []))

export const captions: EvaluationTask<Row> = {
  parse: (value) => Row.parse(value),
  relevant: ['boxes', 'detail', 'seed'],
  questions: (image) => described(image).length,
  async ask(image, asker, options) {
    if (options.boxes === 'proposed') return askProposed(image, asker, options)
    const row: Row = { captions: [], unmatched: 0 }
    for (const { object, place } of described(image)) {
      const box = options.boxes === 'truth' ? object.bboxXywh : asDrawn(object.bboxXywh, options.seed, image.id, place)
      // One box a prompt, as the authors ask: a second user's box would be a region of the first one's prompt.
      const { captions } = await asker.run({
        kind: 'caption',
        image: asker.image,
        boxesCxcywh: [toCxcywh(box, image)],
        detail: options.detail,
      })
      row.captions.push({ object: place, box: [...rounded(box)], text: captions[0]! })
    }
    return row
  },
  findings(rows) {
    const all = rows.flatMap(({ image, row }) =>
      row.captions.map((said) => ({ image, said, object: image.objects[said.object]! })),
    )
    const items = all.map(({ said, object }) => ({
      candidate: ptbTokenize(said.text),
      references: object.captions.map(ptbTokenize),
    }))
    const meteor = meteorLike(items)
    const cider = ciderD(items)
    const exact = all.map(({ said, object }) => object.captions.some((caption) => sameCaption(said.text, caption)))
    const share = (part: number) => (all.length === 0 ? null : part / all.length)
    const measures: Measure[] = [
      { key: 'exact', label: 'exact match', value: share(exact.filter(Boolean).length), unit: 'share' },
      { key: 'meteorLike', label: 'METEOR-like (exact and stem)', value: meteor.mean, unit: 'share' },
      { key: 'ciderD', label: 'CIDEr-D (as pycocoevalcap, x10)', value: cider.mean, unit: 'score' },
      ...attributeMeasures(all.map(({ said, object }) => ({ text: said.text, object }))),
      { key: 'captions', label: 'captions', value: all.length, unit: 'count' },
      {
        key: 'unmatched',
        label: 'proposals that stand for no object',
        value: rows.reduce((sum, { row }) => sum + row.unmatched, 0),
        unit: 'count',
      },
    ]
    const cases = all.map(({ image, said, object }, i) => ({
      image,
      wrong: !exact[i],
      score: meteor.scores[i]!,
      text: `"${said.text}" for "${object.captions[0]}"`,
      truth: [object.bboxXywh],
      predicted: [said.box as Xywh],
    }))
    return {
      measures,
      plots: [
        barPlot('meteor', 'METEOR-like of each caption', { x: 'score', y: 'captions' }, histogram(meteor.scores, 20)),
      ],
      worst: cases
        .filter(({ wrong }) => wrong)
        .sort((a, b) => a.score - b.score)
        .slice(0, WORST),
    }
  },
}

async function askProposed(
  image: EvaluationImage,
  { image: picture, run }: Parameters<typeof captions.ask>[1],
  { detail }: EvaluationOptions,
): Promise<Row> {
  const { regions } = await run({ kind: 'propose', image: picture, captions: detail === 'brief' })
  const boxesCxcywh = regions.map(({ boxCxcywh }) => boxCxcywh)
  const texts =
    detail === 'brief' || regions.length === 0
      ? regions.map(({ caption }) => caption ?? '')
      : (await run({ kind: 'caption', image: picture, boxesCxcywh, detail })).captions
  const objects = described(image)
  const row: Row = { captions: [], unmatched: 0 }
  for (const [i, boxCxcywh] of boxesCxcywh.entries()) {
    const box = rounded(toXywh(boxCxcywh, image))
    const { place, iou } = bestOverlap(
      box,
      objects.map(({ object }) => object.bboxXywh),
    )
    if (iou >= 0.5) row.captions.push({ object: objects[place]!.place, box: [...box], text: texts[i]! })
    else row.unmatched++
  }
  return row
}

/** Of the captions of objects with a property, how many name it. */
function attributeMeasures(said: readonly { text: string; object: EvaluationObject }[]): Measure[] {
  const names = [...new Set(said.flatMap(({ object }) => Object.keys(object.attributes)))]
  return names.map((name) => {
    const having = said.filter(({ object }) => object.attributes[name] !== undefined)
    const words = (text: string) => ` ${ptbTokenize(text)} `
    const right = having.filter(({ text, object }) => words(text).includes(words(object.attributes[name]!)))
    return { key: `names.${name}`, label: `names the ${name}`, value: right.length / having.length, unit: 'share' }
  })
}
