import { describe, expect, it } from 'vitest'
import {
  emptySegment,
  GrowingCache,
  joinSegments,
  type KvSegment,
  prefixFeeds,
  segmentBytes,
} from '../../../native-models/inference/kvCache.ts'
import type { Tensor } from '../../../native-models/inference/session.ts'

const shape = { layerCount: 2, kvHeadCount: 3, headSize: 2 }

/** Keys [B, G, d, T] and values [B, G, T, d] of a run, told apart by the token they stand for. */
function outputsOf(tokens: readonly (readonly number[])[]): Record<string, Tensor> {
  const outputs: Record<string, Tensor> = {}
  const count = tokens[0]!.length
  const { layerCount, kvHeadCount, headSize } = shape
  for (let layer = 0; layer < layerCount; layer++) {
    const keys: number[] = []
    const values: number[] = []
    for (const sequence of tokens) {
      for (let head = 0; head < kvHeadCount; head++) {
        for (let d = 0; d < headSize; d++) for (const token of sequence) keys.push(numberOf(token, layer, head, d))
        for (const token of sequence) for (let d = 0; d < headSize; d++) values.push(-numberOf(token, layer, head, d))
      }
    }
    outputs[`present_key.${layer}`] = {
      data: Float32Array.from(keys),
      dims: [tokens.length, kvHeadCount, headSize, count],
    }
    outputs[`present_value.${layer}`] = {
      data: Float32Array.from(values),
      dims: [tokens.length, kvHeadCount, count, headSize],
    }
  }
  return outputs
}

const numberOf = (token: number, layer: number, head: number, d: number) => token * 1000 + layer * 100 + head * 10 + d

/** Checks that every place of the cache holds the token that was put there. */
function expectTokens(cache: GrowingCache, sequences: readonly (readonly number[])[]): void {
  const feeds = cache.feeds()
  const { layerCount, kvHeadCount, headSize } = shape
  for (let layer = 0; layer < layerCount; layer++) {
    const [keys, values] = [feeds[`past_key.${layer}`]!, feeds[`past_value.${layer}`]!]
    expect(keys.dims).toEqual([sequences.length, kvHeadCount, headSize, cache.capacity])
    expect(values.dims).toEqual([sequences.length, kvHeadCount, cache.capacity, headSize])
    for (const [b, sequence] of sequences.entries()) {
      for (let head = 0; head < kvHeadCount; head++) {
        for (let d = 0; d < headSize; d++) {
          for (const [t, token] of sequence.entries()) {
            const row = b * kvHeadCount + head
            expect(keys.data[(row * headSize + d) * cache.capacity + t]).toBe(numberOf(token, layer, head, d))
            expect(values.data[(row * cache.capacity + t) * headSize + d]).toBe(-numberOf(token, layer, head, d))
          }
        }
      }
    }
  }
}

describe('GrowingCache', () => {
  it('keeps every token through growth and sequences that leave', () => {
    let sequences = [
      [1, 2, 3],
      [11, 12, 13],
      [21, 22, 23],
    ]
    const cache = new GrowingCache(shape, 3)
    cache.append(outputsOf(sequences), 3)
    expectTokens(cache, sequences)
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
    expectTokens(cache, sequences)
    expect(cache.capacity).toBe(128)
  })

  it('takes many tokens at once behind others', () => {
    const cache = new GrowingCache(shape, 1)
    const many = Array.from({ length: 40 }, (_, i) => i + 3)
    cache.append(outputsOf([[1, 2]]), 2)
    cache.append(outputsOf([many]), 40)
    expectTokens(cache, [[1, 2, ...many]])
  })
})

describe('segments', () => {
  const segment = (tokens: number[]): KvSegment => {
    const outputs = outputsOf([tokens])
    const data = (name: string) => [0, 1].map((layer) => outputs[`${name}.${layer}`]!.data as Float32Array)
    return { length: tokens.length, keys: data('present_key'), values: data('present_value') }
  }

  it('join as if they had been one', () => {
    expect(joinSegments(segment([1, 2]), segment([3, 4, 5]), shape)).toEqual(segment([1, 2, 3, 4, 5]))
  })

  it('count their bytes', () => expect(segmentBytes(segment([1, 2]))).toBe(2 * 2 * 3 * 2 * 2 * 4))

  it('of no tokens have one place', () => {
    expect(prefixFeeds(emptySegment(shape), shape)['prefix_key.1']!.dims).toEqual([1, 3, 2, 1])
  })
})
