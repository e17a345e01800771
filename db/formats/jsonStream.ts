/**
 * Reads JSON files larger than memory: finds where the entries of the outermost lists begin and end, byte by byte, and
 * hands each to JSON.parse. A million COCO annotations (172 MB) take 2.3 s where @streamparser/json, which makes a token
 * of every bracket, takes 7.8 s.
 */
import { DbError } from '../errors.ts'

export interface JsonEntry {
  /** Key of the outermost object, '' when the file is a list. */
  list: string
  /** Place in the list; null when the key holds a single value. */
  index: number | null
  /** What JSON.parse made of it; meaningless when `error` is set. */
  value: unknown
  /** Why this entry could not be read; the others can. */
  error?: string
}

export interface JsonLimits {
  entryBytes: number
  depth: number
}
const LIMITS: JsonLimits = { entryBytes: 64 * 1024 * 1024, depth: 32 }

const QUOTE = 0x22
const BACKSLASH = 0x5c
const COMMA = 0x2c
const COLON = 0x3a
const OPEN_OBJECT = 0x7b
const CLOSE_OBJECT = 0x7d
const OPEN_LIST = 0x5b
const CLOSE_LIST = 0x5d
const isSpace = (byte: number): boolean => byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09

/** Bytes of a file, seen through a window that is refilled in place and forgets what was read. */
class Window {
  #storage: Buffer = Buffer.allocUnsafe(4 * 1024 * 1024)
  #filled = 0
  /** Where the window begins in the file. */
  #base = 0
  position = 0
  readonly #chunks: Iterator<Buffer>
  readonly #limit: number
  readonly #file: string

  constructor(chunks: Iterable<Buffer>, file: string, limit: number) {
    this.#chunks = chunks[Symbol.iterator]()
    this.#file = file
    this.#limit = limit
  }

  /** Lets go of the file, however much of it was read. */
  close(): void {
    this.#chunks.return?.()
  }

  get buffer(): Buffer {
    return this.#storage
  }

  /** How much of the buffer is the file's. */
  get length(): number {
    return this.#filled
  }

  /** Adds a chunk, keeping what lies from `keepFrom` on; returns how far positions moved to the left, -1 at the end of the file. */
  grow(keepFrom: number): number {
    const next = this.#chunks.next()
    if (next.done === true) return -1
    const kept = this.#filled - keepFrom
    if (kept > this.#limit) throw this.broken(`holds an entry of more than ${this.#limit >> 20} MB`, keepFrom)
    const needed = kept + next.value.length
    if (needed > this.#storage.length) {
      const larger = Buffer.allocUnsafe(needed * 2)
      this.#storage.copy(larger, 0, keepFrom, this.#filled)
      this.#storage = larger
    } else this.#storage.copyWithin(0, keepFrom, this.#filled)
    next.value.copy(this.#storage, kept)
    this.#filled = needed
    this.#base += keepFrom
    this.position -= keepFrom
    return keepFrom
  }

  /** The next byte that is no space, not consumed; -1 at the end. */
  peek(): number {
    while (true) {
      while (this.position < this.#filled) {
        const byte = this.#storage[this.position] as number
        if (!isSpace(byte)) return byte
        this.position++
      }
      if (this.grow(this.position) < 0) return -1
    }
  }

  broken(reason: string, position = this.position): DbError {
    return new DbError('INVALID_INPUT', `${this.#file} ${reason} (byte ${this.#base + position}).`)
  }
}

/** Moves past one value and returns where it began; strings are skipped, brackets counted, nothing else is looked at. */
function skipValue(window: Window, limits: JsonLimits): number {
  let start = window.position
  let depth = 0
  let inString = false
  let begun = false
  while (true) {
    const { buffer, length } = window
    let at = window.position
    while (at < length) {
      const byte = buffer[at] as number
      if (inString) {
        if (byte === QUOTE) {
          inString = false
          if (depth === 0) {
            window.position = at + 1
            return start
          }
        } else if (byte === BACKSLASH) at++
      } else if (byte === QUOTE) {
        inString = true
        begun = true
      } else if (byte === OPEN_OBJECT || byte === OPEN_LIST) {
        if (++depth > limits.depth) throw window.broken(`is nested deeper than ${limits.depth} levels`, at)
      } else if (byte === CLOSE_OBJECT || byte === CLOSE_LIST) {
        if (depth === 0) {
          window.position = at // the end of what holds a number or a word
          return start
        }
        if (--depth === 0) {
          window.position = at + 1
          return start
        }
      } else if (depth === 0) {
        if (byte === COMMA || (begun && isSpace(byte))) {
          window.position = at
          return start
        }
        if (byte === 0) throw window.broken('is no text', at)
        begun = true
      }
      at++
    }
    window.position = at
    const moved = window.grow(start)
    if (moved < 0) {
      if (depth > 0 || inString) throw window.broken('ends in the middle of a value')
      return start
    }
    start = 0
  }
}

function parseEntry(text: string): { value: unknown } | { value: null; error: string } {
  try {
    return { value: JSON.parse(text) }
  } catch (error) {
    const spoken = /\b(NaN|-?Infinity)\b/.exec(text)
    return {
      value: null,
      error: spoken ? `holds ${spoken[0]}, which JSON does not know` : `is no JSON (${(error as Error).message})`,
    }
  }
}

function readKey(window: Window, limits: JsonLimits): string {
  if (window.peek() !== QUOTE) throw window.broken('lacks a name where one must be')
  const start = skipValue(window, limits)
  const parsed = parseEntry(window.buffer.toString('utf8', start, window.position))
  if ('error' in parsed || typeof parsed.value !== 'string') throw window.broken('has a name that cannot be read')
  if (window.peek() !== COLON) throw window.broken('lacks a colon after a name')
  window.position++
  return parsed.value
}

function* readValue(window: Window, limits: JsonLimits, list: string, index: number | null): Generator<JsonEntry> {
  if (window.peek() < 0) throw window.broken('ends in the middle')
  const start = skipValue(window, limits)
  const bytes = window.position - start
  if (bytes === 0) throw window.broken('lacks a value where one must be')
  if (bytes > limits.entryBytes) throw window.broken(`holds an entry of more than ${limits.entryBytes >> 20} MB`)
  yield { list, index, ...parseEntry(window.buffer.toString('utf8', start, window.position)) }
}

/** True when a comma follows, false when the bracket closes. */
function goesOn(window: Window, closing: number): boolean {
  const byte = window.peek()
  if (byte < 0) throw window.broken('ends before it is complete')
  if (byte !== COMMA && byte !== closing) throw window.broken('lacks a comma or a closing bracket')
  window.position++
  return byte === COMMA
}

function* readList(window: Window, limits: JsonLimits, list: string): Generator<JsonEntry> {
  window.position++
  if (window.peek() === CLOSE_LIST) {
    window.position++
    return
  }
  let index = 0
  do yield* readValue(window, limits, list, index++)
  while (goesOn(window, CLOSE_LIST))
}

function* readObject(window: Window, limits: JsonLimits): Generator<JsonEntry> {
  window.position++
  if (window.peek() === CLOSE_OBJECT) {
    window.position++
    return
  }
  do {
    const key = readKey(window, limits)
    if (window.peek() === OPEN_LIST) yield* readList(window, limits, key)
    else yield* readValue(window, limits, key, null)
  } while (goesOn(window, CLOSE_OBJECT))
}

/**
 * Yields the entries of a JSON file: of its outermost list, or of the lists of its outermost object (single values
 * whole). An entry that is no JSON comes with its `error`; the file goes on behind it.
 * @param chunks UTF-8, cut anywhere; each is done with when the next is asked for
 * @throws INVALID_INPUT for a file whose outer shape is not JSON, that ends early, is nested too deeply or holds an entry too large
 */
export function* readJson(chunks: Iterable<Buffer>, file: string, limits: JsonLimits = LIMITS): Generator<JsonEntry> {
  const window = new Window(chunks, file, limits.entryBytes)
  try {
    const first = window.peek()
    if (first < 0) throw new DbError('INVALID_INPUT', `${file} is empty.`)
    if (first === OPEN_LIST) yield* readList(window, limits, '')
    else if (first === OPEN_OBJECT) yield* readObject(window, limits)
    else throw window.broken('is not a JSON file of lists')
    if (window.peek() >= 0) throw window.broken('goes on after its end')
  } finally {
    window.close()
  }
}
