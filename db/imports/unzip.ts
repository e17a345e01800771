/** Zip files of other programs, unpacked beside: names that lead out, links, bombs and doubles are refused. */
import { createWriteStream } from 'node:fs'
import { mkdir, mkdtemp, readdir, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import yauzl from 'yauzl'
import { freeBytes } from '../ballast.ts'
import { DbError, throwIfAborted, toDbError } from '../errors.ts'
import { readHead } from '../formats/textFile.ts'
import { isRunning } from '../isRunning.ts'

const MAX_FILES = 2_000_000
/** A zip that grows more than this is a bomb, above a size that hurts nobody. */
const MAX_GROWTH = 200
const HARMLESS_BYTES = 256 * 1024 * 1024
const SYMLINK = 0o120000

export interface UnzipOptions {
  signal?: AbortSignal | undefined
  onProgress?: ((progress: { done: number; total: number | null; note: string }) => void) | undefined
}

export const isZip = (path: string): boolean => readHead(path, 4).startsWith('PK\u0003\u0004')

function refuse(path: string, why: string): DbError {
  return new DbError('INVALID_INPUT', `${basename(path)} ${why}. Nothing was unpacked.`)
}

function checkEntry(path: string, entry: yauzl.Entry, seen: Set<string>): void {
  const name = entry.fileName
  const bad = yauzl.validateFileName(name)
  if (bad !== null) throw refuse(path, `holds a file name that leads elsewhere (${JSON.stringify(name.slice(0, 100))})`)
  if (((entry.externalFileAttributes >>> 16) & 0o170000) === SYMLINK)
    throw refuse(path, `holds a link (${name.slice(0, 100)})`)
  if (entry.isEncrypted()) throw refuse(path, 'is locked with a password')
  const folded = name.normalize('NFC').toLowerCase()
  if (seen.has(folded)) throw refuse(path, `holds ${name.slice(0, 100)} twice, but for upper and lower case`)
  seen.add(folded)
}

/** Every entry, checked, before a byte is written. */
async function listEntries(path: string, file: yauzl.ZipFile): Promise<yauzl.Entry[]> {
  const entries: yauzl.Entry[] = []
  const seen = new Set<string>()
  let total = 0
  for await (const entry of file.eachEntry()) {
    if (entries.length >= MAX_FILES) throw refuse(path, `holds more than ${MAX_FILES} files`)
    checkEntry(path, entry, seen)
    total += entry.uncompressedSize
    entries.push(entry)
  }
  const packed = (await stat(path)).size
  if (total > HARMLESS_BYTES && total > packed * MAX_GROWTH)
    throw refuse(path, `would grow from ${packed} to ${total} bytes`)
  const free = freeBytes(tmpdir())
  if (free !== null && total > free)
    throw new DbError('DISK_FULL', `${basename(path)} needs ${total} bytes to unpack, ${free} are free.`)
  return entries
}

const PREFIX = 'gromatic-import-'

/** Removes what a process that was killed had unpacked. */
async function sweep(): Promise<void> {
  for (const name of await readdir(tmpdir())) {
    const pid = new RegExp(`^${PREFIX}(\\d+)-`).exec(name)?.[1]
    if (pid !== undefined && !isRunning(Number(pid)))
      await rm(join(tmpdir(), name), { recursive: true, force: true }).catch(() => undefined)
  }
}

/**
 * Unpacks a zip into a temporary folder and hands it to `use`; the folder is gone afterwards.
 * @throws INVALID_INPUT for a zip that is broken or hostile, DISK_FULL, CANCELLED, IO_FAILED, and what `use` throws
 */
export async function withUnzipped<T>(
  path: string,
  options: UnzipOptions,
  use: (folder: string) => Promise<T>,
): Promise<T> {
  await sweep()
  const folder = await mkdtemp(join(tmpdir(), `${PREFIX}${process.pid}-`))
  try {
    await unpack(path, folder, options).catch((error: unknown) => {
      throw error instanceof DbError
        ? error
        : new DbError(
            'INVALID_INPUT',
            `${basename(path)} cannot be unpacked: ${toDbError(error, '').message.replace(/^: /, '')}`,
          )
    })
    return await use(folder)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function unpack(path: string, folder: string, { signal, onProgress }: UnzipOptions): Promise<void> {
  const file = await yauzl.openPromise(path, { autoClose: false, validateEntrySizes: true })
  try {
    const entries = await listEntries(path, file)
    for (const [index, entry] of entries.entries()) {
      throwIfAborted(signal, 'The import')
      if (entry.fileName.endsWith('/')) continue
      const target = join(folder, entry.fileName)
      await mkdir(dirname(target), { recursive: true })
      const stream = await file.openReadStreamPromise(entry)
      await pipeline(stream, createWriteStream(target, { flags: 'wx' }))
      if (index % 16 === 0) onProgress?.({ done: index, total: entries.length, note: `Unpacking ${entry.fileName}` })
    }
  } finally {
    file.close()
  }
}
