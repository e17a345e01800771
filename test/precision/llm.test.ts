import { afterAll, beforeAll, expect, it } from 'vitest'
import { openDemo } from '../support/demoFigures.ts'
import { times } from '../support/stress.ts'
import { type AnswerAgreement, answerAgreement } from './answerAgreement.ts'
import { freshSeed } from './share.ts'

/** Scenes asked about; a short slice that falls below the share says little yet, and goes on up to so many. */
const [slice, scenes] = [times(15, 200), times(60, 200)]
const firstSeed = freshSeed()

let exact: Awaited<ReturnType<typeof openDemo>>
beforeAll(async () => {
  exact = await openDemo()
})
afterAll(() => exact.close())

it.each([
  ['fp16', 0.99],
  ['int8', 0.95],
  ['int4', 0.95],
])(
  '%s says what fp32 says on fresh scenes: at least %f of the captions and of the grounded answers',
  async (llm, share) => {
    const other = await openDemo({ llm })
    try {
      let last: AnswerAgreement | undefined
      for await (last of answerAgreement(exact.engine, other.engine, { scenes, firstSeed })) {
        if (last.scenes % slice === 0 && Math.min(last.captions.value, last.answers.value) >= share) break
      }
      const { captions, answers, differences } = last!
      const figures = `${llm}, GROMATIC_SEED=${firstSeed}: captions ${captions}, answers ${answers}`
      console.info(figures)
      const told = [figures, ...differences.slice(0, 10)].join('\n')
      expect(captions.value, told).toBeGreaterThanOrEqual(share)
      expect(answers.value, told).toBeGreaterThanOrEqual(share)
    } finally {
      await other.close()
    }
  },
  times(300_000, 1_800_000),
)
