import { describe, expect, it, vi } from 'vitest'
import { GromaError } from '../../../native-models/errors.ts'
import { ByteLru } from '../../../native-models/inference/byteLru.ts'
import { HostKv } from '../../../native-models/inference/hostKv.ts'
import { LanguageModel } from '../../../native-models/inference/languageModel.ts'
import { type Prompt, PromptCache } from '../../../native-models/inference/promptCache.ts'
import { type Feeds, floats, type GraphSession } from '../../../native-models/inference/session.ts'

const sizes = { layerCount: 1, kvHeadCount: 1, headSize: 1, hiddenSize: 1, maxPositions: 10_000 }

/** A decoder whose keys are its embeddings: a prompt's keys show which pieces went into them. */
function echo() {
  const lengths: number[] = []
  const session: GraphSession = {
    async run(feeds: Feeds) {
      const { data, dims } = feeds.inputs_embeds!
      lengths.push(dims[1]!)
      const present = floats(Float32Array.from(data as Float32Array), 1, 1, dims[1]!, 1)
      return { logits: floats(new Float32Array(1), 1, 1), 'present_key.0': present, 'present_value.0': present }
    },
    release: async () => {},
  }
  const language = new LanguageModel(session, {} as never, sizes as never, { kv: new HostKv(sizes) })
  return { lengths, language }
}

/** A prompt of pieces [name, rows]; each row's embedding is the piece's number. */
function promptOf(...pieces: [number, number][]): Prompt {
  return {
    pieces: pieces.map(([number, rows]) => ({ key: `${number}`, rows })),
    embedsFrom: async (first) => Float32Array.from(rowsOf(pieces.slice(first))),
  }
}
const rowsOf = (pieces: [number, number][]) => pieces.flatMap(([number, rows]) => Array<number>(rows).fill(number))

function cacheOf(limit = 1 << 20) {
  const { lengths, language } = echo()
  const cache = new PromptCache(new ByteLru(limit), language)
  const get = async (key: string, pieces: [number, number][], signal?: AbortSignal) => {
    lengths.length = 0
    const segment = await cache.get(`${key.split('|')[0]}|prefix|${key}`, promptOf(...pieces), { signal })
    const feeds = await segment.feeds
    expect([...(feeds['prefix_key.0']!.data as Float32Array)].slice(0, segment.length)).toEqual(rowsOf(pieces))
    return lengths.slice()
  }
  return { cache, get, language }
}

describe('PromptCache', () => {
  it('begins where an earlier prompt parts from the new one', async () => {
    const { get, cache } = cacheOf()
    expect(
      await get('a|1', [
        [1, 1],
        [2, 1],
        [3, 50],
        [4, 1],
        [5, 1],
      ]),
    ).toEqual([54])
    expect(
      await get('a|1', [
        [1, 1],
        [2, 1],
        [3, 50],
        [4, 1],
        [5, 1],
      ]),
    ).toEqual([])
    expect(
      await get('a|2', [
        [1, 1],
        [2, 1],
        [3, 50],
        [4, 1],
        [6, 1],
        [7, 1],
      ]),
    ).toEqual([2])
    expect(
      await get('a|3', [
        [1, 1],
        [2, 1],
        [3, 50],
        [4, 1],
      ]),
    ).toEqual([])
    // another image: only the words that all have in common
    expect(
      await get('b|1', [
        [1, 1],
        [2, 1],
        [8, 50],
      ]),
    ).toEqual([50])
    expect(cache.counters).toEqual({ made: 54 + 2 + 50, reused: 54 + 53 + 53 + 2 })
  })

  it('reads long prompts in runs of one length, and goes on after a cancel where it stopped', async () => {
    const { get, cache } = cacheOf()
    const pieces: [number, number][] = [
      [1, 1],
      [2, 1],
      [3, 100],
      [4, 150],
      [5, 10],
    ]
    const controller = new AbortController()
    const cut = get('a|1', pieces, controller.signal).catch((error: { code: string }) => error.code)
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)))
    controller.abort()
    expect(await cut).toBe('CANCELLED')
    expect(cache.counters.made).toBe(88)
    // one of 100 or 150 rows that was half done starts anew
    expect(await get('a|1', pieces)).toEqual([87, 87, 86])
    // what is cut off behind tokens that were known counts its own alone
    const before = { ...cache.counters }
    const later = new AbortController()
    const cutAgain = get('a|3', [...pieces, [8, 200]], later.signal).catch((error: { code: string }) => error.code)
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)))
    later.abort()
    expect(await cutAgain).toBe('CANCELLED')
    expect(cache.counters).toEqual({ made: before.made + 100, reused: before.reused + 262 })
    expect(await get('b|1', [[7, 500]])).toEqual([125, 125, 125, 125])
    expect(await get('a|2', [...pieces, [6, 1]])).toEqual([1])
  })

  it('keeps the last question behind its prompt, and goes on where the next one parts from it', async () => {
    const { cache, get, language } = cacheOf()
    const prompt: [number, number][] = [
      [1, 1],
      [3, 50],
    ]
    const ask = async (...question: number[]) => {
      const pieces = question.map((number) => ({ key: `${number}`, rows: 1 }))
      const head = await cache.begin('a|prefix|a|1', promptOf(...prompt), pieces)
      const rest = pieces.slice(head.known)
      const { outputs } = await language.forward({
        embeds: Float32Array.from([...question.slice(head.known), 99]), // and one that is not kept
        batch: 1,
        prefix: head.segment,
        past: null,
      })
      const longer = head.grow({ outputs, count: rest.length + 1, kept: rest.length, pieces: rest })!
      const keys = (await longer.feeds)['prefix_key.0']!.data as Float32Array
      expect([...keys.slice(0, longer.length)]).toEqual([...rowsOf(prompt), ...question])
      return head.known
    }
    expect(await ask(5, 6, 7)).toBe(0)
    expect(await ask(5, 6, 8, 9)).toBe(2)
    expect(await ask(5, 6, 8, 9)).toBe(4)
    expect(await ask(4)).toBe(0)
    expect(await ask(5)).toBe(0)
    // another prompt begins with this one, whatever was asked
    expect(await get('a|2', [...prompt, [2, 3]])).toEqual([3])
    expect(await get('a|1', prompt)).toEqual([])
  })

  it('leaves a question that is too long to whoever reads it', async () => {
    const { cache } = cacheOf()
    const head = await cache.begin('a|prefix|a|1', promptOf([1, 1]), [])
    const rows = { data: new Float32Array(60), dims: [1, 1, 60, 1] }
    const outputs = { 'present_key.0': rows, 'present_value.0': rows }
    expect(head.grow({ outputs, count: 60, kept: 60, pieces: [] })).toBeNull()
  })

  it.each([
    ['cancelled', new GromaError('CANCELLED', 'cancelled')],
    ['failed', new GromaError('NUMERIC_FAULT', 'no numbers')],
  ])('gives back what a device holds of a prompt that %s', async (_, error) => {
    const { language } = echo()
    const closed = vi.fn()
    const from = language.kv.cacheFrom.bind(language.kv)
    vi.spyOn(language.kv, 'cacheFrom').mockImplementation((...about) =>
      Object.assign(from(...about), { close: closed }),
    )
    vi.spyOn(language, 'read').mockRejectedValue(error)
    const cache = new PromptCache(new ByteLru(1 << 20), language)
    await expect(cache.get('a|prefix|1', promptOf([1, 9]))).rejects.toBe(error)
    expect(closed).toHaveBeenCalledOnce()
  })

  it('hands out what is too large to keep', async () => {
    const { get } = cacheOf(400)
    expect(
      await get('a|1', [
        [1, 1],
        [2, 1],
        [3, 50],
      ]),
    ).toEqual([52])
    expect(
      await get('a|1', [
        [1, 1],
        [2, 1],
        [3, 50],
      ]),
    ).toEqual([52])
  })
})
