import { beforeAll, describe, expect, it } from 'vitest'
import { openDemo } from '../support/demoFigures.ts'
import { times } from '../support/stress.ts'
import { type RegionAgreement, regionAgreement } from './regionAgreement.ts'
import { freshSeed } from './share.ts'

const firstSeed = freshSeed()
/** Enough that a rate of 99 in 100, as measured, does not fall under 98 by chance. */
const scenes = times(60, 300)

describe(`the demo model with int8 vision against fp32, ${scenes} scenes from GROMATIC_SEED=${firstSeed}`, () => {
  let all: RegionAgreement

  beforeAll(async () => {
    const [exact, rounded] = [await openDemo(), await openDemo({ vision: 'int8' })]
    expect(rounded.engine.info.vision).toBe('int8')
    for await (all of regionAgreement(exact.engine, rounded.engine, { scenes, firstSeed }));
    const { boxes, captions, right } = all
    console.info(`boxes ${boxes}, captions ${captions}, right ${right.exact} in fp32, ${right.rounded} in int8`)
    await Promise.all([exact.close(), rounded.close()])
  }, 900_000)

  it('selects the same boxes, IoU >= 0.9, for at least 98 in 100, counted from both sides', () => {
    expect(all.boxes.asked).toBeGreaterThan(2 * scenes)
    expect(all.boxes.value).toBeGreaterThanOrEqual(0.98)
  })

  it('gives the same captions for at least 95 in 100', () => {
    expect(all.captions.value).toBeGreaterThanOrEqual(0.95)
  })

  it('is right as often, within what rounding moves either way', () => {
    const { exact, rounded } = all.right
    expect(rounded.equal).toBeGreaterThanOrEqual(exact.equal - Math.max(2, 0.02 * exact.asked))
  })
})
