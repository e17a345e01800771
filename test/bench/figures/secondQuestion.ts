import { openAsApplication } from '../engine.ts'
import { type Figure, measured, type Row } from '../figure.ts'
import { brief, inTurns, seconds } from '../measure.ts'
import { precisionText, releaseOrDemoModel } from '../models.ts'
import { scene } from '../picture.ts'

const few: Row = {
  case: 'a few words',
  unit: 's',
  referenceName: 'doing it all again',
  ratio: 'reference/value',
  goal: { of: 'ratio', at: '>=', limit: 30 },
}
const dozen: Row = { ...few, case: 'a dozen words' }

const FIRST = 'Give me a concise description of the image.'
/**
 * All begin otherwise, so that only what is before the question, and the words that open every one, may be remembered. In
 * words that the stretched tokenizer knows: as many tokens as the release's makes of such questions, or a few more. The
 * first of each kind is not measured.
 */
const QUESTIONS = {
  few: ['Who is there?', 'What is on the left?', 'Where is it?', 'Is there a man?'],
  dozen: [
    'Give me the colour of the one that is on the right.',
    'How large is the red one, and where is it in the image?',
    'Which of the two on the left is the largest one?',
    'Does the man on the left look at the one on the right?',
  ],
}

type Kind = keyof typeof QUESTIONS

export const secondQuestion: Figure = {
  work: 'time to the first token of a second question on one image',
  rows: [few, dozen],
  async measure(context) {
    const { quick, log } = context
    const { modelDir, note } = await releaseOrDemoModel(context)
    const image = await scene()
    let read = '' // tokens of the last question
    const engine = await openAsApplication(modelDir, (line) => {
      read = /^answer: \d+ tokens of the question reused, (\d+) computed/.exec(line)?.[1] ?? read
    })
    // One token: when the call is over, the first token is there.
    const ask = async (key: string, question: string) =>
      engine.ask(await engine.perceive(image, { key }), { question, grounded: true, maxNewTokens: 1 })
    log('the first question')
    const { regions } = await ask('seen', FIRST)
    // Short questions are read with the weights that answers are written with, which no one-token answer above has brought
    // into memory: a first answer of more words does that. Long ones have a graph of their own.
    log('one more of each kind, to warm up')
    for (const [question] of Object.values(QUESTIONS)) await ask('seen', question!)
    log('questions on the image, and everything anew, in turns')
    const each: Record<Kind, string[]> = { few: [], dozen: [] }
    const again = (kind: Kind) => async (round: number) => {
      const took = await seconds(() => ask('seen', QUESTIONS[kind][round + 1]!))
      each[kind].push(`${read} in ${brief(took)} s`)
      return took
    }
    const anew = (kind: Kind) => (round: number) =>
      seconds(() => ask(`never seen: ${kind} ${round}`, QUESTIONS[kind][round + 1]!))
    const took = await inTurns(quick ? 1 : 3, {
      few: again('few'),
      fewAnew: anew('few'),
      dozen: again('dozen'),
      dozenAnew: anew('dozen'),
    })
    await engine.close()
    const about = `${note}; ${await precisionText(modelDir)}; ${regions.length} regions in the prompt`
    const record = (row: Row, kind: Kind, anew: number) =>
      measured('second-question', row, {
        value: took[kind].median,
        reference: anew,
        note: `${about}; tokens read: ${each[kind].join(', ')}`,
      })
    return [record(few, 'few', took.fewAnew.median), record(dozen, 'dozen', took.dozenAnew.median)]
  },
}
