/** A GGUF file's header, written by hand: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, version 3. */

/** Numbers of ggml's tensor types, and how they are stored. */
export const ggmlTypes = {
  F32: { id: 0, blockValues: 1, blockBytes: 4 },
  /** 32 values a block: a float16 scale d, then 16 bytes of two nibbles each; value = d * (nibble - 8) */
  Q4_0: { id: 2, blockValues: 32, blockBytes: 18 },
} as const

export interface GgufTensor {
  name: string
  /** Innermost first, as ggml counts: a matrix of a Linear is [in, out]. */
  shape: readonly number[]
  type: keyof typeof ggmlTypes
}

export type GgufValue =
  | { uint32: number }
  | { float32: number }
  | { int32s: number[] }
  | { float32s: number[] }
  | string
  | string[]

const VALUE_TYPES = { uint32: 4, int32: 5, float32: 6, string: 8, array: 9 } as const
export const GGUF_ALIGNMENT = 32

/** Stored bytes of a tensor. */
export function tensorBytes({ shape, type }: GgufTensor): number {
  const { blockValues, blockBytes } = ggmlTypes[type]
  return (shape.reduce((product, extent) => product * extent, 1) / blockValues) * blockBytes
}

export const aligned = (offset: number): number => Math.ceil(offset / GGUF_ALIGNMENT) * GGUF_ALIGNMENT

/** Everything before the tensors' data, padded to where the data starts; the data follow in the tensors' order, each aligned. */
export function ggufHeader(metadata: Record<string, GgufValue>, tensors: readonly GgufTensor[]): Buffer {
  const parts: Buffer[] = []
  const uint32 = (value: number) => {
    const bytes = Buffer.alloc(4)
    bytes.writeUInt32LE(value)
    parts.push(bytes)
  }
  const uint64 = (value: number) => {
    const bytes = Buffer.alloc(8)
    bytes.writeBigUInt64LE(BigInt(value))
    parts.push(bytes)
  }
  const text = (value: string) => {
    const bytes = Buffer.from(value)
    uint64(bytes.length)
    parts.push(bytes)
  }
  const numbers = (values: Int32Array | Float32Array) => parts.push(Buffer.from(values.buffer))
  const arrayOf = (type: keyof typeof VALUE_TYPES, count: number) => {
    uint32(VALUE_TYPES.array)
    uint32(VALUE_TYPES[type])
    uint64(count)
  }
  parts.push(Buffer.from('GGUF'))
  uint32(3)
  uint64(tensors.length)
  uint64(Object.keys(metadata).length)
  for (const [key, value] of Object.entries(metadata)) {
    text(key)
    if (typeof value === 'string') {
      uint32(VALUE_TYPES.string)
      text(value)
    } else if (Array.isArray(value)) {
      arrayOf('string', value.length)
      for (const entry of value) text(entry)
    } else if ('uint32' in value) {
      uint32(VALUE_TYPES.uint32)
      uint32(value.uint32)
    } else if ('float32' in value) {
      uint32(VALUE_TYPES.float32)
      numbers(Float32Array.of(value.float32))
    } else if ('int32s' in value) {
      arrayOf('int32', value.int32s.length)
      numbers(Int32Array.from(value.int32s))
    } else {
      arrayOf('float32', value.float32s.length)
      numbers(Float32Array.from(value.float32s))
    }
  }
  let offset = 0
  for (const tensor of tensors) {
    text(tensor.name)
    uint32(tensor.shape.length)
    for (const extent of tensor.shape) uint64(extent)
    uint32(ggmlTypes[tensor.type].id)
    uint64(offset)
    offset = aligned(offset + tensorBytes(tensor))
  }
  const header = Buffer.concat(parts)
  return Buffer.concat([header, Buffer.alloc(aligned(header.length) - header.length)])
}
