import type { PromptFormat } from '../builders/llmFormats.ts'
import { quantizeRows } from '../onnx/quantize.ts'
import { type CacheShape, type HostSegment, KINDS, type KvCache, type KvSegment, placesOf } from './kvCache.ts'
import { type Feeds, floats, floatsOf, type Tensor } from './session.ts'

/** Keys or values: in 8 bits keys are uint8 with their zero at 128, values int8. */
type Numbers = Float32Array | Uint8Array | Int8Array

/** Keys or values of one layer. */
interface Part {
  /** [G, 1, places, d] */
  numbers: Numbers
  /** [G, 1, 1, places]; what a number stands for is itself times this. Empty for floats. */
  scales: Float32Array
}

/** Room for what is still expected is taken when so much or less is left: until then it would be masked in every run. */
const LAST_STEP = 64

/** A prompt that is being read, in this process's memory: each stretch of it sees what was read before as its prefix. */
export class HostPrompt implements KvCache {
  readonly #shape: CacheShape
  readonly #format: PromptFormat
  readonly #expected: number
  #places = 0
  #length = 0
  /** keys of every layer, then values of every layer */
  #parts: Part[] = []

  /** @param expected tokens that are to come in all */
  constructor(shape: CacheShape, format: PromptFormat, expected: number) {
    this.#shape = shape
    this.#format = format
    this.#expected = expected
    this.#relayout(1)
  }

  /** Goes on after the first tokens of a segment, in memory of its own. */
  static after(
    segment: KvSegment,
    length: number,
    { shape, format, expected }: { shape: CacheShape; format: PromptFormat; expected: number },
  ): HostPrompt {
    const prompt = new HostPrompt(shape, format, expected)
    if (length === 0) return prompt
    prompt.#places = placesOf(segment)
    prompt.#length = length
    prompt.#parts = partsOf(segment, shape)
    prompt.#relayout(prompt.#roomFor(length))
    return prompt
  }

  /** The same in the segment's own memory; null where it has no room for what is expected. */
  static in(
    segment: KvSegment,
    length: number,
    { shape, format, expected }: { shape: CacheShape; format: PromptFormat; expected: number },
  ): HostPrompt | null {
    if (placesOf(segment) < expected) return null
    const prompt = new HostPrompt(shape, format, placesOf(segment))
    prompt.#places = placesOf(segment)
    prompt.#length = length
    prompt.#parts = partsOf(segment, shape)
    return prompt
  }

  get length(): number {
    return this.#length
  }

  get capacity(): number {
    return this.#places
  }

  feeds(): Feeds {
    throw new Error('a prompt is fed as a prefix')
  }

  asPrefix(): HostSegment {
    const { layerCount, kvHeadCount, headSize } = this.#shape
    const feeds: Feeds = {}
    let bytes = 0
    for (const [index, { numbers, scales }] of this.#parts.entries()) {
      const name = `prefix_${KINDS[Math.floor(index / layerCount)]!}`
      const layer = index % layerCount
      feeds[`${name}.${layer}`] = { data: numbers, dims: [kvHeadCount, 1, this.#places, headSize] }
      if (scales.length > 0) feeds[`${name}_scale.${layer}`] = floats(scales, kvHeadCount, 1, 1, this.#places)
      bytes += numbers.byteLength + scales.byteLength
    }
    return { length: this.#length, bytes, places: this.#places, feeds }
  }

  append(outputs: Record<string, Tensor>, count: number, kept = count): void {
    const needed = this.#length + kept
    if (needed > this.#places) this.#relayout(this.#roomFor(needed))
    const { layerCount, kvHeadCount, headSize } = this.#shape
    for (const [index, { numbers, scales }] of this.#parts.entries()) {
      const kind = KINDS[Math.floor(index / layerCount)]!
      const added = this.#partOf(outputs, kind, index % layerCount)
      for (let head = 0; head < kvHeadCount; head++) {
        const [from, place] = [head * count, head * this.#places + this.#length]
        numbers.set(added.numbers.subarray(from * headSize, (from + kept) * headSize), place * headSize)
        if (scales.length > 0) scales.set(added.scales.subarray(from, from + kept), place)
      }
    }
    this.#length = needed
  }

  keep(): void {} // there is one sequence

  toSegment(): HostSegment {
    const places = Math.max(1, this.#length, Math.min(this.#places, this.#expected))
    if (places < this.#places) this.#relayout(places)
    return this.asPrefix()
  }

  /** What a run put out for one layer, [G, 1, count, d], as it is kept here. */
  #partOf(outputs: Record<string, Tensor>, kind: (typeof KINDS)[number], layer: number): Part {
    const scales = outputs[`present_${kind}_scale.${layer}`]?.data as Float32Array | undefined
    if (scales) return { numbers: outputs[`present_${kind}.${layer}`]!.data as Numbers, scales }
    const floats = floatsOf(outputs, `present_${kind}.${layer}`)
    if (this.#format === 'float32') return { numbers: floats, scales: new Float32Array() }
    return (kind === 'key' ? roundedKeys : roundedValues)(floats, this.#shape.headSize)
  }

  #roomFor(needed: number): number {
    return this.#expected - needed <= LAST_STEP ? Math.max(needed, this.#expected) : needed
  }

  /** Moves what is there to memory with other room. */
  #relayout(places: number): void {
    const { layerCount, kvHeadCount, headSize } = this.#shape
    const before = this.#places
    const old = this.#parts
    this.#parts = Array.from({ length: KINDS.length * layerCount }, (_, index): Part => {
      const size = kvHeadCount * places * headSize
      const exact = this.#format === 'float32'
      const part: Part = {
        numbers: exact ? new Float32Array(size) : index < layerCount ? new Uint8Array(size) : new Int8Array(size),
        scales: new Float32Array(exact ? 0 : kvHeadCount * places),
      }
      const source = old[index]
      for (let head = 0; source && head < kvHeadCount; head++) {
        const [from, to] = [head * before, head * places]
        const rows = (start: number, width: number) => [start * width, (start + this.#length) * width] as const
        part.numbers.set(source.numbers.subarray(...rows(from, headSize)), to * headSize)
        if (!exact) part.scales.set(source.scales.subarray(...rows(from, 1)), to)
      }
      delete old[index] // what was copied may go at once
      return part
    })
    this.#places = places
  }
}

function partsOf({ feeds }: KvSegment, { layerCount }: CacheShape): Part[] {
  return KINDS.flatMap((kind) =>
    Array.from({ length: layerCount }, (_, layer): Part => {
      const tensor = (feeds as Feeds)[`prefix_${kind}.${layer}`]!
      const scales = (feeds as Feeds)[`prefix_${kind}_scale.${layer}`]
      return {
        numbers: tensor.data as Numbers,
        scales: scales ? (scales.data as Float32Array) : new Float32Array(),
      }
    }),
  )
}

/** Rows [n, d] of keys in 8 bits, a scale a row. */
function roundedKeys(rows: Float32Array, headSize: number): Part {
  const { codes, scales } = quantizeRows(rows, headSize, { bits: 8, blockSize: headSize })
  return { numbers: codes, scales }
}

/** The same of values; no scale is below zero, since graphs multiply shares by them that are to stay above. */
function roundedValues(rows: Float32Array, headSize: number): Part {
  const { codes, scales } = quantizeRows(rows, headSize, { bits: 8, blockSize: headSize })
  const numbers = new Int8Array(codes.length)
  for (const [row, scale] of scales.entries()) {
    scales[row] = Math.abs(scale)
    const end = (row + 1) * headSize
    // (a code of -128 has no negative: its number loses a step)
    if (scale < 0) for (let i = row * headSize; i < end; i++) numbers[i] = Math.min(127, 128 - codes[i]!)
    else for (let i = row * headSize; i < end; i++) numbers[i] = codes[i]! - 128
  }
  return { numbers, scales }
}
