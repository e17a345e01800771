/** Several tokens a pass: what is said is what is said with one token a pass. On the demo model, over fresh scenes. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type BoxCxcywh, boxCxcywh } from '../../../native-models/geometry/boxes.ts'
import { promptParts, type Query, queries } from '../../../native-models/groma/prompt.ts'
import type { GroundedAnswer } from '../../../native-models/inference/answers.ts'
import type { Drafter } from '../../../native-models/inference/draft.ts'
import { type Caption, GromaEngine } from '../../../native-models/inference/engine.ts'
import { generate } from '../../../native-models/inference/generate.ts'
import { ImageMemory, type Perception } from '../../../native-models/inference/imageMemory.ts'
import { type LoadedModel, loadModel } from '../../../native-models/inference/loadModel.ts'
import { embedQuestion, splitPrompt } from '../../../native-models/inference/promptEmbedding.ts'
import { decodeImage } from '../../../native-models/preprocess/image.ts'
import { makeDemoFolder } from '../../support/demoFigures.ts'
import { times } from '../../support/stress.ts'
import { drawScene } from '../../support/syntheticScenes.ts'

const FIRST_SEED = 8_100_000
let demo: Awaited<ReturnType<typeof makeDemoFolder>>
beforeAll(async () => {
  demo = await makeDemoFolder()
}, 60_000)
afterAll(() => demo?.remove())

describe('an engine that guesses', () => {
  it('says the same as one that does not, in fewer passes', async () => {
    const [guessing, plain] = await Promise.all([
      GromaEngine.open(demo.dir),
      GromaEngine.open(demo.dir, { drafts: false }),
    ])
    let compared = 0
    for (let scene = 0; scene < times(8, 200); scene++) {
      const { bytes, objects } = await drawScene(FIRST_SEED + scene)
      const image = await decodeImage(bytes)
      const key = `${scene}`
      const at = await Promise.all([guessing, plain].map((engine) => engine.perceive(image, { key })))
      const compare = async (
        work: (engine: GromaEngine, perception: Perception) => Promise<GroundedAnswer | Caption>,
      ) => {
        const a = await work(guessing, at[0]!)
        const b = await work(plain, at[1]!)
        expect(a).toEqual(nearly(b))
        compared++
      }
      for (const question of ['Give me a concise description of the image.', 'How many circles are there?']) {
        await compare((engine, perception) => engine.ask(perception, { question, grounded: true }))
      }
      await compare((engine, perception) => {
        return engine.ask(perception, { question: 'What is {box}?', grounded: false, boxesCxcywh: [drawn(scene)] })
      })
      for (const { shape, caption } of objects.slice(0, 3)) {
        await compare((engine, perception) => engine.locate(perception, { phrase: caption, all: false }))
        await compare((engine, perception) => engine.locate(perception, { phrase: shape, all: true }))
      }
      for (const { boxCxcywh: box } of plain.propose(at[1]!).slice(0, 3)) {
        await compare(async (engine, perception) => (await engine.caption(perception, [box], { detail: 'brief' }))[0]!)
      }
    }
    expect(compared).toBeGreaterThan(50)
    const [with_, without] = [guessing.counters(), plain.counters()]
    expect(with_.decoder.passes).toBeLessThan(0.8 * without.decoder.passes)
    expect(with_.prompt).toEqual(without.prompt)
    await Promise.all([guessing.close(), plain.close()])
  }, 600_000)
})

describe('generate', () => {
  let model: LoadedModel
  let memory: ImageMemory
  let perception: Perception
  beforeAll(async () => {
    model = await loadModel(demo.dir, { threads: 2 })
    memory = new ImageMemory(model, 1 << 30)
    perception = await memory.perceive(await decodeImage((await drawScene(FIRST_SEED)).bytes), 'scene')
  })
  afterAll(() => model?.close())

  async function run(query: Query, drafter?: Drafter, maxNewTokens = 200) {
    const { language, tokenizer } = model
    const boxesCxcywh = perception.proposals.boxesCxcywh.slice(0, 5 * 4)
    const { tail } = splitPrompt(tokenizer.encodeParts(promptParts(query)), tokenizer.tokens)
    const said: number[] = []
    const { generated, figures } = await generate(language, {
      prefix: await memory.prefix(perception, { boxesCxcywh }),
      tails: [embedQuestion(language, tokenizer.tokens, tail, {})],
      maxNewTokens,
      eosTokenId: tokenizer.tokens.eos,
      topCount: 2,
      drafter,
      onToken: (_, { ids }) => said.push(ids.at(-1)!),
    })
    expect(said).toEqual(generated[0]!.ids)
    return { ...generated[0]!, figures }
  }
  /** Guesses what a text says, except where it errs. */
  const prophet = (text: readonly number[], errs: (place: number) => boolean): Drafter => ({
    guess: (ids, limit) =>
      text.slice(ids.length, ids.length + Math.min(limit, 5)).map((id, i) => (errs(ids.length + i) ? id + 1 : id)),
    learn: () => {},
    timed: () => {},
  })

  it.each<[string, (place: number) => boolean]>([
    ['all guesses are right', () => false],
    ['all guesses are wrong', () => true],
    ['some are right', (place) => place % 4 === 3],
    ['only the first is right', (place) => place % 2 === 1],
  ])('says the same where %s', async (_, errs) => {
    for (const query of [queries.describe(), queries.locateAll('circle')]) {
      const plain = await run(query)
      const { ids, probabilities, top, stopReason, figures } = await run(query, prophet(plain.ids, errs))
      expect(ids).toEqual(plain.ids)
      expect(stopReason).toBe(plain.stopReason)
      expect(probabilities.map((one, i) => Math.abs(one - plain.probabilities[i]!) < 1e-4)).not.toContain(false)
      expect(top.map((best) => best.map(([id]) => id))).toEqual(plain.top.map((best) => best.map(([id]) => id)))
      const rightOnes = plain.ids.some((_, place) => !errs(place))
      if (rightOnes) expect(figures.passes).toBeLessThan(plain.figures.passes)
      else expect(figures.passes).toBe(plain.figures.passes)
    }
  })

  it('stops at </s> and at the limit inside guesses that go on', async () => {
    const plain = await run(queries.describe())
    expect(plain.stopReason).toBe('end')
    const beyond = prophet([...plain.ids, 5, 6, 7, 8], () => false)
    expect((await run(queries.describe(), beyond)).ids).toEqual(plain.ids)
    for (const limit of [1, 2, 7]) {
      const cut = await run(queries.describe(), beyond, limit)
      expect(cut).toMatchObject({ ids: plain.ids.slice(0, limit), stopReason: 'length' })
    }
  })
})

const drawn = (scene: number): BoxCxcywh => boxCxcywh(0.3 + 0.04 * (scene % 10), 0.5, 0.2, 0.25)

/** The same but for the last bits of probabilities: a pass of several rows adds in another order. */
function nearly(answer: GroundedAnswer | Caption) {
  if (!('spans' in answer)) return { ...answer, confidence: expect.closeTo(answer.confidence, 4) }
  return {
    ...answer,
    outputProbabilities: answer.outputProbabilities.map((one) => expect.closeTo(one, 4)),
    spans: answer.spans.map((span) => ({
      ...span,
      regions: span.regions.map((region) => ({ ...region, score: expect.closeTo(region.score, 4) })),
    })),
  }
}
