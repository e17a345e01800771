import type { FileHandle } from 'node:fs/promises'
import { GromaError } from '../errors.ts'
import { refuseForeignFile } from './foreign.ts'
import { readStateDict } from './pickle.ts'
import type { ShardContents } from './safetensors.ts'
import type { StorageDtype } from './torchObjects.ts'
import { listZip, type ZipEntry } from './zip.ts'

const bytesPerElement: Readonly<Record<StorageDtype, number>> = {
  F64: 8,
  I64: 8,
  F32: 4,
  I32: 4,
  F16: 2,
  BF16: 2,
  I16: 2,
  I8: 1,
  U8: 1,
  BOOL: 1,
} // prettier-ignore

/**
 * Reads the table of tensors of a torch zip (`torch.save`); their numbers stay in the file.
 * @param file the name used in messages
 * @throws CHECKPOINT_TRUNCATED, CHECKPOINT_INVALID, CHECKPOINT_FOREIGN
 */
export async function readTorchZip(handle: FileHandle, file: string): Promise<ShardContents> {
  const fileBytes = (await handle.stat()).size
  await refuseForeignFile(handle, file, fileBytes)
  const entries = await listZip(handle, fileBytes, file)
  const pickleNames = [...entries.keys()].filter((name) => /^[^/]+\/data\.pkl$/.test(name))
  if (pickleNames.length !== 1) throw invalid(file, 'is a zip, but not one that torch wrote (it has no data.pkl)')
  const prefix = pickleNames[0]!.slice(0, -'data.pkl'.length)
  await refuseBigEndian(handle, entries.get(`${prefix}byteorder`), file)

  const stateDict = readStateDict(await readEntry(handle, entries.get(pickleNames[0]!)!, file), file)
  const contents: ShardContents = { tensors: [], otherTensors: new Map() }
  for (const [name, { storage, offset, shape, strides }] of stateDict) {
    const entry = entries.get(`${prefix}data/${storage.key}`)
    if (!entry) throw invalid(file, `${name} refers to the missing entry data/${storage.key.slice(0, 40)}`)
    const width = bytesPerElement[storage.dtype]
    if (BigInt(storage.length) * BigInt(width) !== BigInt(entry.bytes)) {
      throw invalid(
        file,
        `${name}: its storage should take ${storage.length * width} bytes, the entry has ${entry.bytes}`,
      )
    }
    if (storage.dtype === 'F32' || storage.dtype === 'F16' || storage.dtype === 'BF16') {
      const byteOffset = entry.dataOffset + offset * width
      contents.tensors.push({ name, shape, strides, dtype: storage.dtype, byteOffset, file })
    } else contents.otherTensors.set(name, storage.dtype)
  }
  return contents
}

async function refuseBigEndian(handle: FileHandle, entry: ZipEntry | undefined, file: string): Promise<void> {
  if (!entry) return // written before torch 2.1, which only knew the machine's order
  const order = Buffer.from(await readEntry(handle, entry, file)).toString('latin1')
  if (order !== 'little') throw invalid(file, 'was written on a big-endian machine')
}

async function readEntry(handle: FileHandle, entry: ZipEntry, file: string): Promise<Uint8Array> {
  const limit = 64 * 1024 * 1024
  if (entry.bytes > limit) throw invalid(file, `its table of tensors takes ${entry.bytes} bytes`)
  const bytes = new Uint8Array(entry.bytes)
  const { bytesRead } = await handle.read(bytes, 0, bytes.length, entry.dataOffset)
  if (bytesRead < bytes.length) throw new GromaError('CHECKPOINT_TRUNCATED', `${file}: ends inside ${entry.name}`)
  return bytes
}

function invalid(file: string, reason: string): GromaError {
  return new GromaError('CHECKPOINT_INVALID', `${file}: ${reason}`)
}
