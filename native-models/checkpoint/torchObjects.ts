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

export interface Global {
  kind: 'global'
  name: string
}
export interface Tuple {
  kind: 'tuple'
  items: Value[]
}
/** What a torch pickle can hold. */
export type Value =
  | number
  | string
  | boolean
  | null
  | Global
  | Tuple
  | Value[]
  | PickledStorage
  | PickledTensor
  | Map<Value, Value> // prettier-ignore

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
/** The only names a pickle may refer to. */
export const allowedGlobals: ReadonlySet<string> = new Set([
  orderedDict,
  rebuildTensor,
  rebuildParameter,
  ...storageTypes.keys(),
])

type Fail = (reason: string) => Error

/** The storage that a persistent id names. */
export function storageOf(id: Value, fail: Fail): PickledStorage {
  const parts = isKind(id, 'tuple') ? (id as Tuple).items : []
  const [tag, type, key, , length] = parts
  const dtype = isKind(type, 'global') ? storageTypes.get((type as Global).name) : undefined
  if (parts.length !== 5 || tag !== 'storage' || !dtype || typeof key !== 'string' || !isCount(length)) {
    throw fail('refers to something other than a storage')
  }
  return { kind: 'storage', key, dtype, length }
}

/** What a call would return, for the three calls that torch makes. */
export function resultOfCall(callee: Value, args: Value, fail: Fail): Value {
  if (!isKind(callee, 'global') || !isKind(args, 'tuple')) throw fail('calls something that is not a function')
  const { items } = args as Tuple
  const { name } = callee as Global
  if (name === orderedDict && items.length === 0) return new Map()
  if (name === rebuildParameter && isKind(items[0], 'tensor')) return items[0]!
  if (name === rebuildTensor) return tensorOf(items, fail)
  throw fail(`calls ${name} in a way torch never does`)
}

function tensorOf([storage, offset, shape, strides]: Value[], fail: Fail): PickledTensor {
  if (!isKind(storage, 'storage') || !isCount(offset)) throw fail('builds a tensor from something unknown')
  const extents = isKind(shape, 'tuple') ? (shape as Tuple).items : null
  const steps = isKind(strides, 'tuple') ? (strides as Tuple).items : null
  if (!extents?.every(isCount) || !steps?.every(isCount) || extents.length !== steps.length || extents.length > 16) {
    throw fail('builds a tensor with a broken shape')
  }
  const tensor = {
    kind: 'tensor' as const,
    storage: storage as PickledStorage,
    offset,
    shape: extents,
    strides: steps,
  }
  const empty = extents.includes(0)
  const last = extents.reduce((sum, extent, axis) => sum + BigInt(extent - 1) * BigInt(steps[axis]!), BigInt(offset))
  const count = extents.reduce((product, extent) => product * BigInt(extent), 1n)
  if (!empty && (last >= BigInt(tensor.storage.length) || count > BigInt(tensor.storage.length))) {
    throw fail(`builds a tensor larger than its storage ${tensor.storage.key.slice(0, 40)}`)
  }
  return tensor
}

export function isKind(value: Value | undefined, kind: 'global' | 'tuple' | 'storage' | 'tensor'): boolean {
  return typeof value === 'object' && value !== null && 'kind' in value && value.kind === kind
}

function isCount(value: Value | undefined): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}
