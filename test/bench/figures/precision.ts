import type { GromaEngine } from '../../../native-models/inference/engine.ts'
import { answerAgreement } from '../../precision/answerAgreement.ts'
import { regionAgreement } from '../../precision/regionAgreement.ts'
import { freshSeed, type Share } from '../../precision/share.ts'
import { type DemoOptions, openDemo } from '../../support/demoFigures.ts'
import { type Figure, measured, type Row } from '../figure.ts'

const boxes: Row = {
  case: 'int8 vision, selected boxes matched at IoU >= 0.9',
  unit: '%',
  referenceName: 'fp32',
  ratio: 'value/reference',
  goal: { of: 'value', at: '>=', limit: 98 },
}
const answers: Row = {
  ...boxes,
  case: 'int4 LLM, grounded answers equal',
  goal: { of: 'value', at: '>=', limit: 95 },
}
const captions: Row = { ...answers, case: 'int4 LLM, captions equal' }

type Agreement<A> = (
  exact: GromaEngine,
  other: GromaEngine,
  input: { scenes: number; firstSeed: number },
) => AsyncGenerator<A>

export const precision: Figure = {
  work: 'how often the demo model in few bits sees and says what it does in fp32, on 200 fresh scenes',
  rows: [boxes, answers, captions],
  async measure({ quick, log }) {
    const input = { scenes: quick ? 20 : 200, firstSeed: freshSeed() }
    const exact = await openDemo()
    const beside = async <A extends { scenes: number }>(few: DemoOptions, agreement: Agreement<A>): Promise<A> => {
      const other = await openDemo(few)
      const about = Object.entries(few).flat().join(' ')
      try {
        let last: A | undefined
        for await (last of agreement(exact.engine, other.engine, input)) {
          if (last.scenes % 10 === 0) log(`${about}: ${last.scenes} of ${input.scenes} scenes`)
        }
        return last!
      } finally {
        await other.close()
      }
    }
    const record = (row: Row, share: Share, more = '') =>
      measured('precision', row, {
        value: 100 * share.value,
        note: `${share}${more}; the demo model, ${input.scenes} scenes from GROMATIC_SEED=${input.firstSeed}`,
      })
    try {
      const seen = await beside({ vision: 'int8' }, regionAgreement)
      const said = await beside({ llm: 'int4' }, answerAgreement)
      return [
        record(boxes, seen.boxes, ` from both sides; captions equal ${seen.captions}`),
        record(answers, said.answers),
        record(captions, said.captions),
      ]
    } finally {
      await exact.close()
    }
  },
}
