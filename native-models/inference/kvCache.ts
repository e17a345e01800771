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
  /** places that the feeds have, where that is more than the tokens; those beyond are to be masked */
  readonly places?: number
  /** `prefix_key.i` and `prefix_value.i`, [G, 1, max(1, places), d]; a device may still be at work on them */
  readonly feeds: Feeds | Promise<Feeds>
}

/** The first tokens of a segment, over the same memory. */
export function firstTokens(segment: KvSegment, length: number): KvSegment {
  if (length === segment.length) return segment
  // `of` keeps what a device frees with the segment
  return { ...segment, length, places: placesOf(segment), of: segment } as KvSegment
}

/** Places of a segment's feeds. */
export const placesOf = ({ places = 0, length }: KvSegment): number => Math.max(1, places, length)

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
  /** `past_key.i` and `past_value.i`, [G, B, capacity, d] */
  feeds(): Feeds | Promise<Feeds>
  /** Takes over what a run of `count` tokens a sequence put out, the first `kept` of them only. */
  append(outputs: Record<string, Tensor>, count: number, kept?: number): void
  /** Goes on with some of the sequences only, by their place in the batch. */
  keep(sequences: readonly number[]): void
  /** Its one sequence as a segment. The cache is used up. */
  toSegment(): KvSegment
  /** Told what a pass put out before it is appended: on a device it has to be given back where it is not. */
  computed?(outputs: Record<string, Tensor>): void
  /** Gives back what a device holds for it. The cache is used up. */
  close?(): void
}

/**
 * Where keys and values live: `HostKv` keeps them in this process's memory; on a device they would be tensors that are
 * fed back and never read.
 */
export interface KvStore {
  readonly nothing: KvSegment
  /**
   * What the decoder is fed with beside embeddings when each of `batch` sequences goes on by `length` tokens; for stores whose
   * decoder wants other things than positions, a bias and two segments.
   */
  attend?(prefix: KvSegment, past: KvCache, batch: number, length: number): Promise<Feeds>
  /** An empty cache; `expected` tokens in all are to come. */
  cache(batch: number, expected?: number): KvCache
  /** A cache of one sequence that begins with the first `length` tokens of a segment; `expected` in all are to come. */
  cacheFrom(segment: KvSegment, length: number, expected: number): KvCache
  /**
   * The same in the segment's own memory, where it has room for `expected`: what lay behind `length` is lost to all who hold
   * the segment. Null where it has not, or where the store only ever adds.
   */
  cacheIn?(segment: KvSegment, length: number, expected: number): KvCache | null
}

const FIRST_CAPACITY = 32
/** Room beyond is taken so many tokens at a time: at the release's size one takes a megabyte. */
const CAPACITY_STEP = 128
/** Room for what is still expected is taken when so much or less is left: until then it would be masked in every run. */
const LAST_STEP = 64
const KINDS = ['key', 'value'] as const

/** Keys and values in JS memory: `keys[layer]` and `values[layer]` are [G, B, T, d], row-major. */
export class HostKv implements KvStore {
  readonly nothing: HostSegment
  readonly #shape: CacheShape

  constructor(shape: CacheShape) {
    this.#shape = shape
    this.nothing = new HostCache(shape, 1, 1).toSegment()
  }

  cache(batch: number, expected = 1): HostCache {
    return new HostCache(this.#shape, batch, expected)
  }

  cacheFrom(segment: KvSegment, length: number, expected: number): HostCache {
    const cache = new HostCache(this.#shape, 1, expected)
    cache.load(segment, length)
    return cache
  }

  cacheIn(segment: KvSegment, length: number, expected: number): HostCache | null {
    if (placesOf(segment) < expected) return null
    return HostCache.over(this.#shape, segment, length)
  }
}

/** Room is taken ahead, so that a token mostly costs the copy of its own few kilobytes. */
class HostCache implements KvCache {
  readonly #shape: CacheShape
  readonly #expected: number
  #batch: number
  #capacity = 1
  #length = 0
  /** keys of every layer, then values of every layer */
  #buffers: Float32Array[]

  constructor(shape: CacheShape, batch: number, expected: number, buffers?: Float32Array[]) {
    this.#shape = shape
    this.#batch = batch
    this.#expected = expected
    this.#buffers = buffers ?? this.#room(1, batch)
  }

  /** One sequence in the memory of a segment, of which the first tokens stay. */
  static over(shape: CacheShape, segment: KvSegment, length: number): HostCache {
    const names = KINDS.flatMap((kind) =>
      Array.from({ length: shape.layerCount }, (_, layer) => `prefix_${kind}.${layer}`),
    )
    const buffers = names.map((name) => floatsOf(segment.feeds as Feeds, name))
    const cache = new HostCache(shape, 1, placesOf(segment), buffers)
    cache.#capacity = placesOf(segment)
    cache.#length = length
    return cache
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
    const needed = this.#length + kept
    if (needed > this.#capacity) this.#relayout(this.#roomFor(needed), range(this.#batch))
    const { layerCount, kvHeadCount, headSize } = this.#shape
    for (const [index, buffer] of this.#buffers.entries()) {
      const kind = KINDS[Math.floor(index / layerCount)]!
      const added = floatsOf(outputs, `present_${kind}.${index % layerCount}`) // [G, B, count, d]
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
    const places = Math.max(1, this.#length, Math.min(this.#capacity, this.#expected))
    if (places < this.#capacity) this.#relayout(places, [0])
    const bytes = this.#buffers.reduce((sum, { byteLength }) => sum + byteLength, 0)
    return { length: this.#length, bytes, places, feeds: this.#feeds('prefix', places) }
  }

  /** Begins with the first tokens of a segment. */
  load(segment: KvSegment, length: number): void {
    if (length === 0) return
    const { layerCount, kvHeadCount, headSize } = this.#shape
    this.#capacity = this.#expected - length <= LAST_STEP ? Math.max(length, this.#expected) : length
    this.#buffers = this.#room(this.#capacity, 1)
    for (const [index, buffer] of this.#buffers.entries()) {
      const kind = KINDS[Math.floor(index / layerCount)]!
      copyRows(floatsOf(segment.feeds as Feeds, `prefix_${kind}.${index % layerCount}`), buffer, {
        rows: kvHeadCount,
        from: placesOf(segment) * headSize,
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
      feeds[`${name}_${kind}.${index % layerCount}`] = floats(buffer, kvHeadCount, this.#batch, places, headSize)
    }
    return feeds
  }

  /** Places to take for so many tokens. */
  #roomFor(needed: number): number {
    if (needed <= this.#expected && this.#expected - needed <= LAST_STEP) return this.#expected
    if (needed - this.#length > CAPACITY_STEP) return needed // a stretch of a prompt
    let capacity = Math.max(FIRST_CAPACITY, this.#capacity)
    while (capacity < needed) capacity += Math.min(capacity, CAPACITY_STEP)
    return capacity
  }

  #relayout(capacity: number, sequences: readonly number[]): void {
    const { kvHeadCount, headSize } = this.#shape
    const old = this.#buffers
    const [from, to] = [this.#capacity * headSize, capacity * headSize]
    for (const [index, source] of old.entries()) {
      const [target] = this.#room(capacity, sequences.length, 1)
      for (const [place, sequence] of sequences.entries()) {
        copyRows(source.subarray(sequence * from), target!.subarray(place * to), {
          rows: kvHeadCount,
          from: this.#batch * from,
          to: sequences.length * to,
          at: 0,
          length: this.#length * headSize,
        })
      }
      old[index] = target! // what was copied may go at once
    }
    this.#capacity = capacity
    this.#batch = sequences.length
  }

  #room(capacity: number, batch: number, count = KINDS.length * this.#shape.layerCount): Float32Array[] {
    const { kvHeadCount, headSize } = this.#shape
    return Array.from({ length: count }, () => new Float32Array(batch * kvHeadCount * capacity * headSize))
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
