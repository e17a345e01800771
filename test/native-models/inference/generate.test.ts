import { describe, expect, it, vi } from 'vitest'
import { endsInCycle, type GenerateInput, generate } from '../../../native-models/inference/generate.ts'
import { HostKv } from '../../../native-models/inference/hostKv.ts'
import type { LanguageModel } from '../../../native-models/inference/languageModel.ts'
import { floats } from '../../../native-models/inference/session.ts'

const VOCABULARY = 12
const EOS = 2
const sizes = { layerCount: 1, kvHeadCount: 1, headSize: 2 }
const kv = new HostKv(sizes)

type Model = Parameters<typeof generate>[0]
type Forward = (sequence: number, step: number) => Float32Array

/** A language model whose logits a test decides; embeddings carry the sequence's number. */
function scripted(logitsOf: Forward): Model & { batches: number[] } {
  const batches: number[] = []
  const steps = new Map<number, number>()
  const names = new Map<number, number>() // token -> sequence that said it
  return {
    batches,
    kv,
    config: { ...sizes, hiddenSize: 1 } as LanguageModel['config'],
    embed: (ids) => Float32Array.from(ids, (id) => names.get(id) ?? 0),
    async forward({ embeds, batch }) {
      batches.push(batch)
      const length = embeds.length / batch
      const logits = new Float32Array(batch * VOCABULARY)
      for (let place = 0; place < batch; place++) {
        const sequence = embeds[place * length]!
        const step = steps.get(sequence) ?? 0
        steps.set(sequence, step + 1)
        const row = logitsOf(sequence, step)
        logits.set(row, place * VOCABULARY)
        names.set(row.indexOf(Math.max(...row)), sequence)
      }
      const data = new Float32Array(batch * length * 2)
      return {
        logits,
        outputs: {
          'present_key.0': floats(data, batch, 1, length, 2),
          'present_value.0': floats(data, batch, 1, length, 2),
        },
      }
    },
  }
}

const choose = (id: number, logit = 5) =>
  Float32Array.from({ length: VOCABULARY }, (_, i) => (i === id ? logit : i / 100))
const start = (model: Model, sequences: number, input: Partial<GenerateInput> = {}) =>
  generate(model, {
    prefix: kv.nothing,
    tails: Array.from({ length: sequences }, (_, sequence) => Float32Array.of(sequence, sequence, sequence)),
    maxNewTokens: 6,
    eosTokenId: EOS,
    ...input,
  })

describe('generate', () => {
  it('goes on until </s>, or until there is no room', async () => {
    const ends = await start(
      scripted((_, step) => choose([3, 4, EOS][step]!)),
      1,
    )
    expect(ends.generated[0]).toMatchObject({ ids: [3, 4, EOS], stopReason: 'end' })
    const long = await start(
      scripted((_, step) => choose(3 + (step % 5))),
      1,
    )
    expect(long.generated[0]).toMatchObject({ ids: [3, 4, 5, 6, 7, 3], stopReason: 'length' })
  })

  it('gives back what a device holds of an answer, however it ends', async () => {
    const closed = vi.fn()
    const cache = vi.spyOn(kv, 'cache')
    const make = cache.getMockImplementation() ?? HostKv.prototype.cache.bind(kv)
    cache.mockImplementation((batch) => Object.assign(make(batch), { close: closed }))
    const ends = () =>
      start(
        scripted((_, step) => choose([3, EOS][step]!)),
        1,
      )
    await ends()
    expect(closed).toHaveBeenCalledTimes(1)
    const none = () =>
      start(
        scripted((_, step) => choose(3, step === 2 ? Number.NaN : 5)),
        1,
      )
    await expect(none()).rejects.toMatchObject({ code: 'NUMERIC_FAULT' })
    expect(closed).toHaveBeenCalledTimes(2)
    const controller = new AbortController()
    const cut = start(
      scripted(() => choose(3)),
      1,
      { signal: controller.signal, onToken: () => controller.abort() },
    )
    await expect(cut).rejects.toMatchObject({ code: 'CANCELLED' })
    expect(closed).toHaveBeenCalledTimes(3)
    cache.mockRestore()
  })

  it('lets sequences that are done leave the batch', async () => {
    const script: Record<number, number[]> = { 0: [3, EOS], 1: [4, 5, 6, 7, EOS], 2: [8, 9, EOS] }
    const model = scripted((sequence, step) => choose(script[sequence]![step]!))
    const { generated } = await start(model, 3)
    expect(generated.map(({ ids }) => ids)).toEqual([script[0], script[1], script[2]])
    expect(model.batches).toEqual([3, 3, 2, 1, 1])
  })

  it('tells probabilities and the best logits', async () => {
    const { generated, firstLogits } = await start(
      scripted(() => choose(EOS)),
      1,
      { topCount: 3 },
    )
    const total = choose(EOS).reduce((sum, logit) => sum + Math.exp(logit), 0)
    expect(generated[0]!.probabilities[0]).toBeCloseTo(Math.exp(5) / total, 6)
    expect(generated[0]!.top[0]!.map(([id]) => id)).toEqual([EOS, 11, 10])
    expect(firstLogits[0]).toEqual(choose(EOS))
  })

  it('cuts a text that turns in a circle, unless told not to', async () => {
    const turning = () => scripted((_, step) => choose(3 + (step % 2)))
    expect((await start(turning(), 1, { maxNewTokens: 50 })).generated[0]).toMatchObject({
      ids: [3, 4, 3, 4, 3, 4, 3, 4],
      stopReason: 'cycle',
    })
    const whole = await start(turning(), 1, { maxNewTokens: 50, guardCycles: false })
    expect(whole.generated[0]!.ids).toHaveLength(50)
  })

  it.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])(
    'refuses %s among the logits',
    async (bad) => {
      const logits = choose(3)
      logits[7] = bad
      await expect(
        start(
          scripted(() => logits),
          1,
        ),
      ).rejects.toMatchObject({ code: 'NUMERIC_FAULT' })
    },
  )

  it('stops between two steps when cancelled, by a message that comes in meanwhile', async () => {
    const controller = new AbortController()
    const model = scripted((_, step) => choose(3 + (step % 7)))
    setTimeout(() => controller.abort(), 5)
    const work = start(model, 1, { maxNewTokens: 1_000_000, guardCycles: false, signal: controller.signal })
    await expect(work).rejects.toMatchObject({ code: 'CANCELLED' })
  })

  it('stops when time is up', async () => {
    const model = scripted((_, step) => choose(3 + (step % 7)))
    const { generated } = await start(model, 1, { maxNewTokens: 1_000_000, guardCycles: false, timeLimitMs: 20 })
    expect(generated[0]!.stopReason).toBe('timeout')
  })
})

describe('endsInCycle', () => {
  it.each<[number[], boolean]>([
    [[1, 1, 1], false],
    [[1, 1, 1, 1], true],
    [[5, 1, 2, 1, 2, 1, 2, 1, 2], true],
    [[1, 2, 1, 2, 1, 2, 1], false],
    [[1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 4], false],
    [Array.from({ length: 128 }, (_, i) => i % 32), true],
    [Array.from({ length: 132 }, (_, i) => i % 33), false],
  ])('%j: %s', (ids, expected) => expect(endsInCycle(ids)).toBe(expected))
})
