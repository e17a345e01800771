import { type FileHandle, open } from 'node:fs/promises'
import { GromaError } from '../errors.ts'
import { refuseForeignFile } from './foreign.ts'
import { rowMajorStrides, type TensorLocation, type WeightDtype } from './tensorData.ts'

/** Bytes per element of every type the format knows; only the floating ones can be weights. */
const bytesPerElement: Readonly<Record<string, number>> = Object.assign(Object.create(null), {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E5M2: 1,
  F8_E4M3: 1,
  I16: 2,
  U16: 2,
  F16: 2,
  BF16: 2,
  I32: 4,
  U32: 4,
  F32: 4,
  F64: 8,
  I64: 8,
  U64: 8,
}) // prettier-ignore

const maxHeaderBytes = 100_000_000

/** What one file holds: its weights, and the names of tensors in types that cannot be weights. */
export interface ShardContents {
  tensors: TensorLocation[]
  otherTensors: Map<string, string>
}

/**
 * Reads and checks a safetensors header: the file is hostile until proven otherwise.
 * @param file the name used in messages
 * @throws CHECKPOINT_TRUNCATED, CHECKPOINT_INVALID, CHECKPOINT_FOREIGN
 */
export async function readSafetensorsHeader(handle: FileHandle, file: string): Promise<ShardContents> {
  const fileBytes = (await handle.stat()).size
  const start = Buffer.alloc(Math.min(8, fileBytes))
  await handle.read(start, 0, start.length, 0)
  const headerBytes = start.length === 8 ? start.readBigUInt64LE() : 0n
  if (start.length < 8 || headerBytes > BigInt(maxHeaderBytes) || headerBytes > BigInt(fileBytes - 8)) {
    await refuseForeignFile(handle, file, fileBytes)
    if (start.length === 8 && headerBytes <= BigInt(maxHeaderBytes)) {
      throw truncated(file, `its header says ${headerBytes} bytes, the file has ${fileBytes - 8} after its length`)
    }
    throw invalid(file, start.length < 8 ? `only ${fileBytes} bytes long` : `header length ${headerBytes} is absurd`)
  }
  const header = Buffer.alloc(Number(headerBytes))
  const { bytesRead } = await handle.read(header, 0, header.length, 8)
  if (bytesRead < header.length) throw truncated(file, 'ends inside its header')
  return parseHeader(header, fileBytes, file)
}

/** Checks a header's bytes against the size of the file they came from. */
export function parseHeader(header: Uint8Array, fileBytes: number, file: string): ShardContents {
  let text: string
  let json: unknown
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(header)
    json = JSON.parse(text)
  } catch (cause) {
    throw new GromaError('CHECKPOINT_INVALID', `${file}: its header is not JSON`, { cause })
  }
  if (!isRecord(json)) throw invalid(file, 'its header is not an object')
  const duplicate = firstDuplicateKey(text)
  if (duplicate !== null) throw invalid(file, `its header names ${JSON.stringify(duplicate)} twice`)

  const dataStart = 8 + header.length
  const contents: ShardContents = { tensors: [], otherTensors: new Map() }
  const ranges: { name: string; begin: number; end: number }[] = []
  for (const name of Object.keys(json)) {
    if (name === '__metadata__') continue
    const { dtype, shape, begin, end } = parseEntry(json[name], name, file)
    ranges.push({ name, begin, end })
    if (dtype === 'F32' || dtype === 'F16' || dtype === 'BF16') {
      const location = { name, shape, strides: rowMajorStrides(shape), dtype: dtype as WeightDtype, file }
      contents.tensors.push({ ...location, byteOffset: dataStart + begin })
    } else contents.otherTensors.set(name, dtype)
  }
  ranges.sort((a, b) => a.begin - b.begin || a.end - b.end)
  let end = 0
  for (const range of ranges) {
    if (range.begin !== end) throw invalid(file, `${range.name} leaves a gap or overlaps another tensor`)
    end = range.end
  }
  const dataBytes = fileBytes - dataStart
  if (end > dataBytes) throw truncated(file, `its tensors need ${end} bytes, ${Math.max(0, dataBytes)} are there`)
  if (end < dataBytes) throw invalid(file, `${dataBytes - end} bytes after its last tensor belong to nothing`)
  return contents
}

function parseEntry(entry: unknown, name: string, file: string) {
  if (!isRecord(entry)) throw invalid(file, `${name} is not an object`)
  const { dtype, shape, data_offsets: offsets } = entry
  const width = typeof dtype === 'string' ? bytesPerElement[dtype] : undefined
  if (width === undefined) throw invalid(file, `${name} has the unknown type ${JSON.stringify(dtype)?.slice(0, 40)}`)
  if (!isCounts(shape) || shape.length > 16) throw invalid(file, `${name} has a broken shape`)
  if (!isCounts(offsets) || offsets.length !== 2) throw invalid(file, `${name} has broken data offsets`)
  const [begin, end] = offsets as [number, number]
  if (begin > end) throw invalid(file, `${name} has broken data offsets`)
  const bytes = shape.reduce((product, extent) => product * BigInt(extent), BigInt(width))
  if (bytes !== BigInt(end - begin))
    throw invalid(file, `${name}: shape needs ${bytes} bytes, offsets give ${end - begin}`)
  return { dtype: dtype as string, shape, begin, end }
}

/** The first key that an object of this (valid) JSON text names twice, or null. */
export function firstDuplicateKey(text: string): string | null {
  const scopes: Set<string>[] = []
  const token = /"[^"\\]*(?:\\.[^"\\]*)*"(\s*:)?|[{}]/gs
  for (const match of text.matchAll(token)) {
    if (match[0] === '{') scopes.push(new Set())
    else if (match[0] === '}') scopes.pop()
    else if (match[1] !== undefined) {
      const key = JSON.parse(match[0].slice(0, match[0].lastIndexOf('"') + 1)) as string
      const scope = scopes.at(-1)
      if (scope?.has(key)) return key
      scope?.add(key)
    }
  }
  return null
}

/**
 * Writes float32 tensors as one safetensors file (names in sorted order, header padded to 8 bytes).
 * @throws DISK_FULL
 */
export async function writeSafetensors(
  path: string,
  tensors: Readonly<Record<string, { shape: readonly number[]; data: Float32Array }>>,
  metadata?: Readonly<Record<string, string>>,
): Promise<void> {
  const raw = Object.entries(tensors).map(([name, { shape, data }]) => ({
    name,
    shape,
    dtype: 'F32' as const,
    bytes: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
  }))
  await writeRawSafetensors(path, raw, metadata)
}

/** Writes tensors already in their stored form. */
export async function writeRawSafetensors(
  path: string,
  tensors: readonly { name: string; shape: readonly number[]; dtype: WeightDtype; bytes: Uint8Array }[],
  metadata?: Readonly<Record<string, string>>,
): Promise<void> {
  const sorted = [...tensors].sort((a, b) => (a.name < b.name ? -1 : 1))
  const header: Record<string, unknown> = Object.create(null)
  if (metadata) header.__metadata__ = metadata
  let end = 0
  for (const { name, shape, dtype, bytes } of sorted) {
    header[name] = { dtype, shape, data_offsets: [end, end + bytes.length] }
    end += bytes.length
  }
  let text = Buffer.from(JSON.stringify(header))
  text = Buffer.concat([text, Buffer.alloc((8 - (text.length % 8)) % 8, ' ')])
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(text.length))
  let handle: FileHandle | undefined
  try {
    handle = await open(path, 'w')
    for (const bytes of [length, text, ...sorted.map((tensor) => tensor.bytes)]) await handle.writeFile(bytes)
  } catch (error) {
    const full = (error as NodeJS.ErrnoException).code === 'ENOSPC'
    if (full) throw new GromaError('DISK_FULL', `${path}: no space left on the disk`, { cause: error })
    throw error
  } finally {
    await handle?.close()
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every(isCount)
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

function invalid(file: string, reason: string): GromaError {
  return new GromaError('CHECKPOINT_INVALID', `${file}: ${reason}`)
}

function truncated(file: string, reason: string): GromaError {
  return new GromaError('CHECKPOINT_TRUNCATED', `${file}: ${reason}`)
}
