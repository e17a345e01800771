import { type BoxCxcywh, boxCxcywh } from '../../../native-models/geometry/boxes.ts'
import { openAsApplication } from '../engine.ts'
import { type Figure, measured, type Row } from '../figure.ts'
import { interleaved, seconds } from '../measure.ts'
import { precisionText, releaseOrDemoModel } from '../models.ts'
import { scene } from '../picture.ts'

const COUNT = 20
/** Words of a caption and its end: random weights would go on to the limit, which no caption of the release does. */
const CAPTION_TOKENS = 8

const row: Row = {
  case: '',
  unit: 's',
  referenceName: 'one by one without reuse',
  ratio: 'reference/value',
  goal: { of: 'ratio', at: '>=', limit: 10 },
}

export const captions20: Figure = {
  work: `${COUNT} region captions of one image, the image itself included`,
  rows: [row],
  async measure(context) {
    const { quick, log } = context
    const { modelDir, note } = await releaseOrDemoModel(context)
    const image = await scene()
    const engine = await openAsApplication(modelDir)
    const caption = async (key: string, boxes: readonly BoxCxcywh[]) =>
      engine.caption(await engine.perceive(image, { key }), boxes, { detail: 'brief', maxNewTokens: CAPTION_TOKENS })
    let number = 0
    const boxes = grid(COUNT)
    log('once to warm up: the first run of a graph lays out buffers and reads its weights')
    await caption('first', [boxes[0]!])
    log(`${COUNT} captions at once; one alone, its time ${COUNT} times`)
    const { ours, theirs } = await interleaved(
      quick ? 1 : 3,
      () => seconds(() => caption(`together ${++number}`, boxes)),
      async (round) => COUNT * (await seconds(() => caption(`alone ${++number}`, [boxes[(round * 7) % COUNT]!]))),
    )
    await engine.close()
    return [
      measured('captions-20', row, {
        value: ours.median,
        reference: theirs.median,
        note: `${note}; ${await precisionText(modelDir)}; boxes as a person draws them, captions of at most ${CAPTION_TOKENS} tokens; the reference is ${COUNT} times one`,
      }),
    ]
  },
}

/** Boxes beside each other, five in a row. */
function grid(count: number): BoxCxcywh[] {
  return Array.from({ length: count }, (_, k) => {
    const [column, row] = [k % 5, Math.floor(k / 5)]
    return boxCxcywh(0.1 + 0.2 * column, 0.125 + 0.25 * row, 0.15, 0.2)
  })
}
