import type { FileHandle } from 'node:fs/promises'
import { GromaError } from '../errors.ts'

/** A stored (uncompressed) entry of a zip. */
export interface ZipEntry {
  name: string
  bytes: number
  /** where its bytes start in the file */
  dataOffset: number
}

const signature = { local: 0x04034b50, central: 0x02014b50, end: 0x06054b50, end64: 0x06064b50, locator64: 0x07064b50 }
const maxDirectoryBytes = 64 * 1024 * 1024
const all32 = 0xffff_ffff

/**
 * Lists a zip's entries through its central directory, zip64 included, and checks each against its local header.
 * @throws CHECKPOINT_TRUNCATED when the directory at the end is missing, CHECKPOINT_INVALID for anything torch never writes
 */
export async function listZip(handle: FileHandle, fileBytes: number, file: string): Promise<Map<string, ZipEntry>> {
  const invalid = (reason: string) => new GromaError('CHECKPOINT_INVALID', `${file}: ${reason}`)
  const read = async (position: number, length: number): Promise<Buffer> => {
    if (position < 0 || position + length > fileBytes) throw invalid('its zip directory points outside the file')
    const buffer = Buffer.alloc(length)
    const { bytesRead } = await handle.read(buffer, 0, length, position)
    if (bytesRead < length) throw new GromaError('CHECKPOINT_TRUNCATED', `${file}: ends early`)
    return buffer
  }
  const safe = (value: bigint): number => {
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw invalid('its zip directory holds absurd numbers')
    return Number(value)
  }

  if (fileBytes < 4 || (await read(0, 4)).readUInt32LE() !== signature.local) throw invalid('is not a torch zip')
  const directory = await locateDirectory()
  if (directory.bytes > maxDirectoryBytes) throw invalid('its zip directory is absurdly large')
  const table = await read(directory.offset, directory.bytes)

  const entries = new Map<string, ZipEntry>()
  const headers: { entry: ZipEntry; headerOffset: number }[] = []
  let position = 0
  for (let i = 0; i < directory.count; i++) {
    const { entry, headerOffset, next } = centralEntry(position)
    if (entries.has(entry.name)) throw invalid(`its zip names ${entry.name.slice(0, 120)} twice`)
    entries.set(entry.name, entry)
    headers.push({ entry, headerOffset })
    position = next
  }
  headers.sort((a, b) => a.headerOffset - b.headerOffset)
  let free = 0
  for (const { entry, headerOffset } of headers) {
    if (headerOffset < free) throw invalid(`${entry.name.slice(0, 120)} overlaps another entry of its zip`)
    entry.dataOffset = await dataOffsetOf(entry, headerOffset)
    free = entry.dataOffset + entry.bytes
    if (free > directory.offset) throw invalid(`${entry.name.slice(0, 120)} reaches past the data of its zip`)
  }
  return entries

  async function locateDirectory(): Promise<{ offset: number; bytes: number; count: number }> {
    const tailBytes = Math.min(fileBytes, 22 + 65_535)
    const tail = await read(fileBytes - tailBytes, tailBytes)
    let end = tailBytes - 22
    while (end >= 0 && tail.readUInt32LE(end) !== signature.end) end--
    if (end < 0) throw new GromaError('CHECKPOINT_TRUNCATED', `${file}: its end is missing (no zip directory)`)
    const found = {
      count: tail.readUInt16LE(end + 10),
      bytes: tail.readUInt32LE(end + 12),
      offset: tail.readUInt32LE(end + 16),
    }
    const locatorAt = fileBytes - tailBytes + end - 20
    if (locatorAt < 0) return found
    const locator = await read(locatorAt, 20)
    if (locator.readUInt32LE(0) !== signature.locator64) return found
    const record = await read(safe(locator.readBigUInt64LE(8)), 56)
    if (record.readUInt32LE(0) !== signature.end64) throw invalid('its zip64 directory is missing')
    return {
      count: safe(record.readBigUInt64LE(32)),
      bytes: safe(record.readBigUInt64LE(40)),
      offset: safe(record.readBigUInt64LE(48)),
    }
  }

  function centralEntry(at: number): { entry: ZipEntry; headerOffset: number; next: number } {
    if (at + 46 > table.length || table.readUInt32LE(at) !== signature.central)
      throw invalid('its zip directory is broken')
    const nameEnd = at + 46 + table.readUInt16LE(at + 28)
    const extraEnd = nameEnd + table.readUInt16LE(at + 30)
    const next = extraEnd + table.readUInt16LE(at + 32)
    if (next > table.length) throw invalid('its zip directory is broken')
    const name = table.toString('utf8', at + 46, nameEnd)
    if (table.readUInt16LE(at + 8) & 1) throw invalid(`${name.slice(0, 120)} is encrypted`)
    if (table.readUInt16LE(at + 10) !== 0) throw invalid(`${name.slice(0, 120)} is compressed, which torch never does`)
    const wide = zip64Fields(nameEnd, extraEnd)
    const field = (offset: number): number => {
      const value = table.readUInt32LE(at + offset)
      return value === all32 && wide.length > 0 ? safe(wide.shift()!) : value
    }
    const bytes = field(24) // uncompressed, compressed, header offset: the order of the zip64 record
    const compressedBytes = field(20)
    const headerOffset = field(42)
    if (bytes !== compressedBytes) throw invalid(`${name.slice(0, 120)} is stored with two sizes`)
    return { entry: { name, bytes, dataOffset: 0 }, headerOffset, next }
  }

  function zip64Fields(from: number, to: number): bigint[] {
    const values: bigint[] = []
    for (let at = from; at + 4 <= to; ) {
      const id = table.readUInt16LE(at)
      const end = at + 4 + table.readUInt16LE(at + 2)
      if (end > to) break
      if (id === 1) for (let field = at + 4; field + 8 <= end; field += 8) values.push(table.readBigUInt64LE(field))
      at = end
    }
    return values
  }

  async function dataOffsetOf(entry: ZipEntry, headerOffset: number): Promise<number> {
    const header = await read(headerOffset, 30)
    const nameBytes = header.readUInt16LE(26)
    const nameMatches = (await read(headerOffset + 30, nameBytes)).toString('utf8') === entry.name
    if (header.readUInt32LE(0) !== signature.local || !nameMatches) {
      throw invalid(`${entry.name.slice(0, 120)} differs from its own header`)
    }
    return headerOffset + 30 + nameBytes + header.readUInt16LE(28)
  }
}
