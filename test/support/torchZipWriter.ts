import { writeFile } from 'node:fs/promises'

/** A tensor as `torch.save` sees it: a strided view of a storage that several tensors may share. */
export interface TorchTensor {
  storageKey: string
  offset: number
  shape: readonly number[]
  strides: readonly number[]
}

export interface TorchStorage {
  type: 'FloatStorage' | 'HalfStorage' | 'BFloat16Storage' | 'LongStorage'
  /** elements */
  length: number
  bytes: Uint8Array
}

/** Writes a torch zip as `torch.save(state_dict)` does: protocol 2 pickle, stored entries, data aligned to 64 bytes. */
export async function writeTorchZip(
  path: string,
  tensors: ReadonlyMap<string, TorchTensor>,
  storages: ReadonlyMap<string, TorchStorage>,
): Promise<void> {
  await writeFile(path, torchZipBytes(tensors, storages))
}

/** The bytes of such a file. */
export function torchZipBytes(
  tensors: ReadonlyMap<string, TorchTensor>,
  storages: ReadonlyMap<string, TorchStorage>,
  options: { zip64?: boolean } = {},
): Buffer {
  const entries: [string, Uint8Array][] = [
    ['archive/data.pkl', pickleStateDict(tensors, storages)],
    ['archive/byteorder', Buffer.from('little')],
    ...[...storages].map(([key, { bytes }]): [string, Uint8Array] => [`archive/data/${key}`, bytes]),
    ['archive/version', Buffer.from('3\n')],
  ]
  return zipBytes(entries, options)
}

/** The pickle inside. */
export function pickleStateDict(
  tensors: ReadonlyMap<string, TorchTensor>,
  storages: ReadonlyMap<string, TorchStorage>,
): Buffer {
  const parts: Buffer[] = [Buffer.from([0x80, 2]), Buffer.from('ccollections\nOrderedDict\n)R(', 'latin1')]
  const op = (...bytes: number[]) => parts.push(Buffer.from(bytes))
  const text = (value: string) => {
    const bytes = Buffer.from(value)
    op(0x58, ...uint32(bytes.length))
    parts.push(bytes)
  }
  const number = (value: number) => {
    if (value < 256) op(0x4b, value)
    else if (value < 65_536) op(0x4d, value & 255, value >> 8)
    else op(0x4a, ...uint32(value))
  }
  const tuple = (values: readonly number[]) => {
    op(0x28)
    for (const value of values) number(value)
    op(0x74)
  }
  for (const [name, { storageKey, offset, shape, strides }] of tensors) {
    const storage = storages.get(storageKey)!
    text(name)
    parts.push(Buffer.from('ctorch._utils\n_rebuild_tensor_v2\n((', 'latin1'))
    text('storage')
    parts.push(Buffer.from(`ctorch\n${storage.type}\n`))
    text(storageKey)
    text('cpu')
    number(storage.length)
    parts.push(Buffer.from('tQ', 'latin1'))
    number(offset)
    tuple(shape)
    tuple(strides)
    parts.push(Buffer.from('\x89ccollections\nOrderedDict\n)RtR', 'latin1'))
  }
  // torch hangs a `_metadata` on the table
  parts.push(Buffer.from('u}', 'latin1'))
  text('_metadata')
  parts.push(Buffer.from('}sb.', 'latin1'))
  return Buffer.concat(parts)
}

/** A zip of stored entries; `zip64` writes every number in the long form that files above 4 GiB need. */
export function zipBytes(
  entries: readonly (readonly [string, Uint8Array])[],
  options: { method?: number; zip64?: boolean } = {},
): Buffer {
  const { method = 0, zip64 = false } = options
  const body: Buffer[] = []
  const directory: Buffer[] = []
  let position = 0
  const add = (chunk: Buffer) => {
    body.push(chunk)
    position += chunk.length
  }
  for (const [name, bytes] of entries) {
    const nameBytes = Buffer.from(name)
    const headerAt = position
    const padding = (64 - ((position + 30 + nameBytes.length + 4) % 64)) % 64
    const extra = Buffer.concat([Buffer.from('FB'), Buffer.from([padding, 0]), Buffer.alloc(padding, 'Z')])
    const shared = Buffer.alloc(26)
    shared.writeUInt16LE(20, 0)
    shared.writeUInt16LE(method, 4)
    shared.writeUInt32LE(bytes.length, 14)
    shared.writeUInt32LE(bytes.length, 18)
    shared.writeUInt16LE(nameBytes.length, 22)
    shared.writeUInt16LE(extra.length, 24)
    add(Buffer.concat([Buffer.from('PK\x03\x04', 'latin1'), shared, nameBytes, extra]))
    add(Buffer.from(bytes))
    const tail = Buffer.alloc(14)
    tail.writeUInt32LE(zip64 ? 0xffff_ffff : headerAt, 10)
    const central = Buffer.concat([Buffer.from('PK\x01\x02', 'latin1'), Buffer.from([20, 0]), shared])
    const wide = zip64
      ? Buffer.concat([Buffer.from([1, 0, 24, 0]), uint64(bytes.length, bytes.length, headerAt)])
      : Buffer.alloc(0)
    central.writeUInt16LE(wide.length, 30)
    if (zip64) central.fill(0xff, 20, 28)
    directory.push(central, tail, nameBytes, wide)
  }
  const start = position
  for (const chunk of directory) add(chunk)
  const directoryBytes = position - start
  if (zip64) {
    const record = Buffer.from('PK\x06\x06', 'latin1')
    const recordAt = position
    add(
      Buffer.concat([
        record,
        uint64(44),
        Buffer.alloc(12),
        uint64(entries.length, entries.length, directoryBytes, start),
      ]),
    )
    add(
      Buffer.concat([
        Buffer.from('PK\x06\x07', 'latin1'),
        Buffer.alloc(4),
        uint64(recordAt),
        Buffer.from([1, 0, 0, 0]),
      ]),
    )
  }
  const end = Buffer.alloc(22)
  end.write('PK\x05\x06', 'latin1')
  end.writeUInt16LE(entries.length, 8)
  end.writeUInt16LE(entries.length, 10)
  end.writeUInt32LE(directoryBytes, 12)
  end.writeUInt32LE(start, 16)
  if (zip64) end.fill(0xff, 8, 20)
  return Buffer.concat([...body, end])
}

/** Headers of a zip64 of stored entries that is written piece by piece: an entry's header follows its data's checksum. */
export class ZipHeaders {
  /** where the next header goes */
  position = 0
  readonly #central: Buffer[] = []
  #count = 0

  /** @returns where the entry's header and data go, and `end`, which makes the header. Entries stay under 4 GiB. */
  begin(name: string, bytes: number): { offset: number; dataOffset: number; end(crc: number): Buffer } {
    const offset = this.position
    const nameBytes = Buffer.from(name)
    const padding = (64 - ((offset + 30 + nameBytes.length + 4) % 64)) % 64
    const extra = Buffer.concat([Buffer.from('FB'), Buffer.from([padding, 0]), Buffer.alloc(padding, 'Z')])
    const dataOffset = offset + 30 + nameBytes.length + extra.length
    this.position = dataOffset + bytes
    this.#count++
    const end = (crc: number) => {
      const shared = Buffer.alloc(26)
      shared.writeUInt16LE(45, 0)
      shared.writeUInt32LE(crc, 10)
      shared.writeUInt32LE(bytes, 14)
      shared.writeUInt32LE(bytes, 18)
      shared.writeUInt16LE(nameBytes.length, 22)
      const local = Buffer.concat([Buffer.from('PK\x03\x04', 'latin1'), shared, nameBytes, extra])
      local.writeUInt16LE(extra.length, 28)
      const wide = Buffer.concat([Buffer.from([1, 0, 24, 0]), uint64(bytes, bytes, offset)])
      const central = Buffer.concat([
        Buffer.from('PK\x01\x02', 'latin1'),
        Buffer.from([45, 0]),
        shared,
        Buffer.alloc(14),
      ])
      central.fill(0xff, 20, 28)
      central.writeUInt16LE(wide.length, 30)
      central.fill(0xff, 42, 46)
      this.#central.push(central, nameBytes, wide)
      return local
    }
    return { offset, dataOffset, end }
  }

  /** What comes after the last entry's data. */
  directory(): Buffer {
    const directory = Buffer.concat(this.#central)
    const start = this.position
    const record = [uint64(44), Buffer.from([45, 0, 45, 0]), Buffer.alloc(8)]
    const ends = uint64(this.#count, this.#count, directory.length, start)
    const locator = [Buffer.alloc(4), uint64(start + directory.length), Buffer.from([1, 0, 0, 0])]
    const end = Buffer.alloc(18)
    end.fill(0xff, 4, 16)
    return Buffer.concat([
      directory,
      ...[Buffer.from('PK\x06\x06', 'latin1'), ...record, ends],
      ...[Buffer.from('PK\x06\x07', 'latin1'), ...locator],
      ...[Buffer.from('PK\x05\x06', 'latin1'), end],
    ])
  }
}

function uint64(...values: number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 8)
  values.forEach((value, index) => {
    bytes.writeBigUInt64LE(BigInt(value), index * 8)
  })
  return bytes
}

function uint32(value: number): number[] {
  return [value & 255, (value >>> 8) & 255, (value >>> 16) & 255, (value >>> 24) & 255]
}
