import { GromaError } from '../errors.ts'

/** One element type of torch; only the floating ones can be weights. */
export type StorageDtype = 'F32' | 'F16' | 'BF16' | 'F64' | 'I64' | 'I32' | 'I16' | 'I8' | 'U8' | 'BOOL'

/** A block of numbers that the zip holds as `data/<key>`. */
export interface PickledStorage {
  kind: 'storage'
  key: string
  dtype: StorageDtype
  /** elements */
  length: number
}

/** A strided view of a storage, as `torch._utils._rebuild_tensor_v2` would make it. */
export interface PickledTensor {
  kind: 'tensor'
  storage: PickledStorage
  /** elements */
  offset: number
  shape: number[]
  strides: number[]
}

interface Global {
  kind: 'global'
  name: string
}
interface Tuple {
  kind: 'tuple'
  items: Value[]
}
type Value =
  | number | string | boolean | null | Global | Tuple | Value[] | PickledStorage | PickledTensor | Map<Value, Value> // prettier-ignore

const storageTypes: ReadonlyMap<string, StorageDtype> = new Map([
  ['torch FloatStorage', 'F32'],
  ['torch HalfStorage', 'F16'],
  ['torch BFloat16Storage', 'BF16'],
  ['torch DoubleStorage', 'F64'],
  ['torch LongStorage', 'I64'],
  ['torch IntStorage', 'I32'],
  ['torch ShortStorage', 'I16'],
  ['torch CharStorage', 'I8'],
  ['torch ByteStorage', 'U8'],
  ['torch BoolStorage', 'BOOL'],
])
const orderedDict = 'collections OrderedDict'
const rebuildTensor = 'torch._utils _rebuild_tensor_v2'
const rebuildParameter = 'torch._utils _rebuild_parameter'
const allowedGlobals: ReadonlySet<string> = new Set([orderedDict, rebuildTensor, rebuildParameter, ...storageTypes.keys()])

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
    switch (opcode) {
      case 0x80: // PROTO
        if (this.bytes[this.skip(1)] !== 2) throw this.broken('uses an unknown protocol')
        return
      case 0x63: // GLOBAL
        return this.push(this.global())
      case 0x71: // BINPUT
        return this.put(this.bytes[this.skip(1)]!)
      case 0x72: // LONG_BINPUT
        return this.put(this.view.getUint32(this.skip(4), true))
      case 0x68: // BINGET
        return this.get(this.bytes[this.skip(1)]!)
      case 0x6a: // LONG_BINGET
        return this.get(this.view.getUint32(this.skip(4), true))
      case 0x28: // MARK
        if (this.marks.length >= limits.depth) throw this.broken('is nested too deeply')
        this.marks.push(this.stack.length)
        return
      case 0x29: // EMPTY_TUPLE
        return this.push({ kind: 'tuple', items: [] })
      case 0x5d: // EMPTY_LIST
        return this.push([])
      case 0x7d: // EMPTY_DICT
        return this.push(new Map())
      case 0x74: // TUPLE
        return this.push({ kind: 'tuple', items: this.popToMark() })
      case 0x85: // TUPLE1
      case 0x86: // TUPLE2
      case 0x87: // TUPLE3
        return this.push({ kind: 'tuple', items: this.popMany(opcode - 0x84) })
      case 0x58: // BINUNICODE
        return this.push(this.text(this.view.getUint32(this.skip(4), true), 'utf-8'))
      case 0x55: // SHORT_BINSTRING
        return this.push(this.text(this.bytes[this.skip(1)]!, 'latin1'))
      case 0x4a: // BININT
        return this.push(this.view.getInt32(this.skip(4), true))
      case 0x4b: // BININT1
        return this.push(this.bytes[this.skip(1)]!)
      case 0x4d: // BININT2
        return this.push(this.view.getUint16(this.skip(2), true))
      case 0x8a: // LONG1
        return this.push(this.long())
      case 0x47: // BINFLOAT
        return this.push(this.view.getFloat64(this.skip(8), false))
      case 0x88: // NEWTRUE
        return this.push(true)
      case 0x89: // NEWFALSE
        return this.push(false)
      case 0x4e: // NONE
        return this.push(null)
      case 0x51: // BINPERSID
        return this.push(this.storage(this.pop()))
      case 0x52: // REDUCE
        return this.reduce()
      case 0x62: // BUILD: torch hangs `_metadata` on the table, which carries no numbers
        this.pop()
        if (!(this.top() instanceof Map)) throw this.broken('sets attributes on something other than a table')
        return
      case 0x73: // SETITEM
        return this.setItems(this.popMany(2))
      case 0x75: // SETITEMS
        return this.setItems(this.popToMark())
      case 0x61: // APPEND
        return this.append(this.popMany(1))
      case 0x65: // APPENDS
        return this.append(this.popToMark())
      default:
        throw this.broken(`uses the pickle operation 0x${opcode.toString(16)}, which torch never writes`)
    }
  }

  private global(): Value {
    const name = `${this.line()} ${this.line()}`
    if (!allowedGlobals.has(name)) throw this.broken(`refers to ${JSON.stringify(name.slice(0, 120))}, which is not allowed`)
    return { kind: 'global', name }
  }

  private storage(id: Value): PickledStorage {
    const parts = isKind(id, 'tuple') ? (id as Tuple).items : []
    const [tag, type, key, , length] = parts
    const dtype = isKind(type, 'global') ? storageTypes.get((type as Global).name) : undefined
    if (parts.length !== 5 || tag !== 'storage' || !dtype || typeof key !== 'string' || !isCount(length)) {
      throw this.broken('refers to something other than a storage')
    }
    return { kind: 'storage', key, dtype, length }
  }

  private reduce(): void {
    const args = this.pop()
    const callee = this.pop()
    if (!isKind(callee, 'global') || !isKind(args, 'tuple')) throw this.broken('calls something that is not a function')
    const { items } = args as Tuple
    const { name } = callee as Global
    if (name === orderedDict && items.length === 0) return this.push(new Map())
    if (name === rebuildParameter && isKind(items[0], 'tensor')) return this.push(items[0]!)
    if (name === rebuildTensor) return this.push(this.tensor(items))
    throw this.broken(`calls ${name} in a way torch never does`)
  }

  private tensor([storage, offset, shape, strides]: Value[]): PickledTensor {
    if (!isKind(storage, 'storage') || !isCount(offset)) throw this.broken('builds a tensor from something unknown')
    const extents = isKind(shape, 'tuple') ? (shape as Tuple).items : null
    const steps = isKind(strides, 'tuple') ? (strides as Tuple).items : null
    if (!extents?.every(isCount) || !steps?.every(isCount) || extents.length !== steps.length || extents.length > 16) {
      throw this.broken('builds a tensor with a broken shape')
    }
    const tensor = { kind: 'tensor' as const, storage: storage as PickledStorage, offset, shape: extents, strides: steps }
    const empty = extents.includes(0)
    const last = extents.reduce((sum, extent, axis) => sum + BigInt(extent - 1) * BigInt(steps[axis]!), BigInt(offset))
    const count = extents.reduce((product, extent) => product * BigInt(extent), 1n)
    if (!empty && (last >= BigInt(tensor.storage.length) || count > BigInt(tensor.storage.length))) {
      throw this.broken(`builds a tensor larger than its storage ${tensor.storage.key.slice(0, 40)}`)
    }
    return tensor
  }

  private setItems(items: Value[]): void {
    const table = this.top()
    if (!(table instanceof Map) || items.length % 2 !== 0) throw this.broken('sets items of something other than a table')
    for (let i = 0; i < items.length; i += 2) {
      const key = items[i]!
      if (table.has(key)) throw this.broken(`names ${JSON.stringify(String(key).slice(0, 120))} twice`)
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

  private get(index: number): void {
    const value = this.memo.get(index)
    if (value === undefined) throw this.broken('recalls a value it never stored')
    this.push(value)
  }

  private push(value: Value): void {
    this.stack.push(value)
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

function isKind(value: Value | undefined, kind: 'global' | 'tuple' | 'storage' | 'tensor'): boolean {
  return typeof value === 'object' && value !== null && 'kind' in value && value.kind === kind
}

function isCount(value: Value | undefined): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

function invalid(file: string, reason: string): GromaError {
  return new GromaError('CHECKPOINT_INVALID', `${file}: ${reason}`)
}
