import { GromaError } from '../errors.ts'
import { allowedGlobals, isKind, type PickledTensor, resultOfCall, storageOf, type Value } from './torchObjects.ts'

const limits = { pickleBytes: 32 * 1024 * 1024, memo: 1_000_000, stack: 1_000_000, depth: 64 }

/**
 * Reads the `data.pkl` of a torch zip as a table of tensors. Nothing is imported, built or executed: globals are compared
 * with a short list of names, and the few calls that torch's own writer makes are understood symbolically.
 * @throws CHECKPOINT_INVALID for any other opcode, global, call or shape; CHECKPOINT_TRUNCATED when it ends early
 */
export function readStateDict(bytes: Uint8Array, file: string): Map<string, PickledTensor> {
  if (bytes.length > limits.pickleBytes) throw invalid(file, `its table of tensors takes ${bytes.length} bytes`)
  const root = new Unpickler(bytes, file).run()
  if (!(root instanceof Map)) throw invalid(file, 'holds no table of tensors')
  const tensors = new Map<string, PickledTensor>()
  for (const [name, value] of root) {
    if (typeof name !== 'string') throw invalid(file, 'names a tensor by something other than text')
    if (!isKind(value, 'tensor')) throw invalid(file, `${name.slice(0, 200)} is not a tensor`)
    tensors.set(name, value as PickledTensor)
  }
  return tensors
}

class Unpickler {
  private readonly bytes: Uint8Array
  private readonly view: DataView
  private readonly file: string
  private position = 0
  private readonly stack: Value[] = []
  private readonly marks: number[] = []
  private readonly memo = new Map<number, Value>()

  constructor(bytes: Uint8Array, file: string) {
    this.bytes = bytes
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.file = file
  }

  run(): Value {
    for (;;) {
      const opcode = this.bytes[this.skip(1)]!
      if (opcode === 0x2e /* STOP */) {
        if (this.stack.length !== 1 || this.marks.length !== 0) throw this.broken('stops with values left over')
        return this.pop()
      }
      this.execute(opcode)
      if (this.stack.length > limits.stack) throw this.broken('needs too large a stack')
    }
  }

  private execute(opcode: number): void {
    const value = this.valueFor(opcode)
    if (value !== undefined) {
      this.stack.push(value)
      return
    }
    switch (opcode) {
      case 0x80: // PROTO
        if (this.bytes[this.skip(1)] !== 2) throw this.broken('uses an unknown protocol')
        break
      case 0x71: // BINPUT
        this.put(this.bytes[this.skip(1)]!)
        break
      case 0x72: // LONG_BINPUT
        this.put(this.view.getUint32(this.skip(4), true))
        break
      case 0x28: // MARK
        if (this.marks.length >= limits.depth) throw this.broken('is nested too deeply')
        this.marks.push(this.stack.length)
        break
      case 0x62: // BUILD: torch hangs `_metadata` on the table, which carries no numbers
        this.pop()
        if (!(this.top() instanceof Map)) throw this.broken('sets attributes on something other than a table')
        break
      case 0x73: // SETITEM
        this.setItems(this.popMany(2))
        break
      case 0x75: // SETITEMS
        this.setItems(this.popToMark())
        break
      case 0x61: // APPEND
        this.append(this.popMany(1))
        break
      case 0x65: // APPENDS
        this.append(this.popToMark())
        break
      default:
        throw this.broken(`uses the pickle operation 0x${opcode.toString(16)}, which torch never writes`)
    }
  }

  /** The value that an operation puts on the stack; undefined for operations that do something else. */
  private valueFor(opcode: number): Value | undefined {
    switch (opcode) {
      case 0x63: // GLOBAL
        return this.global()
      case 0x68: // BINGET
        return this.recall(this.bytes[this.skip(1)]!)
      case 0x6a: // LONG_BINGET
        return this.recall(this.view.getUint32(this.skip(4), true))
      case 0x29: // EMPTY_TUPLE
        return { kind: 'tuple', items: [] }
      case 0x5d: // EMPTY_LIST
        return []
      case 0x7d: // EMPTY_DICT
        return new Map()
      case 0x74: // TUPLE
        return { kind: 'tuple', items: this.popToMark() }
      case 0x85: // TUPLE1
      case 0x86: // TUPLE2
      case 0x87: // TUPLE3
        return { kind: 'tuple', items: this.popMany(opcode - 0x84) }
      case 0x58: // BINUNICODE
        return this.text(this.view.getUint32(this.skip(4), true), 'utf-8')
      case 0x55: // SHORT_BINSTRING
        return this.text(this.bytes[this.skip(1)]!, 'latin1')
      case 0x4a: // BININT
        return this.view.getInt32(this.skip(4), true)
      case 0x4b: // BININT1
        return this.bytes[this.skip(1)]!
      case 0x4d: // BININT2
        return this.view.getUint16(this.skip(2), true)
      case 0x8a: // LONG1
        return this.long()
      case 0x47: // BINFLOAT
        return this.view.getFloat64(this.skip(8), false)
      case 0x88: // NEWTRUE
        return true
      case 0x89: // NEWFALSE
        return false
      case 0x4e: // NONE
        return null
      case 0x51: // BINPERSID
        return storageOf(this.pop(), (reason) => this.broken(reason))
      case 0x52: {
        // REDUCE
        const args = this.pop()
        return resultOfCall(this.pop(), args, (reason) => this.broken(reason))
      }
      default:
        return undefined
    }
  }

  private global(): Value {
    const name = `${this.line()} ${this.line()}`
    if (!allowedGlobals.has(name))
      throw this.broken(`refers to ${JSON.stringify(name.slice(0, 120))}, which is not allowed`)
    return { kind: 'global', name }
  }

  private setItems(items: Value[]): void {
    const table = this.top()
    if (!(table instanceof Map) || items.length % 2 !== 0)
      throw this.broken('sets items of something other than a table')
    for (let i = 0; i < items.length; i += 2) {
      const key = items[i]!
      if (typeof key !== 'string' && typeof key !== 'number')
        throw this.broken('names an item by something other than text')
      if (table.has(key)) throw this.broken(`names ${JSON.stringify(key).slice(0, 120)} twice`)
      table.set(key, items[i + 1]!)
    }
  }

  private append(items: Value[]): void {
    const list = this.top()
    if (!Array.isArray(list)) throw this.broken('appends to something other than a list')
    for (const item of items) list.push(item)
  }

  private long(): number {
    const length = this.bytes[this.skip(1)]!
    const start = this.skip(length)
    let value = 0n
    for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(this.bytes[start + i]!)
    return Number(BigInt.asIntN(Math.max(8, length * 8), value))
  }

  private text(length: number, encoding: 'utf-8' | 'latin1'): string {
    const start = this.skip(length)
    try {
      return new TextDecoder(encoding, { fatal: true }).decode(this.bytes.subarray(start, start + length))
    } catch {
      throw this.broken('holds text that is not UTF-8')
    }
  }

  private line(): string {
    const end = this.bytes.subarray(this.position, this.position + 256).indexOf(0x0a)
    if (end < 0) throw this.broken('holds a name without an end')
    return this.text(end + 1, 'latin1').slice(0, -1)
  }

  private put(index: number): void {
    if (this.memo.size >= limits.memo) throw this.broken('remembers too many values')
    this.memo.set(index, this.top())
  }

  private recall(index: number): Value {
    const value = this.memo.get(index)
    if (value === undefined) throw this.broken('recalls a value it never stored')
    return value
  }

  private top(): Value {
    if (this.stack.length <= (this.marks.at(-1) ?? 0)) throw this.broken('runs out of values')
    return this.stack.at(-1)!
  }

  private pop(): Value {
    this.top()
    return this.stack.pop()!
  }

  private popMany(count: number): Value[] {
    if (this.stack.length - count < (this.marks.at(-1) ?? 0)) throw this.broken('runs out of values')
    return this.stack.splice(this.stack.length - count)
  }

  private popToMark(): Value[] {
    const mark = this.marks.pop()
    if (mark === undefined) throw this.broken('closes what it never opened')
    return this.stack.splice(mark)
  }

  /** Moves past `count` bytes and returns where they start. */
  private skip(count: number): number {
    const start = this.position
    this.position += count
    if (this.position > this.bytes.length) {
      throw new GromaError('CHECKPOINT_TRUNCATED', `${this.file}: its table of tensors ends early`)
    }
    return start
  }

  private broken(reason: string): GromaError {
    return invalid(this.file, `its table of tensors ${reason}`)
  }
}

function invalid(file: string, reason: string): GromaError {
  return new GromaError('CHECKPOINT_INVALID', `${file}: ${reason}`)
}
