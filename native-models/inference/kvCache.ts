import { type Feeds, floats, floatsOf, type Tensor } from './session.ts'

/** Sizes of the decoder's keys and values. */
export interface CacheShape {
  layerCount: number
  /** key/value heads */
  kvHeadCount: number
  headSize: number
}

/** Keys [1, G, d, T] and values [1, G, T, d] of T consecutive tokens, one array per layer; never written to again. */
export interface KvSegment {
  /** 0 for a segment that holds one masked place only */
  length: number
  keys: readonly Float32Array[]
  values: readonly Float32Array[]
}

/** A segment of no tokens: the graph wants at least one place, which the attention bias masks. */
export function emptySegment({ layerCount, kvHeadCount, headSize }: CacheShape): KvSegment {
  const place = new Float32Array(kvHeadCount * headSize)
  const layers = Array.from({ length: layerCount }, () => place)
  return { length: 0, keys: layers, values: layers }
}

/** The segment that a run of one sequence put out. */
export function segmentOf(outputs: Record<string, Tensor>, { layerCount }: CacheShape, length: number): KvSegment {
  const layers = Array.from({ length: layerCount }, (_, layer) => layer)
  return {
    length,
    keys: layers.map((layer) => floatsOf(outputs, `present_key.${layer}`)),
    values: layers.map((layer) => floatsOf(outputs, `present_value.${layer}`)),
  }
}

export function segmentBytes({ keys, values }: KvSegment): number {
  return [...keys, ...values].reduce((bytes, array) => bytes + array.byteLength, 0)
}

/** One segment after another, as one. */
export function joinSegments(first: KvSegment, second: KvSegment, { kvHeadCount, headSize }: CacheShape): KvSegment {
  const length = first.length + second.length
  const join = (rows: number, unit: number) => (a: Float32Array, layer: number, b: readonly Float32Array[]) =>
    interleave(a, first.length * unit, b[layer]!, second.length * unit, rows)
  const joinKeys = join(kvHeadCount * headSize, 1)
  const joinValues = join(kvHeadCount, headSize)
  return {
    length,
    keys: first.keys.map((keys, layer) => joinKeys(keys, layer, second.keys)),
    values: first.values.map((values, layer) => joinValues(values, layer, second.values)),
  }
}

/** Row by row, the row of `a` then the row of `b`. */
function interleave(a: Float32Array, aRow: number, b: Float32Array, bRow: number, rows: number): Float32Array {
  const joined = new Float32Array(rows * (aRow + bRow))
  for (let row = 0; row < rows; row++) {
    joined.set(a.subarray(row * aRow, (row + 1) * aRow), row * (aRow + bRow))
    joined.set(b.subarray(row * bRow, (row + 1) * bRow), row * (aRow + bRow) + aRow)
  }
  return joined
}

/** The feeds that a shared segment makes. */
export function prefixFeeds(segment: KvSegment, { kvHeadCount, headSize }: CacheShape): Feeds {
  const places = Math.max(1, segment.length)
  const feeds: Feeds = {}
  for (const [layer, keys] of segment.keys.entries()) {
    feeds[`prefix_key.${layer}`] = floats(keys, 1, kvHeadCount, headSize, places)
    feeds[`prefix_value.${layer}`] = floats(segment.values[layer]!, 1, kvHeadCount, places, headSize)
  }
  return feeds
}

const FIRST_CAPACITY = 32

/**
 * Keys [B, G, d, C] and values [B, G, C, d] that grow token by token, B sequences of one length abreast. Room is taken
 * ahead and doubled, so that a token costs the copy of its own few kilobytes; places beyond `length` are masked.
 */
export class GrowingCache {
  readonly #shape: CacheShape
  #batch: number
  #capacity = 1
  #length = 0
  #keys: Float32Array[]
  #values: Float32Array[]

  constructor(shape: CacheShape, batch: number) {
    this.#shape = shape
    this.#batch = batch
    this.#keys = this.#buffers(1, batch)
    this.#values = this.#buffers(1, batch)
  }

  get length(): number {
    return this.#length
  }

  /** Places in the buffers, at least 1. */
  get capacity(): number {
    return this.#capacity
  }

  feeds(): Feeds {
    const { kvHeadCount, headSize } = this.#shape
    const feeds: Feeds = {}
    for (const [layer, keys] of this.#keys.entries()) {
      feeds[`past_key.${layer}`] = floats(keys, this.#batch, kvHeadCount, headSize, this.#capacity)
      feeds[`past_value.${layer}`] = floats(this.#values[layer]!, this.#batch, kvHeadCount, this.#capacity, headSize)
    }
    return feeds
  }

  /** Takes over the keys and values of the `count` tokens that a run has just added to every sequence. */
  append(outputs: Record<string, Tensor>, count: number): void {
    if (this.#length + count > this.#capacity) this.#relayout(this.#length + count, range(this.#batch))
    const { kvHeadCount, headSize } = this.#shape
    const heads = this.#batch * kvHeadCount
    for (const [layer, keys] of this.#keys.entries()) {
      const newKeys = floatsOf(outputs, `present_key.${layer}`) // [B, G, d, count]
      const newValues = floatsOf(outputs, `present_value.${layer}`) // [B, G, count, d]
      copyRows(newKeys, keys, { rows: heads * headSize, from: count, to: this.#capacity, at: this.#length })
      copyRows(newValues, this.#values[layer]!, {
        rows: heads,
        from: count * headSize,
        to: this.#capacity * headSize,
        at: this.#length * headSize,
      })
    }
    this.#length += count
  }

  /** Goes on with some of the sequences only, by their place in the batch. */
  keep(sequences: readonly number[]): void {
    if (sequences.length < this.#batch) this.#relayout(this.#capacity, sequences)
  }

  #relayout(needed: number, sequences: readonly number[]): void {
    let capacity = Math.max(FIRST_CAPACITY, this.#capacity)
    while (capacity < needed) capacity *= 2
    const { kvHeadCount, headSize } = this.#shape
    const move = (old: readonly Float32Array[], rows: number, unit: number) =>
      this.#buffers(capacity, sequences.length).map((buffer, layer) => {
        for (const [target, source] of sequences.entries()) {
          const from = old[layer]!.subarray(source * rows * this.#capacity * unit)
          const to = buffer.subarray(target * rows * capacity * unit)
          const count = this.#length * unit
          for (let row = 0; row < rows; row++) {
            const start = row * this.#capacity * unit
            to.set(from.subarray(start, start + count), row * capacity * unit)
          }
        }
        return buffer
      })
    this.#keys = move(this.#keys, kvHeadCount * headSize, 1)
    this.#values = move(this.#values, kvHeadCount, headSize)
    this.#capacity = capacity
    this.#batch = sequences.length
  }

  #buffers(capacity: number, batch: number): Float32Array[] {
    const { layerCount, kvHeadCount, headSize } = this.#shape
    return Array.from({ length: layerCount }, () => new Float32Array(batch * kvHeadCount * headSize * capacity))
  }
}

interface RowCopy {
  rows: number
  /** numbers in a row of the source, all of which are copied */
  from: number
  /** numbers in a row of the target */
  to: number
  /** where in the target's row they go */
  at: number
}

function copyRows(source: Float32Array, target: Float32Array, { rows, from, to, at }: RowCopy): void {
  if (from === 1) {
    for (let row = 0; row < rows; row++) target[row * to + at] = source[row]!
    return
  }
  for (let row = 0; row < rows; row++) target.set(source.subarray(row * from, (row + 1) * from), row * to + at)
}

function range(length: number): number[] {
  return Array.from({ length }, (_, index) => index)
}
