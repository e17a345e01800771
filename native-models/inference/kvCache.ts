import type { Feeds, Tensor } from './session.ts'

/** Sizes of the decoder's keys and values. */
export interface CacheShape {
  layerCount: number
  /** key/value heads */
  kvHeadCount: number
  headSize: number
}

/** What there is of each layer and token. */
export const KINDS = ['key', 'value'] as const

/** Keys and values of consecutive tokens that many sequences share; never written to again. */
export interface KvSegment {
  /** tokens; 0 for a segment of one masked place only */
  readonly length: number
  readonly bytes: number
  /** places that the feeds have, where that is more than the tokens; those beyond are to be masked */
  readonly places?: number
  /**
   * `prefix_key.i` and `prefix_value.i`, [G, 1, max(1, places), d], where they are in 8 bits `prefix_key_scale.i` and
   * `prefix_value_scale.i`, [G, 1, 1, max(1, places)]; a device may still be at work on them
   */
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
  /**
   * Takes over what a run of `count` tokens a sequence put out, the first `kept` of them only: `present_key.i` and `present_value.i`
   * [G, B, count, d], in 8 bits with `present_key_scale.i` and `present_value_scale.i` [G, B, count].
   */
  append(outputs: Record<string, Tensor>, count: number, kept?: number): void
  /** Goes on with some of the sequences only, by their place in the batch. */
  keep(sequences: readonly number[]): void
  /** Its one sequence as a segment. The cache is used up. */
  toSegment(): KvSegment
  /** What it holds, where a prompt is read as the prefix of its next stretch; else `feeds` has it. */
  asPrefix?(): KvSegment
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
  /** Rows that a run reads of each of several sequences, where that is bounded. */
  readonly rowsAbreast?: number
  /** An empty cache. */
  cache(batch: number): KvCache
  /** For reading a prompt: a cache of one sequence that begins with the first `length` tokens of a segment; `expected` in all are to come. */
  cacheFrom(segment: KvSegment, length: number, expected: number): KvCache
  /**
   * The same in the segment's own memory, where it has room for `expected`: what lay behind `length` is lost to all who hold
   * the segment. Null where it has not, or where the store only ever adds.
   */
  cacheIn?(segment: KvSegment, length: number, expected: number): KvCache | null
}
