import type { PromptFormat } from '../builders/llmFormats.ts'
import { HostPrompt } from './hostPrompt.ts'
import { type CacheShape, type HostSegment, KINDS, type KvCache, type KvSegment, type KvStore } from './kvCache.ts'
import { type Feeds, floats, floatsOf, type Tensor } from './session.ts'

const FIRST_CAPACITY = 16
/** Room beyond is taken so many tokens at a time: at the release's size one takes a megabyte. */
const CAPACITY_STEP = 128

/** Keys and values in this process's memory. */
export class HostKv implements KvStore {
  readonly nothing: HostSegment
  readonly #shape: CacheShape
  readonly #format: PromptFormat

  /** @param format what the decoder's graph reads as its prefix */
  constructor(shape: CacheShape, format: PromptFormat = 'float32') {
    this.#shape = shape
    this.#format = format
    this.nothing = this.#prompt(1).toSegment()
  }

  cache(batch: number): HostCache {
    return new HostCache(this.#shape, batch)
  }

  cacheFrom(segment: KvSegment, length: number, expected: number): HostPrompt {
    return HostPrompt.after(segment, length, { shape: this.#shape, format: this.#format, expected })
  }

  cacheIn(segment: KvSegment, length: number, expected: number): HostPrompt | null {
    return HostPrompt.in(segment, length, { shape: this.#shape, format: this.#format, expected })
  }

  #prompt(expected: number): HostPrompt {
    return new HostPrompt(this.#shape, this.#format, expected)
  }
}

/**
 * Sequences' own tokens, [G, B, T, d] a layer, as the decoder put them out. Room is taken ahead, so that a token mostly costs
 * the copy of its own few kilobytes.
 */
class HostCache implements KvCache {
  readonly #shape: CacheShape
  #batch: number
  #capacity = 1
  #length = 0
  /** keys of every layer, then values of every layer */
  readonly #buffers: Float32Array[]

  constructor(shape: CacheShape, batch: number) {
    this.#shape = shape
    this.#batch = batch
    this.#buffers = Array.from({ length: KINDS.length * shape.layerCount }, () => this.#room(1, batch))
  }

  get length(): number {
    return this.#length
  }

  get capacity(): number {
    return this.#capacity
  }

  feeds(): Feeds {
    const { layerCount, kvHeadCount, headSize } = this.#shape
    const feeds: Feeds = {}
    for (const [index, buffer] of this.#buffers.entries()) {
      const name = `past_${KINDS[Math.floor(index / layerCount)]!}.${index % layerCount}`
      feeds[name] = floats(buffer, kvHeadCount, this.#batch, this.#capacity, headSize)
    }
    return feeds
  }

  append(outputs: Record<string, Tensor>, count: number, kept = count): void {
    const needed = this.#length + kept
    if (needed > this.#capacity) this.#relayout(this.#roomFor(needed), range(this.#batch))
    const { layerCount, kvHeadCount, headSize } = this.#shape
    for (const [index, buffer] of this.#buffers.entries()) {
      const kind = KINDS[Math.floor(index / layerCount)]!
      const added = presentFloats(outputs, `present_${kind}`, index % layerCount, headSize) // [G, B, count, d]
      copyRows(added, buffer, {
        rows: this.#batch * kvHeadCount,
        from: count * headSize,
        to: this.#capacity * headSize,
        at: this.#length * headSize,
        length: kept * headSize,
      })
    }
    this.#length += kept
  }

  keep(sequences: readonly number[]): void {
    if (sequences.length < this.#batch) this.#relayout(this.#capacity, sequences)
  }

  toSegment(): never {
    throw new Error('prompts are read into a cache of their own, see `cacheFrom`')
  }

  /** Places to take for so many tokens. */
  #roomFor(needed: number): number {
    let capacity = Math.max(FIRST_CAPACITY, this.#capacity)
    while (capacity < needed) capacity += Math.min(capacity, CAPACITY_STEP)
    return capacity
  }

  #relayout(capacity: number, sequences: readonly number[]): void {
    const { kvHeadCount, headSize } = this.#shape
    const old = this.#buffers
    const [from, to] = [this.#capacity * headSize, capacity * headSize]
    for (const [index, source] of old.entries()) {
      const target = this.#room(capacity, sequences.length)
      for (const [place, sequence] of sequences.entries()) {
        copyRows(source.subarray(sequence * from), target.subarray(place * to), {
          rows: kvHeadCount,
          from: this.#batch * from,
          to: sequences.length * to,
          at: 0,
          length: this.#length * headSize,
        })
      }
      old[index] = target // what was copied may go at once
    }
    this.#capacity = capacity
    this.#batch = sequences.length
  }

  #room(capacity: number, batch: number): Float32Array {
    const { kvHeadCount, headSize } = this.#shape
    return new Float32Array(batch * kvHeadCount * capacity * headSize)
  }
}

/** Keys or values of one layer as a run put them out, in 8 bits or not: [G, B, count, d]. */
function presentFloats(outputs: Record<string, Tensor>, name: string, layer: number, headSize: number): Float32Array {
  const scales = outputs[`${name}_scale.${layer}`]?.data as Float32Array | undefined
  if (!scales) return floatsOf(outputs, `${name}.${layer}`)
  const codes = outputs[`${name}.${layer}`]!.data as Uint8Array | Int8Array
  const zero = codes instanceof Uint8Array ? 128 : 0
  const numbers = new Float32Array(codes.length)
  for (let row = 0, i = 0; row < scales.length; row++) {
    for (const end = i + headSize; i < end; i++) numbers[i] = (codes[i]! - zero) * scales[row]!
  }
  return numbers
}

interface RowCopy {
  rows: number
  /** numbers in a row of the source */
  from: number
  /** numbers in a row of the target */
  to: number
  /** where in the target's row they go */
  at: number
  /** how many of each row are copied */
  length: number
}

function copyRows(source: Float32Array, target: Float32Array, { rows, from, to, at, length }: RowCopy): void {
  for (let row = 0; row < rows; row++) target.set(source.subarray(row * from, row * from + length), row * to + at)
}

function range(length: number): number[] {
  return Array.from({ length }, (_, index) => index)
}
