import { GromaEngine } from '../../../native-models/inference/engine.ts'
import { type Figure, measured, type Row } from '../figure.ts'
import { interleaved, seconds } from '../measure.ts'
import { precisionText, releaseOrDemoModel } from '../models.ts'
import { scene } from '../picture.ts'

const row: Row = {
  case: '',
  unit: 's',
  referenceName: 'doing it all again',
  ratio: 'reference/value',
  goal: { of: 'ratio', at: '>=', limit: 30 },
}

const FIRST = 'Give me a concise description of the image.'
const SECOND = 'What is on the left of the largest thing, and which colour does it have?'

export const secondQuestion: Figure = {
  work: 'time to the first token of a second question on one image',
  rows: [row],
  async measure(context) {
    const { quick, log } = context
    const { modelDir, note } = await releaseOrDemoModel(context)
    const image = await scene()
    const engine = await GromaEngine.open(modelDir)
    // One token: when the call is over, the first token is there.
    const ask = async (key: string, question: string) =>
      engine.ask(await engine.perceive(image, { key }), { question, grounded: true, maxNewTokens: 1 })
    log('the first question')
    const { regions } = await ask('seen', FIRST)
    let number = 0
    log('the second question, and everything anew, in turns')
    const { ours, theirs } = await interleaved(
      quick ? 1 : 3,
      // Another question each time: only what lies before it may be remembered.
      () => seconds(() => ask('seen', `${SECOND} ${++number}`)),
      () => seconds(() => ask(`never seen ${++number}`, `${SECOND} ${number}`)),
    )
    await engine.close()
    return [
      measured('second-question', row, {
        value: ours.median,
        reference: theirs.median,
        note: `${note}; ${await precisionText(modelDir)}; ${regions.length} regions in the prompt`,
      }),
    ]
  },
}
