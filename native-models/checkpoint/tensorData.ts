import type { FileHandle } from 'node:fs/promises'
import { GromaError } from '../errors.ts'

/** Number formats a weight may be stored in. */
export type WeightDtype = 'F32' | 'F16' | 'BF16'

export const bytesPerWeight: Readonly<Record<WeightDtype, number>> = { F32: 4, F16: 2, BF16: 2 }

/** Where a tensor's numbers lie: a strided view of one stored block of a file. */
export interface TensorLocation {
  name: string
  shape: readonly number[]
  /** in elements, one per dimension */
  strides: readonly number[]
  dtype: WeightDtype
  /** byte offset of element [0, 0, ...] in the file */
  byteOffset: number
  file: string
}

const chunkBytes = 16 * 1024 * 1024

/** Number of elements of a shape; 1 for a scalar. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, extent) => product * extent, 1)
}

/** Row-major strides of a shape, in elements. */
export function rowMajorStrides(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length)
  let stride = 1
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    strides[axis] = stride
    stride *= shape[axis]!
  }
  return strides
}

/**
 * Reads a tensor as float32, row-major, whatever its strides; other tensors of the file are not touched.
 * @throws CHECKPOINT_TRUNCATED when the file ends early
 */
export async function readTensor(handle: FileHandle, tensor: TensorLocation): Promise<Float32Array> {
  const count = elementCount(tensor.shape)
  if (count === 0) return new Float32Array(0)
  const span = 1 + tensor.shape.reduce((last, extent, axis) => last + (extent - 1) * tensor.strides[axis]!, 0)
  const stored = await readContiguous(handle, tensor, span)
  if (isRowMajor(tensor)) return stored
  const values = new Float32Array(count)
  gather(stored, values, tensor.shape, tensor.strides)
  return values
}

/** The rows `startRow .. startRow + rowCount` of the first axis, as a location of their own. */
export function rowsOf(tensor: TensorLocation, startRow: number, rowCount: number): TensorLocation {
  const rows = tensor.shape[0] ?? 0
  const valid = Number.isSafeInteger(startRow) && Number.isSafeInteger(rowCount) && startRow >= 0 && rowCount >= 0
  if (!valid || startRow + rowCount > rows) {
    throw new GromaError('INPUT_INVALID', `${tensor.name}: rows ${startRow}+${rowCount} are outside its ${rows} rows`)
  }
  return {
    ...tensor,
    shape: [rowCount, ...tensor.shape.slice(1)],
    byteOffset: tensor.byteOffset + startRow * tensor.strides[0]! * bytesPerWeight[tensor.dtype],
  }
}

/** Whether a tensor's numbers lie one after the other, row-major. */
export function isRowMajor(tensor: TensorLocation): boolean {
  const expected = rowMajorStrides(tensor.shape)
  return tensor.shape.every((extent, axis) => extent === 1 || tensor.strides[axis] === expected[axis])
}

async function readContiguous(handle: FileHandle, tensor: TensorLocation, count: number): Promise<Float32Array> {
  const values = new Float32Array(count)
  const width = bytesPerWeight[tensor.dtype]
  if (tensor.dtype === 'F32') {
    await readFully(handle, new Uint8Array(values.buffer), tensor.byteOffset, tensor)
    return values
  }
  const decode = tensor.dtype === 'F16' ? float16ToFloat32 : bfloat16ToFloat32
  const chunk = new Uint16Array(Math.min(count, chunkBytes / width))
  for (let done = 0; done < count; done += chunk.length) {
    const part = chunk.subarray(0, Math.min(chunk.length, count - done))
    const bytes = new Uint8Array(part.buffer, 0, part.byteLength)
    await readFully(handle, bytes, tensor.byteOffset + done * width, tensor)
    decode(part, values.subarray(done, done + part.length))
  }
  return values
}

/** Fills `target` from `position`; little-endian files on little-endian machines, which is all the runtime supports. */
async function readFully(handle: FileHandle, target: Uint8Array, position: number, tensor: TensorLocation) {
  for (let done = 0; done < target.length; ) {
    const length = Math.min(target.length - done, 1 << 30)
    const { bytesRead } = await handle.read(target, done, length, position + done)
    if (bytesRead === 0) {
      throw new GromaError('CHECKPOINT_TRUNCATED', `${tensor.file}: ends inside the tensor ${tensor.name}`)
    }
    done += bytesRead
  }
}

function gather(
  source: Float32Array,
  target: Float32Array,
  shape: readonly number[],
  strides: readonly number[],
): void {
  const index = new Array<number>(shape.length).fill(0)
  const innerExtent = shape.at(-1)!
  const innerStride = strides.at(-1)!
  let offset = 0
  for (let written = 0; written < target.length; ) {
    for (let i = 0; i < innerExtent; i++) target[written++] = source[offset + i * innerStride]!
    for (let axis = shape.length - 2; axis >= 0; axis--) {
      offset += strides[axis]!
      if (++index[axis]! < shape[axis]!) break
      offset -= shape[axis]! * strides[axis]!
      index[axis] = 0
    }
  }
}

let float16Table: Uint32Array | undefined

/** Expands IEEE half floats (as their 16 bits) to float32, exactly. */
export function float16ToFloat32(bits: Uint16Array, target: Float32Array): void {
  float16Table ??= makeFloat16Table()
  const words = new Uint32Array(target.buffer, target.byteOffset, target.length)
  for (let i = 0; i < bits.length; i++) words[i] = float16Table[bits[i]!]!
}

/** Expands bfloat16 (as their 16 bits) to float32, exactly. */
export function bfloat16ToFloat32(bits: Uint16Array, target: Float32Array): void {
  const words = new Uint32Array(target.buffer, target.byteOffset, target.length)
  for (let i = 0; i < bits.length; i++) words[i] = bits[i]! << 16
}

/** float32 bits of every one of the 65,536 half floats. */
function makeFloat16Table(): Uint32Array {
  const table = new Float32Array(65_536)
  for (let bits = 0; bits < 65_536; bits++) {
    const sign = bits & 0x8000 ? -1 : 1
    const exponent = (bits >> 10) & 0x1f
    const fraction = bits & 0x3ff
    if (exponent === 0) table[bits] = sign * fraction * 2 ** -24
    else if (exponent === 31) table[bits] = fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY
    else table[bits] = sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
  }
  return new Uint32Array(table.buffer)
}
