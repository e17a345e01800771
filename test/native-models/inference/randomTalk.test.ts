/**
 * Random talks with one engine, each answer compared with that of an engine which keeps nothing and guesses nothing: whatever
 * was asked, drawn, cancelled or pushed out before, the same question has the same answer. fp32, where nothing is rounded.
 */
import fc from 'fast-check'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type BoxCxcywh, boxCxcywh } from '../../../native-models/geometry/boxes.ts'
import type { GroundedAnswer } from '../../../native-models/inference/answers.ts'
import { type Caption, GromaEngine } from '../../../native-models/inference/engine.ts'
import type { Perception } from '../../../native-models/inference/imageMemory.ts'
import { decodeImage, type RgbImage } from '../../../native-models/preprocess/image.ts'
import { makeDemoFolder } from '../../support/demoFigures.ts'
import { times } from '../../support/stress.ts'
import { drawScene } from '../../support/syntheticScenes.ts'
import { makeTinyModel, testPicture } from '../builders/tinyModel.ts'

type Said = Pick<Caption, 'text' | 'outputIds' | 'stopReason'> & Partial<Pick<GroundedAnswer, 'regions' | 'pointed'>>
/** Somebody's wish. A number for a box is a place among the proposed regions, 0 to 1. */
type Wish = (
  | { kind: 'prepare' }
  | { kind: 'look' }
  | { kind: 'ask'; question: string; grounded: boolean; boxes: Place[]; limit: number }
  | { kind: 'locate'; phrase: string; all: boolean }
  | { kind: 'caption'; detail: 'brief' | 'detailed'; places: Place[] }
) & { picture: number; cancelAfterTurns: number | null; awaited: boolean }
type Place = number | BoxCxcywh

const PICTURES = 4
const side = fc.double({ min: 0.02, max: 0.6, noNaN: true })
const at = fc.double({ min: -0.1, max: 1.1, noNaN: true })
const proposed = fc.double({ min: 0, max: 0.999, noNaN: true })
const drawn = fc.tuple(at, at, side, side).map((box) => boxCxcywh(...box))
const place: fc.Arbitrary<Place> = fc.oneof(
  proposed,
  drawn,
  fc.constantFrom(boxCxcywh(1.4, 0.5, 0.2, 0.2), boxCxcywh(0.5, 0.5, 1, 1), boxCxcywh(0.5, 0.5, 1e-6, 1e-6)),
)
const many = <T>(one: fc.Arbitrary<T>) =>
  fc.oneof(...[1, 2, 13, 40].map((length) => fc.array(one, { minLength: length, maxLength: length })))
const kinds = fc.oneof(
  fc.constantFrom({ kind: 'prepare' as const }, { kind: 'look' as const }),
  fc.record({
    kind: fc.constant('ask' as const),
    question: fc.constantFrom('What?', 'What is it?', 'What is up?', 'x', 'Where is it? '.repeat(12), '你好 <r3> </s>'),
    grounded: fc.boolean(),
    boxes: fc.array(place, { maxLength: 3 }),
    limit: fc.constantFrom(1, 2, 7, 40),
  }),
  fc.record({
    kind: fc.constant('locate' as const),
    phrase: fc.constantFrom('circle', 'star'),
    all: fc.boolean(),
  }),
  fc.record({
    kind: fc.constant('caption' as const),
    detail: fc.constantFrom('brief' as const, 'detailed' as const),
    // drawn boxes share a prompt, in which each is told of the others: one at a time they have another
    places: fc.oneof(many(proposed), fc.array(place, { minLength: 1, maxLength: 1 })),
  }),
)
const wish: fc.Arbitrary<Wish> = fc
  .tuple(
    kinds,
    fc.record({
      picture: fc.nat(PICTURES - 1),
      cancelAfterTurns: fc.option(fc.nat(40), { freq: 3 }),
      awaited: fc.boolean(),
    }),
  )
  .map(([kind, about]) => ({ ...kind, ...about }))
const talk = fc.record({
  drafts: fc.boolean(),
  memoryLimitBytes: fc.constantFrom(1, 300_000, 1_500_000, 6_000_000, 1e9),
  wishes: fc.array(wish, { minLength: 4, maxLength: 16, size: 'max' }),
})

let tiny: Awaited<ReturnType<typeof makeTinyModel>>
beforeAll(async () => {
  tiny = await makeTinyModel()
})
afterAll(() => tiny?.remove())

/** What an engine does for a wish; captions one by one on request. */
async function grant(
  engine: GromaEngine,
  wish: Wish,
  picture: RgbImage,
  { signal, oneByOne = false }: { signal?: AbortSignal; oneByOne?: boolean } = {},
): Promise<Said[]> {
  const cut = signal ? { signal } : {}
  const perception = await engine.perceive(picture, { key: `${wish.picture}`, ...cut })
  const regions = engine.propose(perception)
  const boxOf = (where: Place) =>
    typeof where === 'number' ? regions[Math.floor(where * regions.length)]!.boxCxcywh : where
  if (wish.kind === 'look') return []
  if (wish.kind === 'prepare') {
    await engine.prepare(perception, cut)
    return []
  }
  if (wish.kind === 'ask') {
    const { question, grounded, limit } = wish
    const boxesCxcywh = wish.boxes.map(boxOf)
    return [await engine.ask(perception, { question, grounded, boxesCxcywh, maxNewTokens: limit, ...cut })]
  }
  if (wish.kind === 'locate') return [await engine.locate(perception, { ...wish, ...cut })]
  return captions(engine, perception, wish.places.map(boxOf), { detail: wish.detail, oneByOne, ...cut })
}

async function captions(
  engine: GromaEngine,
  perception: Perception,
  boxes: BoxCxcywh[],
  { oneByOne, ...options }: { detail: 'brief' | 'detailed'; oneByOne: boolean; signal?: AbortSignal },
): Promise<Said[]> {
  const describe = (some: BoxCxcywh[]) => engine.caption(perception, some, { ...options, maxNewTokens: 24 })
  if (!oneByOne) return describe(boxes)
  const one = new Map<BoxCxcywh, Said>()
  for (const box of boxes) if (!one.has(box)) one.set(box, (await describe([box]))[0]!)
  return boxes.map((box) => one.get(box)!)
}

const essence = (said: Said[]) =>
  said.map(({ text, outputIds, stopReason, regions, pointed }) => ({
    text,
    outputIds,
    stopReason,
    pointed,
    regions: regions?.map(({ boxCxcywh: box, score }) => [...box, score]),
  }))

/** Holds `runs` talks with engines over a model. @returns answers compared, and answers that were cut off */
async function hold(dir: string, pictures: readonly RgbImage[], runs: number) {
  const forgetful = await GromaEngine.open(dir, { threads: 1, memoryLimitBytes: 1, drafts: false })
  const known = new Map<string, Promise<Said[]>>()
  const expected = ({ cancelAfterTurns: _, awaited: __, ...wish }: Wish) => {
    const name = JSON.stringify(wish)
    const found = known.get(name) ?? grant(forgetful, wish as Wish, pictures[wish.picture]!, { oneByOne: true })
    known.set(name, found)
    return found
  }
  let compared = 0
  let cut = 0
  await fc.assert(
    fc.asyncProperty(talk, async ({ wishes, ...options }) => {
      const engine = await GromaEngine.open(dir, { threads: 1, ...options })
      const answer = async (wish: Wish) => {
        const controller = new AbortController()
        let turns = wish.cancelAfterTurns ?? Number.POSITIVE_INFINITY
        const tick = () => {
          if (turns-- > 0) turn = setImmediate(tick)
          else controller.abort()
        }
        let turn = setImmediate(tick)
        try {
          const said = await grant(engine, wish, pictures[wish.picture]!, { signal: controller.signal })
          expect(essence(said)).toEqual(essence(await expected(wish)))
          compared += said.length
        } catch (error) {
          if ((error as { code?: string }).code !== 'CANCELLED') throw error
          cut++
        } finally {
          clearImmediate(turn)
        }
      }
      try {
        const asked: Promise<void>[] = []
        for (const wish of wishes) {
          asked.push(answer(wish))
          if (wish.awaited) await asked.at(-1)
        }
        await Promise.all(asked)
      } finally {
        await engine.close()
      }
    }),
    { numRuns: runs, endOnFailure: true },
  )
  await forgetful.close()
  return { compared, cut }
}

it('answers the same whatever came before: a small random model', async () => {
  const pictures = [90, 61, 140, 33].map((width) => testPicture(width, 60))
  const { compared, cut } = await hold(tiny.engine, pictures, times(8, 600))
  expect(compared).toBeGreaterThan(10)
  expect(cut).toBeGreaterThan(0)
}, 1_200_000)

it('answers the same whatever came before: the demo model', async () => {
  const scenes = Array.from({ length: PICTURES }, (_, i) => drawScene(8_400_000 + i))
  const pictures = await Promise.all(scenes.map(async (scene) => decodeImage((await scene).bytes)))
  const demo = await makeDemoFolder()
  try {
    await hold(demo.dir, pictures, times(1, 60))
  } finally {
    demo.remove()
  }
}, 1_200_000)
