import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type DemoFigures, measureDemo, openDemo } from '../support/demoFigures.ts'
import { times } from '../support/stress.ts'

/** Seeds far from any that training used, and drawn by another program than the training scenes. */
const FIRST_SEED = 7_000_000

describe('the demo model, on fresh scenes through our engine', () => {
  let demo: Awaited<ReturnType<typeof openDemo>>
  let figures: DemoFigures
  beforeAll(async () => {
    demo = await openDemo()
    figures = await measureDemo(demo.engine, times(20, 200), FIRST_SEED)
  }, 600_000)
  afterAll(() => demo?.close())

  it('proposes every object', () => expect(figures.recall).toBeGreaterThanOrEqual(0.97))
  it('proposes little else', () => expect(figures.proposalsPerObject).toBeLessThanOrEqual(1.5))
  it('proposes boxes that fit', () => expect(figures.averageRecall).toBeGreaterThanOrEqual(0.9))
  it('captions what it proposed', () => expect(figures.captionOfProposals).toBeGreaterThanOrEqual(0.95))
  it('captions what a person drew', () => expect(figures.captionOfDrawnBoxes).toBeGreaterThanOrEqual(0.95))
  it('finds what a phrase means', () => expect(figures.locate).toBeGreaterThanOrEqual(0.95))
  it('finds all of a kind', () => expect(figures.locateRecallOfAll).toBeGreaterThanOrEqual(0.95))
  it('finds nothing but that kind', () => expect(figures.locatePrecisionOfAll).toBeGreaterThanOrEqual(0.9))
  it('names things at their boxes in a description', () => expect(figures.described).toBeGreaterThanOrEqual(0.95))
  it('names nothing else there', () => expect(figures.wronglyDescribed).toBeLessThanOrEqual(0.05))
  it('is less sure of what is not there', () => expect(figures.absentAuroc).toBeGreaterThanOrEqual(0.95))
})

/** What the released model lives on has to work here too. */
describe('the demo model with a silent convolution branch', () => {
  it('is much worse at captions of boxes that a person drew', async () => {
    const demo = await openDemo({ without: 'branch' })
    try {
      const { captionOfDrawnBoxes } = await measureDemo(demo.engine, times(6, 60), FIRST_SEED)
      expect(captionOfDrawnBoxes).toBeLessThanOrEqual(0.85)
    } finally {
      await demo.close()
    }
  }, 300_000)
})
