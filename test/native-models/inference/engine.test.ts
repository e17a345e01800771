import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { boxCxcywh } from '../../../native-models/geometry/boxes.ts'
import { type Caption, GromaEngine } from '../../../native-models/inference/engine.ts'
import type { Perception } from '../../../native-models/inference/imageMemory.ts'
import { makeTinyModel, testPicture } from '../builders/tinyModel.ts'

/** An untrained model: what it says is noise, but the same noise whichever way it is asked for. */
describe('GromaEngine', () => {
  let made: Awaited<ReturnType<typeof makeTinyModel>>
  let engine: GromaEngine
  let perception: Perception
  beforeAll(async () => {
    made = await makeTinyModel()
    engine = await GromaEngine.open(made.engine)
    perception = await engine.perceive(testPicture(), { key: 'picture' })
  })
  afterAll(async () => {
    await engine.close()
    await made.remove()
  })
  const drawn = boxCxcywh(0.4, 0.55, 0.3, 0.25)
  const texts = (captions: readonly Caption[]) => captions.map(({ outputIds }) => outputIds)

  it('says what it is', () => {
    expect(engine.info).toMatchObject({ provider: 'cpu', llm: 'fp32', name: 'checkpoint', imageSize: 112 })
    expect(engine.info.modelHash).toMatch(/^[0-9a-f]{64}$/)
  })

  it('proposes regions, best first, above the threshold asked for', async () => {
    const all = engine.propose(perception, { scoreThreshold: 0 })
    const scores = all.map(({ score }) => score)
    expect(scores).toEqual([...scores].sort((a, b) => b - a))
    expect(all.length).toBeGreaterThan(3)
    const threshold = scores[2]!
    const fewer = engine.propose(perception, { scoreThreshold: threshold })
    expect(fewer.every(({ score }) => score > threshold)).toBe(true)
    expect(await engine.perceive(testPicture(), { key: 'picture' })).toBe(perception)
  })

  it('describes many boxes as it describes each alone', async () => {
    const boxes = engine.propose(perception).map(({ boxCxcywh: box }) => box)
    const told: number[] = []
    const together = await engine.caption(perception, boxes, { detail: 'brief', onCaption: (box) => told.push(box) })
    expect([...told].sort((a, b) => a - b)).toEqual(boxes.map((_, i) => i))
    const alone: Caption[] = []
    for (const box of boxes) alone.push(...(await engine.caption(perception, [box], { detail: 'brief' })))
    expect(texts(together)).toEqual(texts(alone))
    for (const { confidence } of together) expect(confidence > 0 && confidence <= 1).toBe(true)
  })

  it('describes a drawn box as the authors do: as a region of its own selection', async () => {
    const [caption] = await engine.caption(perception, [drawn], { detail: 'detailed' })
    const query = 'Please describe <roi><refer_box></roi><refer_feat> in details.'
    const trace = await engine.trace(testPicture(), { query, boxesCxcywh: [drawn], maxNewTokens: 100 })
    expect(caption!.outputIds).toEqual(trace.case.output_ids.slice(0, caption!.outputIds.length))
    expect(trace.case.selected_cxcywh[0]).toEqual([...Float32Array.from(drawn)])
  })

  it('describes drawn boxes that crowd each other out', async () => {
    const near = boxCxcywh(0.41, 0.55, 0.3, 0.25)
    const captions = await engine.caption(perception, [drawn, near, drawn], { detail: 'brief' })
    const [alone] = await engine.caption(perception, [near], { detail: 'brief' })
    expect(captions).toHaveLength(3)
    expect(captions[0]).toEqual(captions[2])
    expect(captions[1]!.outputIds).toEqual(alone!.outputIds)
  })

  it('answers, streaming a text that only grows into the answer', async () => {
    const shown: string[] = []
    const answer = await engine.ask(perception, {
      question: 'What is <r0> here?',
      grounded: true,
      maxNewTokens: 20,
      onText: (text) => shown.push(text),
    })
    expect(answer.outputIds.length).toBeGreaterThan(3)
    expect(answer.outputProbabilities).toHaveLength(answer.outputIds.length)
    expect(answer.regions).toEqual(engine.propose(perception))
    expect(shown.length).toBeGreaterThan(1)
    for (const span of answer.spans) {
      for (const region of span.regions) {
        expect(region.boxCxcywh).toEqual(answer.regions[region.index]!.boxCxcywh)
        expect(region.score > 0 && region.score <= 1).toBe(true)
      }
    }
  })

  it('puts boxes where a question names them, or behind it', async () => {
    const ask = (question: string) =>
      engine.ask(perception, { question, grounded: false, boxesCxcywh: [drawn], maxNewTokens: 8 })
    const box = '<roi><refer_box></roi><refer_feat>'
    for (const [question, query] of [
      ['Is {box} red?', `Is ${box} red?`],
      ['What is this?', `What is this? ${box}`],
    ] as const) {
      const trace = await engine.trace(testPicture(), { query, boxesCxcywh: [drawn], maxNewTokens: 8 })
      expect((await ask(question)).outputIds).toEqual(trace.case.output_ids)
    }
  })

  it('locates with as many tokens as the authors allow', async () => {
    const one = await engine.locate(perception, { phrase: 'a red circle', all: false })
    expect(one.outputIds.length).toBeLessThanOrEqual(3)
    const all = await engine.locate(perception, { phrase: 'circle', all: true })
    expect(all.outputIds.length).toBeLessThanOrEqual(10)
  })

  it('makes again what it had to forget', async () => {
    const forgetful = await GromaEngine.open(made.engine, { memoryLimitBytes: 1 })
    const again = await forgetful.perceive(testPicture(), { key: 'picture' })
    expect(again.proposals).toEqual(perception.proposals)
    const [a] = await forgetful.caption(again, [drawn], { detail: 'brief' })
    const [b] = await engine.caption(perception, [drawn], { detail: 'brief' })
    // what is shared with an earlier prompt was computed in other runs: equal but for the last bits
    expect(a).toEqual({ ...b, confidence: expect.closeTo(b!.confidence, 5) })
    await forgetful.close()
  })

  it('cancels, and goes on working afterwards', async () => {
    const controller = new AbortController()
    const work = engine.ask(perception, {
      question: 'What?',
      grounded: true,
      onText: () => controller.abort(),
      signal: controller.signal,
    })
    await expect(work).rejects.toMatchObject({ code: 'CANCELLED' })
    const gone = AbortSignal.abort()
    await expect(engine.perceive(testPicture(40, 40), { key: 'other', signal: gone })).rejects.toMatchObject({
      code: 'CANCELLED',
    })
    await expect(GromaEngine.open(made.engine, { signal: gone })).rejects.toMatchObject({ code: 'CANCELLED' })
    expect((await engine.locate(perception, { phrase: 'x', all: false })).outputIds.length).toBeGreaterThan(0)
  })

  it('refuses boxes that are none, and questions about more boxes than there are', async () => {
    for (const box of [
      [0.5, Number.NaN, 0.1, 0.1],
      [0.5, 0.5, 0, 0.1],
      [0.5, 0.5, 1e300, 0.1],
    ].map((at) => boxCxcywh(...(at as [number, number, number, number])))) {
      await expect(engine.caption(perception, [box], { detail: 'brief' })).rejects.toMatchObject({
        code: 'INPUT_INVALID',
      })
    }
    const query = 'What is <roi><refer_box></roi><refer_feat>?'
    await expect(engine.trace(testPicture(), { query })).rejects.toMatchObject({ code: 'INPUT_INVALID' })
    const long = 'word '.repeat(2000)
    await engine.prepare(perception)
    const { rows } = engine.counters().decoder
    await expect(engine.ask(perception, { question: long, grounded: false })).rejects.toThrow('too long')
    expect(engine.counters().decoder.rows).toBe(rows) // it is seen before any of it is read
  })
})
