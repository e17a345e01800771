import { type Feeds, floats, floatsOf, type Tensor } from './session.ts'

/** Sizes of the decoder's keys and values. */
export interface CacheShape {
  layerCount: number
  /** key/value heads */
  kvHeadCount: number
  headSize: number
}

/** Keys and values of consecutive tokens that many sequences share; never written to again. */
export interface KvSegment {
  /** tokens; 0 for a segment of one masked place only */
  readonly length: number
  readonly bytes: number
  /** `prefix_key.i` and `prefix_value.i`, [1, G, max(1, length), d]; a device may still be at work on them */
  readonly feeds: Feeds | Promise<Feeds>
}

/** One in this process's memory. */
export interface HostSegment extends KvSegment {
  readonly feeds: Feeds
}

/** Keys and values of B sequences of one length abreast, each with its own, that grow run by run. */
export interface KvCache {
  /** tokens of each sequence */
  readonly length: number
  /** places that the feeds have, at least 1; those from `length` on are to be masked */
  readonly capacity: number
  /** `past_key.i` and `past_value.i`, [B, G, capacity, d] */
  feeds(): Feeds | Promise<Feeds>
  /** Takes over what a run of `count` tokens a sequence put out, the first `kept` of them only. */
  append(outputs: Record<string, Tensor>, count: number, kept?: number): void
  /** Goes on with some of the sequences only, by their place in the batch. */
  keep(sequences: readonly number[]): void
  /** Its one sequence as a segment. The cache is used up. */
  toSegment(): KvSegment
}

/**
 * Where keys and values live: `HostKv` keeps them in this process's memory; on a device they would be tensors that are
 * fed back and never read.
 */
export interface KvStore {
  readonly nothing: KvSegment
  /** An empty cache; `capacity` tokens fit without moving what is there. */
  cache(batch: number, capacity?: number): KvCache
  /** A cache of one sequence that begins with the first `length` tokens of a segment, and has room for `capacity`. */
  cacheFrom(segment: KvSegment, length: number, capacity: number): KvCache
}

const FIRST_CAPACITY = 32
/** Room beyond is taken so many tokens at a time: at the release's size one takes a megabyte. */
const CAPACITY_STEP = 128
const KINDS = ['key', 'value'] as const

/** Keys and values in JS memory: `keys[layer]` and `values[layer]` are [B, G, T, d], row-major. */
export class HostKv implements KvStore {
  readonly nothing: HostSegment
  readonly #shape: CacheShape

  constructor(shape: CacheShape) {
    this.#shape = shape
    this.nothing = new HostCache(shape, 1, 1).toSegment()
  }

  cache(batch: number, capacity = 1): HostCache {
    return new HostCache(this.#shape, batch, capacity)
  }

  cacheFrom(segment: KvSegment, length: number, capacity: number): HostCache {
    const cache = new HostCache(this.#shape, 1, Math.max(1, capacity))
    cache.load(segment, length)
    return cache
  }
}

/** Room is taken ahead, so that a token mostly costs the copy of its own few kilobytes. */
class HostCache implements KvCache {
  readonly #shape: CacheShape
  #batch: number
  #capacity: number
  #length = 0
  /** keys of every layer, then values of every layer */
  #buffers: Float32Array[]

  constructor(shape: CacheShape, batch: number, capacity: number) {
    this.#shape = shape
    this.#batch = batch
    this.#capacity = capacity
    this.#buffers = this.#room(capacity, batch)
  }

  get length(): number {
    return this.#length
  }

  get capacity(): number {
    return this.#capacity
  }

  feeds(): Feeds {
    return this.#feeds('past', this.#capacity)
  }

  append(outputs: Record<string, Tensor>, count: number, kept = count): void {
    if (this.#length + kept > this.#capacity) this.#relayout(this.#length + kept, range(this.#batch))
    const { layerCount, kvHeadCount, headSize } = this.#shape
    for (const [index, buffer] of this.#buffers.entries()) {
      const kind = KINDS[Math.floor(index / layerCount)]!
      const added = floatsOf(outputs, `present_${kind}.${index % layerCount}`) // [B, G, count, d]
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

  toSegment(): HostSegment {
    const places = Math.max(1, this.#length)
    if (places < this.#capacity) this.#relayout(places, [0], places)
    const bytes = this.#buffers.reduce((sum, { byteLength }) => sum + byteLength, 0)
    return { length: this.#length, bytes, feeds: this.#feeds('prefix', places) }
  }

  /** Begins with the first tokens of a segment. */
  load(segment: KvSegment, length: number): void {
    const { layerCount, kvHeadCount, headSize } = this.#shape
    for (const [index, buffer] of this.#buffers.entries()) {
      const kind = KINDS[Math.floor(index / layerCount)]!
      copyRows(floatsOf(segment.feeds as Feeds, `prefix_${kind}.${index % layerCount}`), buffer, {
        rows: kvHeadCount,
        from: Math.max(1, segment.length) * headSize,
        to: this.#capacity * headSize,
        at: 0,
        length: length * headSize,
      })
    }
    this.#length = length
  }

  #feeds(name: 'past' | 'prefix', places: number): Feeds {
    const { layerCount, kvHeadCount, headSize } = this.#shape
    const feeds: Feeds = {}
    for (const [index, buffer] of this.#buffers.entries()) {
      const kind = KINDS[Math.floor(index / layerCount)]!
      feeds[`${name}_${kind}.${index % layerCount}`] = floats(buffer, this.#batch, kvHeadCount, places, headSize)
    }
    return feeds
  }

  #relayout(needed: number, sequences: readonly number[], exactly?: number): void {
    let capacity = Math.max(FIRST_CAPACITY, this.#capacity)
    while (capacity < needed) capacity += Math.min(capacity, CAPACITY_STEP)
    capacity = exactly ?? capacity
    const { kvHeadCount, headSize } = this.#shape
    const old = this.#buffers
    this.#buffers = this.#room(capacity, sequences.length)
    for (const [index, buffer] of this.#buffers.entries()) {
      for (const [target, source] of sequences.entries()) {
        const from = old[index]!.subarray(source * kvHeadCount * this.#capacity * headSize)
        copyRows(from, buffer.subarray(target * kvHeadCount * capacity * headSize), {
          rows: kvHeadCount,
          from: this.#capacity * headSize,
          to: capacity * headSize,
          at: 0,
          length: this.#length * headSize,
        })
      }
      old[index] = buffer // what was copied may go at once
    }
    this.#capacity = capacity
    this.#batch = sequences.length
  }

  #room(capacity: number, batch: number): Float32Array[] {
    const { layerCount, kvHeadCount, headSize } = this.#shape
    const size = batch * kvHeadCount * capacity * headSize
    return Array.from({ length: KINDS.length * layerCount }, () => new Float32Array(size))
  }
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
