import { createHash, randomInt } from 'node:crypto'
import { type FileHandle, lstat, open } from 'node:fs/promises'
import { z } from 'zod'

const CHUNK = 1 << 20
/** Chunks that a look takes, whatever the size: read and hashed in hundredths of a second. */
const SAMPLES = 16

/** A large file as it was written: its size, its time, and a hash of every mebibyte. */
export const FileRecord = z.object({
  name: z.string(),
  bytes: z.number(),
  mtimeMs: z.number(),
  chunks: z.array(z.string()),
})
export type FileRecord = z.infer<typeof FileRecord>

/** Reads a file once and records it. */
export async function recordFile(path: string, name: string, onBytes: (bytes: number) => void): Promise<FileRecord> {
  const file = await open(path, 'r')
  try {
    const { size, mtimeMs } = await file.stat()
    const chunks: string[] = []
    for (let at = 0; at < size; at += CHUNK) {
      const chunk = await readChunk(file, at, size)
      chunks.push(hashOf(chunk))
      onBytes(chunk.length)
    }
    return { name, bytes: size, mtimeMs, chunks }
  } finally {
    await file.close()
  }
}

/**
 * What is wrong with a file, null when nothing shows: a link, another size or time, or other bytes in its first chunk, its last, or
 * some in between, which differ from look to look. What a disk damaged in one chunk of n is found by a look with a chance of
 * 16 / n only; what a program wrote, truncated or replaced is always found.
 */
export async function damageOf(path: string, { name, bytes, mtimeMs, chunks }: FileRecord): Promise<string | null> {
  try {
    const found = await lstat(path)
    if (!found.isFile() || found.nlink > 1) return `${name} is a link or no file` // the runtime would follow it out of the folder
    if (found.size !== bytes) return `${name} has ${found.size} bytes instead of ${bytes}`
    if (found.mtimeMs !== mtimeMs) return `${name} was written to`
    const file = await open(path, 'r')
    try {
      for (const index of someOf(chunks.length)) {
        if (hashOf(await readChunk(file, index * CHUNK, bytes)) !== chunks[index]) return `${name} is damaged`
      }
    } finally {
      await file.close()
    }
    return null
  } catch (error) {
    return `${name} cannot be read: ${(error as Error).message}`
  }
}

/** First, last, and some between; all of a short list. */
function someOf(count: number): number[] {
  if (count <= SAMPLES) return Array.from({ length: count }, (_, index) => index)
  const chosen = new Set([0, count - 1])
  while (chosen.size < SAMPLES) chosen.add(randomInt(count))
  return [...chosen].sort((a, b) => a - b)
}

async function readChunk(file: FileHandle, at: number, size: number): Promise<Buffer> {
  const chunk = Buffer.allocUnsafe(Math.min(CHUNK, size - at))
  const { bytesRead } = await file.read(chunk, 0, chunk.length, at)
  return chunk.subarray(0, bytesRead)
}

const hashOf = (chunk: Buffer): string => createHash('sha256').update(chunk).digest('hex').slice(0, 16)
