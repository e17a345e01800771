/** What is computed for an image, a box, a question: counted. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type BoxCxcywh, boxCxcywh } from '../../../native-models/geometry/boxes.ts'
import { GromaEngine } from '../../../native-models/inference/engine.ts'
import type { Perception } from '../../../native-models/inference/imageMemory.ts'
import { makeTinyModel, testPicture } from '../builders/tinyModel.ts'

let made: Awaited<ReturnType<typeof makeTinyModel>>
let engine: GromaEngine
const logs: string[] = []
beforeAll(async () => {
  made = await makeTinyModel()
})
afterAll(() => made.remove())

async function reopen(options: Parameters<typeof GromaEngine.open>[1] = {}): Promise<void> {
  await engine?.close()
  logs.length = 0
  engine = await GromaEngine.open(made.engine, { onLog: (line) => logs.push(line), drafts: false, ...options })
}
afterAll(() => engine?.close())

const look = (key: string) => engine.perceive(testPicture(90 + key.length, 60), { key })
const ask = (perception: Perception, question = 'What?', signal?: AbortSignal) =>
  engine.ask(perception, { question, grounded: true, maxNewTokens: 4, ...(signal ? { signal } : {}) })
const drawn = boxCxcywh(0.4, 0.55, 0.3, 0.25)

/** What some work added to the counters. */
async function counted(work: () => Promise<unknown>) {
  const before = structuredClone(engine.counters())
  await work()
  const { decoder, prompt, ...vision } = engine.counters()
  return {
    encoder: vision.encoderRuns - before.encoderRuns,
    proposals: vision.proposalRuns - before.proposalRuns,
    maps: vision.regionMapRuns - before.regionMapRuns,
    regions: vision.regions - before.regions,
    promptMade: prompt.made - before.prompt.made,
    promptReused: prompt.reused - before.prompt.reused,
    rows: decoder.rows - before.decoder.rows,
    passes: decoder.passes - before.decoder.passes,
  }
}
/** Tokens that every grounded question begins with, read with the prompt. */
function headRows(): number {
  return Number(/answer: (\d+) tokens of the question reused/.exec(logs.find((line) => line.startsWith('answer'))!)![1])
}
const nothingOfTheImage = { encoder: 0, proposals: 0, maps: 0, regions: 0, promptMade: 0 }

describe('an image', () => {
  it('is looked at once, and a second question computes its own words only', async () => {
    await reopen()
    const image = await look('a')
    const first = await counted(() => ask(image))
    expect(first).toMatchObject({ encoder: 0, maps: 1, promptReused: 0, regions: engine.propose(image).length })
    expect(first.promptMade).toBeGreaterThan(60)
    const second = await counted(() => ask(image, 'Where?'))
    expect(second).toMatchObject({ ...nothingOfTheImage, promptReused: first.promptMade - headRows(), passes: 4 })
    expect(logs.at(-2)).toMatch(/^prompt: \d+ tokens reused, 0 computed \(0\.00 s\)$/)
    expect(logs.at(-1)).toMatch(
      new RegExp(
        `^answer: ${headRows()} tokens of the question reused, ${second.rows - 3} computed, first token after [\\d.]+ s; 4 tokens, `,
      ),
    )
  })

  it('that is asked the same again computes one token before it answers, and what begins alike the rest', async () => {
    await reopen()
    const image = await look('a')
    const texts: unknown[] = []
    const keep = async (question: string) => texts.push((await ask(image, question)).outputIds)
    const first = await counted(() => keep('What is it?'))
    expect(await counted(() => keep('What is it?'))).toMatchObject({ ...nothingOfTheImage, rows: 4, passes: 4 })
    const alike = await counted(() => keep('What is up?'))
    expect(alike.rows).toBeLessThan(first.rows - first.promptMade)
    await reopen()
    const anew = await look('a')
    expect(texts[1]).toEqual(texts[0])
    expect((await ask(anew, 'What is up?')).outputIds).toEqual(texts[2])
  })

  it('is made ready for its first question ahead', async () => {
    await reopen()
    const image = await look('a')
    await engine.prepare(image)
    expect(await counted(() => ask(image))).toMatchObject(nothingOfTheImage)
    expect(await counted(() => engine.prepare(image))).toMatchObject({ ...nothingOfTheImage, rows: 0 })
  })

  it('is remembered while others are looked at and asked about, and after captions of drawn boxes', async () => {
    await reopen()
    const [a, b] = [await look('a'), await look('bb')]
    await ask(a)
    const other = await counted(() => ask(b))
    // the words before the image are those of the first
    expect(other.promptReused).toBeGreaterThan(10)
    await engine.caption(a, [drawn], { detail: 'brief' })
    expect(await counted(() => ask(a))).toMatchObject(nothingOfTheImage)
    expect(await counted(() => ask(b))).toMatchObject(nothingOfTheImage)
    expect(await counted(() => look('a'))).toMatchObject({ ...nothingOfTheImage, rows: 0 })
  })

  it('that a box is drawn on costs one region and the prompt from the regions on', async () => {
    await reopen()
    const image = await look('a')
    const { promptMade: whole } = await counted(() => ask(image))
    const box = await counted(() => engine.caption(image, [drawn], { detail: 'brief' }))
    expect(box).toMatchObject({ encoder: 0, proposals: 0, maps: 0, regions: 1 })
    const regionRows = 2 * engine.propose(image).length
    expect(box.promptReused).toBeGreaterThan(whole - regionRows - 40)
    expect(await counted(() => engine.caption(image, [drawn], { detail: 'brief' }))).toMatchObject(nothingOfTheImage)
    // a second box comes behind the first in the prompt, and shares it
    const later = await counted(() =>
      engine.ask(image, {
        question: 'Both?',
        grounded: false,
        boxesCxcywh: [drawn, boxCxcywh(0.15, 0.15, 0.1, 0.1)],
        maxNewTokens: 1,
      }),
    )
    expect(later.regions).toBe(1)
    expect(later.promptReused).toBe(box.promptReused + 2)
  })

  it('that is asked about regions of its own, handed back in pixels, computes the question alone', async () => {
    await reopen()
    const image = await look('a')
    await ask(image)
    const handedBack = engine.propose(image).map(({ boxCxcywh: [cx, cy, w, h] }) => {
      const [left, width] = [(cx - w / 2) * image.width, w * image.width]
      return boxCxcywh((left + width / 2) / image.width, cy, width / image.width, h)
    })
    const about = (...boxesCxcywh: BoxCxcywh[]) =>
      engine.ask(image, { question: 'Both?', grounded: false, boxesCxcywh, maxNewTokens: 3 })
    expect(await counted(() => about(handedBack[2]!, handedBack[0]!))).toMatchObject(nothingOfTheImage)
    expect((await about(handedBack[2]!)).regions).toEqual(engine.propose(image))
    // with a box that is none of them, that one costs a region, and the prompt is another
    expect(await counted(() => about(handedBack[2]!, drawn))).toMatchObject({ encoder: 0, maps: 0, regions: 1 })
  })

  it('shares its prompt among the captions of all its regions', async () => {
    await reopen()
    const image = await look('a')
    const boxes = engine.propose(image).map(({ boxCxcywh: box }) => box)
    await ask(image)
    const captions = await counted(() => engine.caption(image, boxes, { detail: 'brief', maxNewTokens: 5 }))
    expect(captions).toMatchObject(nothingOfTheImage)
    // what all of them begin with is read in a pass of its own
    expect(captions.passes).toBeLessThanOrEqual(1 + 5 * Math.ceil(boxes.length / 8))
    const again = await counted(() => engine.caption(image, boxes, { detail: 'brief', maxNewTokens: 5 }))
    expect(again).toMatchObject({ ...nothingOfTheImage, passes: captions.passes - 1 })
  })

  it('goes when there is no room, the one used longest ago first, and never a part of the one in use', async () => {
    await reopen()
    const a = await look('a')
    await ask(a)
    const bytes = 1_100_000
    await reopen({ memoryLimitBytes: bytes })
    const images = [await look('a'), await look('bb'), await look('ccc'), await look('dddd')]
    for (const image of images) await ask(image)
    expect(await counted(() => ask(images.at(-1)!))).toMatchObject(nothingOfTheImage)
    expect((await counted(() => ask(images[0]!))).promptMade).toBeGreaterThan(0)
  })

  it('keeps what was done of its prompt when it is cancelled', async () => {
    await reopen()
    const image = await look('a')
    const { promptMade: whole } = await counted(() => ask(image))
    await reopen()
    const again = await look('a')
    const controller = new AbortController()
    const run = engine.prepare(again, { signal: controller.signal })
    controller.abort()
    await expect(run).rejects.toMatchObject({ code: 'CANCELLED' })
    const rest = await counted(() => ask(again))
    expect(rest.promptMade + rest.promptReused).toBe(whole)
  })
})
