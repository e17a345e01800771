import type { BlockFormat } from './quantize.ts'

/** Large tensors start on a page so that a runtime can map them; small ones on a cache line. */
const PAGE = 4096
const CACHE_LINE = 64
const PAGE_ALIGNED_FROM = 1 << 16

/** Rows that lie one after the other in a file, row-major, little-endian. */
export interface StoredRows {
  /** the tensor's, for messages */
  name: string
  path: string
  byteOffset: number
  dtype: 'F32' | 'F16' | 'BF16'
  /** rows of the source's width */
  rows: number
}

/** Numbers that are read when their turn comes, in consecutive parts of any length. */
export interface FloatSource {
  shape: readonly number[]
  parts: () => Iterable<Float32Array> | AsyncIterable<Float32Array>
  /** where they lie, if they are nothing but numbers of a file: then any thread can read them */
  stored?: readonly StoredRows[]
}

/** Where something that is made of a weight goes: into a data file, or into the model file. */
export type Place = { file: string; offset: number; length: number } | { inline: Uint8Array }

/** What is made of a weight. Rows are along its first axis. */
export type Form =
  | { kind: 'floats'; to: Place }
  | { kind: 'halves'; to: Place }
  /** in blocks along each row, see quantize.ts */
  | { kind: 'blocks'; format: BlockFormat; codes: Place; scales: Place }
  /** int8 with a scale for each of N rows of K: [N, K], or [K, N] in an order along K (`order[k]`: where column k goes) */
  | { kind: 'int8'; layout: 'rows' | { order?: Int32Array }; codes: Place; scales: Place }
  | { kind: 'bytes'; bytes: Uint8Array; to: Place }

/** A weight and what is made of it. */
export interface PlannedTensor {
  source: FloatSource
  form: Form
}

export const placesOf = (form: Form): Place[] => ('to' in form ? [form.to] : [form.codes, form.scales])

/** Gives every tensor of one data file its place, aligned, and remembers what goes there. Nothing is read or written. */
export class ExternalData {
  /** The file's name as the model files beside it give it. */
  readonly location: string
  readonly tensors: PlannedTensor[] = []
  #bytes = 0

  constructor(location: string) {
    this.location = location
  }

  /** Length of the file. */
  get bytes(): number {
    return this.#bytes
  }

  place(length: number): { file: string; offset: number; length: number } {
    const alignment = length >= PAGE_ALIGNED_FROM ? PAGE : CACHE_LINE
    const offset = Math.ceil(this.#bytes / alignment) * alignment
    this.#bytes = offset + length
    return { file: this.location, offset, length }
  }

  add(source: FloatSource, form: Form): void {
    this.tensors.push({ source, form })
  }
}
