import { openAsApplication } from '../engine.ts'
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
/**
 * Each begins otherwise, so that only what is before the question, and the words that open every one, may be remembered. In
 * words that the stretched tokenizer knows: 22 to 28 tokens, as the release's makes of a question of a dozen words.
 */
const OTHERS = [
  'What is on the left of the largest one, and is it red or blue?',
  'Is there a man in the image, and what does he do there?',
  'How large is the red one, and where is it in the image?',
  'Which of the two on the left is the largest one?',
  'Give me the colour of the one that is on the right.',
  'Does the man on the left look at the one on the right?',
]

export const secondQuestion: Figure = {
  work: 'time to the first token of a second question on one image',
  rows: [row],
  async measure(context) {
    const { quick, log } = context
    const { modelDir, note } = await releaseOrDemoModel(context)
    const image = await scene()
    const logs: string[] = []
    const engine = await openAsApplication(modelDir, (line) => logs.push(line))
    // One token: when the call is over, the first token is there.
    const ask = async (key: string, question: string) =>
      engine.ask(await engine.perceive(image, { key }), { question, grounded: true, maxNewTokens: 1 })
    log('the first question')
    const { regions } = await ask('seen', FIRST)
    log('the second question, and everything anew, in turns')
    const { ours, theirs } = await interleaved(
      quick ? 1 : 3,
      (round) => seconds(() => ask('seen', OTHERS[2 * round]!)),
      (round) => seconds(() => ask(`never seen ${round}`, OTHERS[2 * round + 1]!)),
    )
    const read = logs.flatMap(
      (line) => /^answer: [1-9]\d* tokens of the question reused, (\d+) computed/.exec(line)?.[1] ?? [],
    )
    await engine.close()
    return [
      measured('second-question', row, {
        value: ours.median,
        reference: theirs.median,
        note: `${note}; ${await precisionText(modelDir)}; ${regions.length} regions in the prompt, ${read.join(', ')} tokens of questions read`,
      }),
    ]
  },
}
