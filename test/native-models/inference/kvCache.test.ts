import { describe, expect, it } from 'vitest'
import { HostKv } from '../../../native-models/inference/hostKv.ts'
import { firstTokens, type KvCache } from '../../../native-models/inference/kvCache.ts'
import type { Feeds, Tensor } from '../../../native-models/inference/session.ts'

const shape = { layerCount: 2, kvHeadCount: 3, headSize: 2 }
const kv = new HostKv(shape)

/** Keys and values [G, B, T, d] of a run, told apart by the token they stand for. */
function outputsOf(tokens: readonly (readonly number[])[]): Record<string, Tensor> {
  const outputs: Record<string, Tensor> = {}
  const count = tokens[0]!.length
  const { layerCount, kvHeadCount, headSize } = shape
  for (let layer = 0; layer < layerCount; layer++) {
    const keys: number[] = []
    for (let head = 0; head < kvHeadCount; head++) {
      for (const sequence of tokens) {
        for (const token of sequence) for (let d = 0; d < headSize; d++) keys.push(numberOf(token, layer, head, d))
      }
    }
    const dims = [kvHeadCount, tokens.length, count, headSize]
    outputs[`present_key.${layer}`] = { data: Float32Array.from(keys), dims }
    outputs[`present_value.${layer}`] = { data: Float32Array.from(keys, (number) => -number), dims }
  }
  return outputs
}

const numberOf = (token: number, layer: number, head: number, d: number) => token * 1000 + layer * 100 + head * 10 + d

/** Checks that every place of the feeds holds the token that was put there. */
function expectTokens(feeds: Feeds, name: string, places: number, sequences: readonly (readonly number[])[]): void {
  const { layerCount, kvHeadCount, headSize } = shape
  for (let layer = 0; layer < layerCount; layer++) {
    const [keys, values] = [feeds[`${name}_key.${layer}`]!, feeds[`${name}_value.${layer}`]!]
    expect(keys.dims).toEqual([kvHeadCount, sequences.length, places, headSize])
    expect(values.dims).toEqual(keys.dims)
    for (const [b, sequence] of sequences.entries()) {
      for (let head = 0; head < kvHeadCount; head++) {
        for (let d = 0; d < headSize; d++) {
          for (const [t, token] of sequence.entries()) {
            const place = ((head * sequences.length + b) * places + t) * headSize + d
            expect(keys.data[place]).toBe(numberOf(token, layer, head, d))
            expect(values.data[place]).toBe(-numberOf(token, layer, head, d))
          }
        }
      }
    }
  }
}
const expectCache = (cache: KvCache, sequences: readonly (readonly number[])[]) =>
  expectTokens(cache.feeds() as Feeds, 'past', cache.capacity, sequences)

describe('HostKv', () => {
  it('keeps every token through growth and sequences that leave', () => {
    let sequences = [
      [1, 2, 3],
      [11, 12, 13],
      [21, 22, 23],
    ]
    const cache = kv.cache(3)
    cache.append(outputsOf(sequences), 3)
    expectCache(cache, sequences)
    for (let token = 4; token < 80; token++) {
      const added = sequences.map((sequence) => [sequence[0]! + token])
      cache.append(outputsOf(added), 1)
      sequences = sequences.map((sequence, i) => [...sequence, ...added[i]!])
      if (token === 20) {
        cache.keep([0, 2])
        sequences = [sequences[0]!, sequences[2]!]
      }
      if (token === 50) {
        cache.keep([1])
        sequences = [sequences[1]!]
      }
      expect(cache.length).toBe(sequences[0]!.length)
    }
    expectCache(cache, sequences)
    expect(cache.capacity).toBe(128)
  })

  it('keeps the first tokens of a run only, where the others were wrong guesses', () => {
    const cache = kv.cache(1)
    cache.append(outputsOf([[1, 2, 3]]), 3)
    cache.append(outputsOf([[4, 99, 98]]), 3, 1)
    cache.append(outputsOf([[5, 6]]), 2)
    expect(cache.length).toBe(6)
    expectCache(cache, [[1, 2, 3, 4, 5, 6]])
  })

  it('takes many tokens at once behind others', () => {
    const cache = kv.cache(1)
    const many = Array.from({ length: 40 }, (_, i) => i + 3)
    cache.append(outputsOf([[1, 2]]), 2)
    cache.append(outputsOf([many]), 40)
    expectCache(cache, [[1, 2, ...many]])
  })

  it('makes segments without room to spare, and begins with the first tokens of one', () => {
    const cache = kv.cacheFrom(kv.nothing, 0, 4)
    cache.append(outputsOf([[1, 2, 3, 4]]), 4)
    const segment = cache.toSegment()
    expect(segment).toMatchObject({ length: 4, bytes: 2 * 2 * 3 * 2 * 4 * 4 })
    expectTokens(segment.feeds, 'prefix', 4, [[1, 2, 3, 4]])
    const next = kv.cacheFrom(segment, 2, 4)
    next.append(outputsOf([[5, 6]]), 2)
    expect([next.length, next.capacity]).toEqual([4, 4])
    const other = next.toSegment()
    expectTokens(other.feeds, 'prefix', 4, [[1, 2, 5, 6]])
    expectTokens(segment.feeds, 'prefix', 4, [[1, 2, 3, 4]])
  })

  it('takes room for what is expected when little of it is left, and goes on in it', () => {
    const cache = kv.cacheFrom(kv.nothing, 0, 400)
    const prompt = Array.from({ length: 350 }, (_, i) => i)
    cache.append(outputsOf([prompt.slice(0, 200)]), 200)
    expect(cache.capacity).toBe(200)
    cache.append(outputsOf([prompt.slice(200)]), 150)
    expect(cache.capacity).toBe(400)
    const segment = cache.toSegment()
    expect(segment).toMatchObject({ length: 350, places: 400 })
    expectTokens(segment.feeds, 'prefix', 400, [prompt])

    const more = kv.cacheIn(segment, 348, 400)!
    more.append(outputsOf([[7, 8, 9]]), 3)
    const longer = more.toSegment()
    expect(longer).toMatchObject({ length: 351, places: 400 })
    expect(longer.feeds['prefix_key.0']!.data).toBe(segment.feeds['prefix_key.0']!.data)
    expectTokens(longer.feeds, 'prefix', 400, [[...prompt.slice(0, 348), 7, 8, 9]])
    expect(kv.cacheIn(segment, 348, 401)).toBeNull()
    const shorter = firstTokens(longer, 10)
    expect(shorter).toMatchObject({ length: 10, places: 400 })
    const copy = kv.cacheFrom(shorter, 5, 7)
    copy.append(outputsOf([[8, 9]]), 2)
    expectTokens(copy.toSegment().feeds, 'prefix', 7, [[0, 1, 2, 3, 4, 8, 9]])
  })

  it('keeps prompts in 8 bits, a scale for each token and head, within a hundredth of its largest number', () => {
    const wide = { layerCount: 1, kvHeadCount: 2, headSize: 32 }
    const rounding = new HostKv(wide, 'int8')
    const numbers = (tokens: number, salt: number) =>
      Float32Array.from({ length: 2 * tokens * 32 }, (_, i) => Math.sin(i * 7.3 + salt) * (1 + (i % 13)))
    const outputs = (tokens: number, salt: number) => ({
      'present_key.0': { data: numbers(tokens, salt), dims: [2, 1, tokens, 32] },
      'present_value.0': { data: numbers(tokens, salt + 1), dims: [2, 1, tokens, 32] },
    })
    const expectRounded = (feeds: Feeds, places: number, at: number, tokens: number, salt: number) => {
      for (const [kind, exact] of [
        ['key', numbers(tokens, salt)] as const,
        ['value', numbers(tokens, salt + 1)] as const,
      ]) {
        const codes = feeds[`prefix_${kind}.0`]!
        const scales = feeds[`prefix_${kind}_scale.0`]!
        expect([codes.dims, scales.dims]).toEqual([
          [2, 1, places, 32],
          [2, 1, 1, places],
        ])
        const zero = kind === 'key' ? 128 : 0
        expect(codes.data).toBeInstanceOf(kind === 'key' ? Uint8Array : Int8Array)
        for (let head = 0; head < 2; head++) {
          for (let token = 0; token < tokens; token++) {
            const row = exact.subarray((head * tokens + token) * 32, (head * tokens + token + 1) * 32)
            const place = head * places + at + token
            const error = row.map((value, d) =>
              Math.abs(value - (Number(codes.data[place * 32 + d]) - zero) * Number(scales.data[place])),
            )
            expect(Math.max(...error)).toBeLessThan(Math.max(...row.map(Math.abs)) / 100)
            if (kind === 'value') expect(Number(scales.data[place])).toBeGreaterThan(0)
          }
        }
      }
    }
    const prompt = rounding.cacheFrom(rounding.nothing, 0, 12)
    prompt.append(outputs(4, 1), 4)
    prompt.append(outputs(3, 2), 3, 2)
    const segment = prompt.toSegment()
    expect(segment).toMatchObject({ length: 6, places: 12, bytes: 2 * 2 * 12 * (32 + 4) })
    expectRounded(segment.feeds, 12, 0, 4, 1)
    const next = rounding.cacheFrom(segment, 4, 200)
    next.append(outputs(100, 3), 100)
    expect(next.capacity).toBe(104)
    expectRounded(next.asPrefix().feeds, 104, 0, 4, 1)
    expectRounded(next.asPrefix().feeds, 104, 4, 100, 3)
    expectRounded(segment.feeds, 12, 0, 4, 1)
  })

  it('takes keys and values as they are that come out in 8 bits, and floats of them where sequences go on', () => {
    const [tokens, wide] = [3, { layerCount: 1, kvHeadCount: 2, headSize: 16 }]
    const codes = (count: number, zero: number) =>
      Array.from({ length: count }, (_, i) => ((i * 37) % 251) - 125 + zero)
    const run = (batch: number): Record<string, Tensor> => {
      const dims = [2, batch, tokens, 16]
      const rows = 2 * batch * tokens
      const scales = { data: Float32Array.from({ length: rows }, (_, row) => 2 ** (row - 4)), dims: dims.slice(0, 3) }
      return {
        'present_key.0': { data: Uint8Array.from(codes(rows * 16, 128)), dims },
        'present_key_scale.0': scales,
        'present_value.0': { data: Int8Array.from(codes(rows * 16, 0)), dims },
        'present_value_scale.0': scales,
      }
    }
    const rounding = new HostKv(wide, 'int8')
    const prompt = rounding.cacheFrom(rounding.nothing, 0, 5)
    prompt.append(run(1), tokens, 2)
    const feeds = prompt.asPrefix().feeds
    for (const head of [0, 1]) {
      const [from, to] = [head * tokens * 16, head * 5 * 16]
      const scales = Array.from({ length: 2 }, (_, token) => 2 ** (head * tokens + token - 4))
      for (const [kind, zero] of [['key', 128] as const, ['value', 0] as const]) {
        const expected = codes(2 * tokens * 16, zero).slice(from, from + 2 * 16)
        expect([...feeds[`prefix_${kind}.0`]!.data.slice(to, to + 2 * 16)].map(Number)).toEqual(expected)
        expect([...feeds[`prefix_${kind}_scale.0`]!.data.slice(head * 5, head * 5 + 2)]).toEqual(scales)
      }
    }

    const abreast = rounding.cache(2)
    abreast.append(run(2), tokens)
    const past = abreast.feeds()
    const capacity = abreast.capacity
    for (const kind of ['key', 'value']) {
      const found = past[`past_${kind}.0`]!.data as Float32Array
      for (let row = 0; row < 4; row++) {
        const expected = codes(4 * tokens * 16, 0).slice(row * tokens * 16, (row + 1) * tokens * 16)
        const floats = expected.map((code, i) => code * 2 ** (row * tokens + Math.floor(i / 16) - 4))
        expect([...found.slice(row * capacity * 16, row * capacity * 16 + tokens * 16)]).toEqual(floats)
      }
    }
  })

  it('has one place, to be masked, where there is no token', () => {
    expect(kv.nothing.length).toBe(0)
    expect(kv.nothing.feeds['prefix_key.1']!.dims).toEqual([3, 1, 1, 2])
    expect(kv.cache(2).capacity).toBe(1)
  })
})
