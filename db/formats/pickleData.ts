/**
 * Pickles that hold plain data: numbers, text, lists, tuples and dictionaries. Nothing is imported, called or built; any
 * operation that could is refused. The checkpoint reader of `native-models` knows tensors and torch's own calls instead,
 * and none of the older operations (protocol 0 to 5) that data sets were written with.
 */
import { DbError } from '../errors.ts'

export type PickleValue = null | boolean | number | string | PickleValue[] | Map<PickleValue, PickleValue>

const MAX_VALUES = 20_000_000
const MAX_MARKS = 64
const MARK = Symbol('mark')
type Slot = PickleValue | typeof MARK

/** @throws INVALID_INPUT for an operation that is more than data, or a file that is broken */
export function readPickle(bytes: Uint8Array, file: string): PickleValue {
  return new DataUnpickler(bytes, file).run()
}

class DataUnpickler {
  readonly #bytes: Uint8Array
  readonly #view: DataView
  readonly #file: string
  #at = 0
  readonly #stack: Slot[] = []
  readonly #memo = new Map<number, PickleValue>()
  #marks = 0
  #values = 0

  constructor(bytes: Uint8Array, file: string) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#file = file
  }

  run(): PickleValue {
    while (true) {
      const code = this.#bytes[this.#skip(1)] as number
      if (code === 0x2e) {
        if (this.#stack.length !== 1) throw this.#broken('stops with values left over')
        return this.#pop()
      }
      const value = this.#valueOf(code)
      if (value !== undefined) this.#push(value)
      else this.#act(code)
    }
  }

  /** The value that an operation pushes; undefined for those that do something else. */
  #valueOf(code: number): PickleValue | undefined {
    switch (code) {
      case 0x4e: // NONE
        return null
      case 0x88: // NEWTRUE
      case 0x89: // NEWFALSE
        return code === 0x88
      case 0x49: {
        // INT, and the truth values of protocol 0
        const line = this.#line()
        return line === '01' ? true : line === '00' ? false : this.#number(line)
      }
      case 0x4c: // LONG
        return this.#number(this.#line().replace(/L$/, ''))
      case 0x46: // FLOAT
        return this.#number(this.#line())
      case 0x4a: // BININT
        return this.#view.getInt32(this.#skip(4), true)
      case 0x4b: // BININT1
        return this.#bytes[this.#skip(1)] as number
      case 0x4d: // BININT2
        return this.#view.getUint16(this.#skip(2), true)
      case 0x8a: // LONG1
        return this.#long(this.#bytes[this.#skip(1)] as number)
      case 0x47: // BINFLOAT
        return this.#view.getFloat64(this.#skip(8), false)
      case 0x53: // STRING
        return this.#quoted(this.#line())
      case 0x56: // UNICODE
        // Latin-1, and the rest by their numbers
        return this.#line().replace(/\\u([0-9a-fA-F]{4})|\\U([0-9a-fA-F]{8})/g, (_, short?: string, long?: string) =>
          String.fromCodePoint(Math.min(0x10ffff, Number.parseInt(short ?? long ?? '0', 16))),
        )
      case 0x55: // SHORT_BINSTRING
      case 0x8c: // SHORT_BINUNICODE
        return this.#text(this.#bytes[this.#skip(1)] as number)
      case 0x54: // BINSTRING
      case 0x58: // BINUNICODE
        return this.#text(this.#view.getUint32(this.#skip(4), true))
      case 0x5d: // EMPTY_LIST
      case 0x29: // EMPTY_TUPLE
        return []
      case 0x7d: // EMPTY_DICT
        return new Map()
      case 0x85: // TUPLE1
      case 0x86: // TUPLE2
      case 0x87: // TUPLE3
        return this.#popMany(code - 0x84)
      case 0x74: // TUPLE
      case 0x6c: // LIST
        return this.#popToMark()
      case 0x64: {
        // DICT
        const table = new Map<PickleValue, PickleValue>()
        this.#setItems(table, this.#popToMark())
        return table
      }
      case 0x67: // GET
        return this.#recall(this.#number(this.#line()))
      case 0x68: // BINGET
        return this.#recall(this.#bytes[this.#skip(1)] as number)
      case 0x6a: // LONG_BINGET
        return this.#recall(this.#view.getUint32(this.#skip(4), true))
      default:
        return undefined
    }
  }

  #act(code: number): void {
    switch (code) {
      case 0x80: // PROTO
        if ((this.#bytes[this.#skip(1)] as number) > 5) throw this.#broken('is of a newer protocol')
        return
      case 0x95: // FRAME
        this.#skip(8)
        return
      case 0x28: // MARK
        if (++this.#marks > MAX_MARKS) throw this.#broken('is nested too deeply')
        this.#stack.push(MARK)
        return
      case 0x30: // POP
        this.#pop()
        return
      case 0x70: // PUT
        this.#memo.set(this.#number(this.#line()), this.#top())
        return
      case 0x71: // BINPUT
        this.#memo.set(this.#bytes[this.#skip(1)] as number, this.#top())
        return
      case 0x72: // LONG_BINPUT
        this.#memo.set(this.#view.getUint32(this.#skip(4), true), this.#top())
        return
      case 0x94: // MEMOIZE
        this.#memo.set(this.#memo.size, this.#top())
        return
      case 0x61: // APPEND
        this.#append(this.#popMany(1))
        return
      case 0x65: // APPENDS
        this.#append(this.#popToMark())
        return
      case 0x73: // SETITEM
        this.#set(this.#popMany(2))
        return
      case 0x75: // SETITEMS
        this.#set(this.#popToMark())
        return
      default:
        throw this.#broken(`uses the operation 0x${code.toString(16)}, which plain data does not need`)
    }
  }

  #set(items: PickleValue[]): void {
    const table = this.#top()
    if (!(table instanceof Map)) throw this.#broken('sets items of something other than a dictionary')
    this.#setItems(table, items)
  }

  #setItems(table: Map<PickleValue, PickleValue>, items: PickleValue[]): void {
    for (let index = 0; index + 1 < items.length; index += 2) {
      table.set(items[index] as PickleValue, items[index + 1] as PickleValue)
    }
  }

  #append(items: PickleValue[]): void {
    const list = this.#top()
    if (!Array.isArray(list)) throw this.#broken('appends to something other than a list')
    for (const item of items) list.push(item)
  }

  #push(value: PickleValue): void {
    if (++this.#values > MAX_VALUES) throw this.#broken('holds too many values')
    this.#stack.push(value)
  }

  #number(text: string): number {
    const value = text.trim() === '' ? Number.NaN : Number(text)
    if (Number.isNaN(value)) throw this.#broken('holds a number that is none')
    return value
  }

  #long(length: number): number {
    const start = this.#skip(length)
    let value = 0n
    for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(this.#bytes[start + i] as number)
    return length === 0 ? 0 : Number(BigInt.asIntN(length * 8, value))
  }

  /** Python's `'it\\'s'`, with the sequences that its writer makes; bytes are taken as UTF-8. */
  #quoted(line: string): string {
    const quote = line[0]
    if (line.length < 2 || (quote !== "'" && quote !== '"') || line.at(-1) !== quote)
      throw this.#broken('holds text without quotes')
    const plain: Record<string, string> = { n: '\n', r: '\r', t: '\t', '\\': '\\', "'": "'", '"': '"' }
    const raw = line
      .slice(1, -1)
      .replace(/\\(x[0-9a-f]{2}|.)/gi, (_, sequence: string) =>
        sequence[0] === 'x' && sequence.length === 3
          ? String.fromCharCode(Number.parseInt(sequence.slice(1), 16))
          : (plain[sequence] ?? sequence),
      )
    return Buffer.from(raw, 'latin1').toString('utf8')
  }

  #text(length: number): string {
    const start = this.#skip(length)
    return new TextDecoder().decode(this.#bytes.subarray(start, start + length))
  }

  #line(): string {
    const end = this.#bytes.indexOf(0x0a, this.#at)
    if (end < 0) throw this.#broken('ends early')
    const start = this.#at
    this.#at = end + 1
    return Buffer.from(this.#bytes.subarray(start, end)).toString('latin1').replace(/\r$/, '')
  }

  #recall(index: number): PickleValue {
    const value = this.#memo.get(index)
    if (value === undefined) throw this.#broken('recalls a value it never stored')
    return value
  }

  #top(): PickleValue {
    const value = this.#stack.at(-1)
    if (value === undefined || value === MARK) throw this.#broken('runs out of values')
    return value as PickleValue
  }

  #pop(): PickleValue {
    const value = this.#top()
    this.#stack.pop()
    return value
  }

  #popMany(count: number): PickleValue[] {
    const values = this.#stack.slice(this.#stack.length - count)
    if (values.length < count || values.includes(MARK)) throw this.#broken('runs out of values')
    this.#stack.length -= count
    return values as PickleValue[]
  }

  #popToMark(): PickleValue[] {
    const mark = this.#stack.lastIndexOf(MARK)
    if (mark < 0) throw this.#broken('closes what it never opened')
    const values = this.#stack.slice(mark + 1)
    this.#stack.length = mark
    this.#marks--
    return values as PickleValue[]
  }

  #skip(count: number): number {
    const start = this.#at
    this.#at += count
    if (this.#at > this.#bytes.length) throw this.#broken('ends early')
    return start
  }

  #broken(reason: string): DbError {
    return new DbError('INVALID_INPUT', `${this.#file} ${reason} (byte ${this.#at}).`)
  }
}

/** Plain JSON values as a pickle of protocol 2, which every Python reads. */
export function writePickle(value: unknown): Buffer {
  const parts: Buffer[] = [Buffer.from([0x80, 2])]
  const op = (code: number, ...rest: Buffer[]): void => void parts.push(Buffer.from([code]), ...rest)
  const fixed = (size: number, fill: (buffer: Buffer) => void): Buffer => {
    const buffer = Buffer.alloc(size)
    fill(buffer)
    return buffer
  }
  const put = (item: unknown): void => {
    if (item === null || item === undefined) op(0x4e)
    else if (typeof item === 'boolean') op(item ? 0x88 : 0x89)
    else if (typeof item === 'number') {
      if (Number.isInteger(item) && Math.abs(item) < 2 ** 31)
        op(
          0x4a,
          fixed(4, (buffer) => buffer.writeInt32LE(item)),
        )
      else
        op(
          0x47,
          fixed(8, (buffer) => buffer.writeDoubleBE(item)),
        )
    } else if (typeof item === 'string') {
      const text = Buffer.from(item, 'utf8')
      op(
        0x58,
        fixed(4, (buffer) => buffer.writeUInt32LE(text.length)),
        text,
      )
    } else if (Array.isArray(item)) {
      op(0x5d)
      op(0x28)
      for (const entry of item) put(entry)
      op(0x65)
    } else {
      op(0x7d)
      op(0x28)
      for (const [key, entry] of Object.entries(item)) {
        put(key)
        put(entry)
      }
      op(0x75)
    }
  }
  put(value)
  op(0x2e)
  return Buffer.concat(parts)
}
