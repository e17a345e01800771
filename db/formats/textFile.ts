/** Reading files of other programs: in pieces, whatever their encoding, never out of the folder that was given. */
import { isUtf8 } from 'node:buffer'
import { closeSync, fstatSync, lstatSync, openSync, readdirSync, readSync, realpathSync, statSync } from 'node:fs'
import { join, relative, sep } from 'node:path'
import { DbError, toDbError } from '../errors.ts'
import { naturalSortKey } from '../sortKey.ts'

const CHUNK_BYTES = 1024 * 1024

/** What a reader reads from, and where it says how far it is. */
export interface ImportInput {
  /** Absolute path of the file or folder. */
  path: string
  isFolder: boolean
  /** Of results: the COCO file whose images and classes they number, or `project` for the project's own numbers. */
  instances?: string | undefined
  /** Told of bytes read, and whether they are text in UTF-8; may throw to stop. */
  onBytes: OnBytes
}

export type OnBytes = (bytes: number, isText: boolean) => void

type Encoding = 'utf-8' | 'utf-16le' | 'utf-16be'

/** Without a letter that is cut in the middle at the end, which the next chunk completes. */
function wholeLetters(chunk: Buffer): Buffer {
  for (let back = 1; back <= 3 && back <= chunk.length; back++) {
    const byte = chunk[chunk.length - back] as number
    if (byte < 0x80) break
    if (byte < 0xc0) continue // inside of a letter
    const letter = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2
    return letter > back ? chunk.subarray(0, chunk.length - back) : chunk
  }
  return chunk
}

/** Chunks of UTF-8 are so however they are cut. */
function isText(chunk: Buffer): boolean {
  let start = 0
  while (start < 3 && start < chunk.length && ((chunk[start] as number) & 0xc0) === 0x80) start++
  return isUtf8(wholeLetters(chunk.subarray(start)))
}

function encodingOf(head: Buffer): { encoding: Encoding; skip: number } {
  if (head[0] === 0xff && head[1] === 0xfe) return { encoding: 'utf-16le', skip: 2 }
  if (head[0] === 0xfe && head[1] === 0xff) return { encoding: 'utf-16be', skip: 2 }
  if (head[0] === 0xef && head[1] === 0xbb && head[2] === 0xbf) return { encoding: 'utf-8', skip: 3 }
  return { encoding: 'utf-8', skip: 0 }
}

/** The bytes of a file in pieces (each good until the next is asked for), in UTF-8 and without a byte order mark. `declared`: the encoding of a file without one. @throws NOT_FOUND, READ_ONLY, IO_FAILED */
export function* readBytes(path: string, onBytes: OnBytes = () => {}, declared?: string): Generator<Buffer> {
  let handle: number
  try {
    handle = openSync(path, 'r')
  } catch (error) {
    throw toDbError(error, `${path} cannot be read`)
  }
  try {
    if (!fstatSync(handle).isFile()) throw new DbError('INVALID_INPUT', `${path} is not a file.`)
    let decoder: InstanceType<typeof TextDecoder> | null = null
    const buffer = Buffer.allocUnsafe(CHUNK_BYTES)
    for (let first = true; ; first = false) {
      const bytes = readSync(handle, buffer, 0, buffer.length, null)
      if (bytes === 0) break
      let chunk = buffer.subarray(0, bytes)
      if (first) {
        const { encoding, skip } = encodingOf(chunk)
        chunk = chunk.subarray(skip)
        if (encoding !== 'utf-8') decoder = new TextDecoder(encoding, { ignoreBOM: true })
        else if (declared !== undefined && skip === 0) decoder = new TextDecoder(declared)
      }
      onBytes(bytes, decoder !== null || isText(chunk))
      yield decoder === null ? chunk : Buffer.from(decoder.decode(chunk, { stream: true }), 'utf8')
    }
    const rest = decoder?.decode() ?? ''
    if (rest !== '') yield Buffer.from(rest, 'utf8')
  } catch (error) {
    throw toDbError(error, `${path} could not be read`)
  } finally {
    closeSync(handle)
  }
}

/** The text of a file in pieces; bytes that are no UTF-8 become the replacement character. */
export function* readTextPieces(path: string, onBytes?: OnBytes, declared?: string): Generator<string> {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true })
  for (const chunk of readBytes(path, onBytes, declared)) yield decoder.decode(chunk, { stream: true })
  const rest = decoder.decode()
  if (rest !== '') yield rest
}

/** Also of old Macs; a `\r` at the end of a piece may be half of a `\r\n`. */
const LINE_END = /\r\n|\n|\r(?!$)/

/** The lines of a file with their numbers from 1, however they end. A line of more than 64 MB is refused. */
export function* readLines(path: string, onBytes?: OnBytes): Generator<{ line: string; number: number }> {
  let open = ''
  let number = 0
  for (const piece of readTextPieces(path, onBytes)) {
    const lines = (open + piece).split(LINE_END)
    open = lines.pop() ?? ''
    if (open.length > 64 * 1024 * 1024) throw new DbError('INVALID_INPUT', `${path} line ${number + 1} is too long.`)
    for (const line of lines) yield { line, number: ++number }
  }
  if (open !== '') yield { line: open.endsWith('\r') ? open.slice(0, -1) : open, number: number + 1 }
}

/** A small text file whole. @throws INVALID_INPUT above `limit` bytes, NOT_FOUND, IO_FAILED */
export function readText(path: string, onBytes?: OnBytes, limit = 64 * 1024 * 1024): string {
  try {
    if (statSync(path).size > limit) throw new DbError('INVALID_INPUT', `${path} has more than ${limit >> 20} MB.`)
  } catch (error) {
    throw toDbError(error, `${path} cannot be read`)
  }
  return [...readTextPieces(path, onBytes)].join('')
}

/** The first bytes of a file as text, for guessing what it is; '' when it cannot be read. */
export function readHead(path: string, bytes = 65_536): string {
  try {
    const handle = openSync(path, 'r')
    try {
      const buffer = Buffer.alloc(bytes)
      const head = buffer.subarray(0, readSync(handle, buffer, 0, bytes, 0))
      const { encoding, skip } = encodingOf(head)
      return new TextDecoder(encoding, { ignoreBOM: true }).decode(head.subarray(skip))
    } finally {
      closeSync(handle)
    }
  } catch {
    return ''
  }
}

/** The last bytes of a file as text; '' when it cannot be read. */
export function readTail(path: string, bytes: number): string {
  try {
    const handle = openSync(path, 'r')
    try {
      const { size } = fstatSync(handle)
      const buffer = Buffer.alloc(Math.min(bytes, size))
      readSync(handle, buffer, 0, buffer.length, size - buffer.length)
      return buffer.toString('utf8')
    } finally {
      closeSync(handle)
    }
  } catch {
    return ''
  }
}

const MAX_FILES = 5_000_000

/**
 * Names of the files below a folder, relative with `/`, in the order people count. Hidden ones and links that lead out
 * are passed over. @throws NOT_FOUND, READ_ONLY
 */
export function listFilesBelow(
  root: string,
  limit = MAX_FILES,
  wanted: (name: string) => boolean = () => true,
): string[] {
  const found: { name: string; key: string }[] = []
  const folders = ['']
  while (folders.length > 0) {
    const below = folders.pop() as string
    let entries: import('node:fs').Dirent[]
    try {
      entries = readdirSync(join(root, below), { withFileTypes: true })
    } catch (error) {
      throw toDbError(error, `The folder ${join(root, below)} cannot be read`)
    }
    for (const entry of entries) {
      if (entry.name.startsWith('.') || entry.name === '__MACOSX') continue
      const name = `${below}${entry.name}`
      if (entry.isDirectory()) folders.push(`${name}/`)
      else if (!wanted(name)) continue
      else if (entry.isFile() || isFileInside(root, name)) found.push({ name, key: naturalSortKey(name) })
      if (found.length >= limit) return sorted(found)
    }
  }
  return sorted(found)
}

const sorted = (found: { name: string; key: string }[]): string[] =>
  found.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : a.name < b.name ? -1 : 1)).map(({ name }) => name)

/** True for a file (or a link to one) that really lies below the folder. */
export function isFileInside(root: string, name: string): boolean {
  try {
    const home = realpathSync(root)
    const real = realpathSync(join(root, name))
    const below = relative(home, real)
    return below !== '' && !below.startsWith(`..${sep}`) && below !== '..' && lstatSync(real).isFile()
  } catch {
    return false
  }
}
