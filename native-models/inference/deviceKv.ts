import { int } from '../onnx/attributes.ts'
import { encodeModel, type NodeRecord } from '../onnx/proto.ts'
import { longs, node } from '../onnx/records.ts'
import { DeviceTensors } from './deviceTensors.ts'
import type { CacheShape, KvCache, KvSegment, KvStore } from './kvCache.ts'
import { type Feeds, floats, GraphSession, integers, type Tensor } from './session.ts'

/** Outputs of the decoder that stay on the device. */
export const presentNames = ({ layerCount }: CacheShape): string[] => names('present', layerCount)

/** Names by kind and layer: keys of every layer, then values of every layer. */
const names = (place: string, layerCount: number): string[] =>
  ['key', 'value'].flatMap((kind) => Array.from({ length: layerCount }, (_, layer) => `${place}_${kind}.${layer}`))

/**
 * Keys and values that never leave a WebGPU device: what the decoder puts out is joined there to what it was fed with, by two
 * graphs of our own, and fed back. Tensors are disposed of when they are replaced, those of a segment when it is collected.
 */
export class DeviceKv implements KvStore {
  readonly nothing: KvSegment
  readonly shape: CacheShape
  readonly #select: GraphSession
  readonly #join: GraphSession
  readonly tensors = new DeviceTensors()

  private constructor(shape: CacheShape, select: GraphSession, join: GraphSession) {
    this.shape = shape
    this.#select = select
    this.#join = join
    this.nothing = { length: 0, bytes: 0, feeds: feedsOf('prefix', shape, onePlace(shape, 1)) }
  }

  /** @param name where the graphs would lie, for messages */
  static async open(shape: CacheShape, name: string, threads: number): Promise<DeviceKv> {
    const open = (build: (shape: CacheShape) => Uint8Array) =>
      GraphSession.open(name, threads, {
        provider: 'webgpu',
        mixed: true,
        model: build(shape),
        stayOnDevice: names('y', shape.layerCount),
      })
    return new DeviceKv(shape, await open(selectGraph), await open(joinGraph))
  }

  cache(batch: number): DeviceCache {
    return new DeviceCache(this, batch)
  }

  cacheFrom(segment: KvSegment, length: number): DeviceCache {
    const cache = new DeviceCache(this, 1)
    const copy = async () => {
      const made = this.select(Object.values(await segment.feeds), [0], length)
      return made.finally(() => segment.length) // held until then: its tensors go with it
    }
    if (length > 0) cache.begin(copy, length)
    return cache
  }

  /** Some sequences' first `length` tokens, as new tensors. */
  async select(tensors: readonly Tensor[], sequences: readonly number[], length: number): Promise<Tensor[]> {
    const { layerCount } = this.shape
    const feeds: Feeds = { rows: integers(sequences, sequences.length), length: integers([length], 1) }
    for (const [i, name] of names('x', layerCount).entries()) feeds[name] = tensors[i]!
    const outputs = await this.#select.run(feeds)
    return this.tensors.adopt(names('y', layerCount).map((name) => outputs[name]!))
  }

  /** What was there, and the first `kept` tokens of what is new, as new tensors. */
  async join(past: readonly Tensor[], present: readonly Tensor[], kept: number): Promise<Tensor[]> {
    const { layerCount } = this.shape
    const feeds: Feeds = { length: integers([kept], 1) }
    for (const [i, name] of names('x', layerCount).entries()) feeds[name] = past[i]!
    for (const [i, name] of names('z', layerCount).entries()) feeds[name] = present[i]!
    const outputs = await this.#join.run(feeds)
    return this.tensors.adopt(names('y', layerCount).map((name) => outputs[name]!))
  }

  /** Gives the tensors of a segment back once nobody holds it. */
  disposeWith(segment: KvSegment, tensors: Promise<readonly Tensor[]>): void {
    const forgotten = new WeakRef(segment)
    tensors.then(
      (made) => {
        const there = forgotten.deref()
        if (there) this.tensors.disposeWith(there, made)
        else this.tensors.dispose(made)
      },
      () => {},
    )
  }

  async close(): Promise<void> {
    this.tensors.close()
    await this.#select.release()
    await this.#join.release()
  }
}

/** Its tensors are made one after the other; what is asked for waits for the last. */
class DeviceCache implements KvCache {
  readonly #kv: DeviceKv
  #batch: number
  #length = 0
  #tensors: Promise<readonly Tensor[]>
  /** what the last pass put out, until it is appended */
  #unkept: readonly Tensor[] = []

  constructor(kv: DeviceKv, batch: number) {
    this.#kv = kv
    this.#batch = batch
    this.#tensors = Promise.resolve([])
  }

  get length(): number {
    return this.#length
  }

  get capacity(): number {
    return Math.max(1, this.#length)
  }

  async feeds(): Promise<Feeds> {
    const tensors = await this.#tensors
    return feedsOf('past', this.#kv.shape, tensors.length > 0 ? tensors : onePlace(this.#kv.shape, this.#batch))
  }

  begin(make: () => Promise<readonly Tensor[]>, length: number): void {
    this.#replace(make)
    this.#length = length
  }

  computed(outputs: Record<string, Tensor>): void {
    this.#kv.tensors.dispose(this.#unkept)
    this.#unkept = this.#kv.tensors.adopt(presentNames(this.#kv.shape).map((name) => outputs[name]!))
  }

  append(_outputs: Record<string, Tensor>, count: number, kept = count): void {
    const present = this.#unkept
    this.#unkept = []
    const sequences = Array.from({ length: this.#batch }, (_, index) => index)
    this.#replace(async (past) => {
      if (past.length === 0 && kept === count) return present
      const made = past.length > 0 ? this.#kv.join(past, present, kept) : this.#kv.select(present, sequences, kept)
      await made.finally(() => this.#kv.tensors.dispose(present))
      return made
    })
    this.#length += kept
  }

  keep(sequences: readonly number[]): void {
    if (sequences.length === this.#batch) return
    const length = this.#length
    this.#replace(async (past) => (past.length > 0 ? this.#kv.select(past, sequences, length) : past))
    this.#batch = sequences.length
  }

  toSegment(): KvSegment {
    const { shape } = this.#kv
    if (this.#length === 0) return this.#kv.nothing
    const tensors = this.#tensors
    this.#tensors = Promise.resolve([])
    const bytes = 2 * shape.layerCount * shape.kvHeadCount * this.#length * shape.headSize * 4
    const segment = { length: this.#length, bytes, feeds: tensors.then((made) => feedsOf('prefix', shape, made)) }
    this.#kv.disposeWith(segment, tensors)
    return segment
  }

  close(): void {
    this.#kv.tensors.dispose(this.#unkept)
    this.#unkept = []
    this.#replace(async () => [])
  }

  /** A failure is told to whoever asks for the feeds next. */
  #replace(make: (past: readonly Tensor[]) => Promise<readonly Tensor[]>): void {
    this.#tensors = this.#tensors.then(async (past) => {
      const made = await make(past)
      if (made !== past) this.#kv.tensors.dispose(past)
      return made
    })
    this.#tensors.catch(() => {})
  }
}

function feedsOf(place: 'past' | 'prefix', { layerCount }: CacheShape, tensors: readonly Tensor[]): Feeds {
  return Object.fromEntries(names(place, layerCount).map((name, i) => [name, tensors[i]!]))
}

/** A graph wants at least one place, which the attention bias masks. */
function onePlace({ layerCount, kvHeadCount, headSize }: CacheShape, batch: number): Tensor[] {
  const place = floats(new Float32Array(batch * kvHeadCount * headSize), kvHeadCount, batch, 1, headSize)
  return new Array(2 * layerCount).fill(place)
}

/** Axes of [G, B, T, d]. */
const SEQUENCES = 1
const TOKENS = 2

/** Per tensor: x [G, B, T, d] -> Gather rows -> Slice tokens 0..length -> y. */
function selectGraph(shape: CacheShape): Uint8Array {
  const nodes = names('x', shape.layerCount).flatMap((x) => {
    const y = x.replace('x', 'y')
    return [
      node('Gather', `${y}/rows`, [x, 'rows'], { axis: int(SEQUENCES) }),
      node('Slice', y, [`${y}/rows`, '/zero', 'length', '/tokens']),
    ]
  })
  return toolGraph('select', shape, nodes, ['x'])
}

/** Per tensor: x [G, B, C, d], z [G, B, T, d] -> Slice tokens 0..length -> Concat -> y. */
function joinGraph(shape: CacheShape): Uint8Array {
  const nodes = names('x', shape.layerCount).flatMap((x) => {
    const [y, z] = [x.replace('x', 'y'), x.replace('x', 'z')]
    return [
      node('Slice', `${y}/new`, [z, '/zero', 'length', '/tokens']),
      node('Concat', y, [x, `${y}/new`], { axis: int(TOKENS) }),
    ]
  })
  return toolGraph('join', shape, nodes, ['x', 'z'])
}

function toolGraph(name: string, shape: CacheShape, nodes: NodeRecord[], places: string[]): Uint8Array {
  const { layerCount, kvHeadCount, headSize } = shape
  const tensors = (place: string) =>
    names(place, layerCount).map((at) => ({
      name: at,
      type: 'float32' as const,
      shape: [kvHeadCount, `B_${place}`, `T_${place}`, headSize],
    }))
  const usesRows = nodes.some(({ inputs }) => inputs.includes('rows'))
  return encodeModel({
    graphName: `kv-${name}`,
    opset: 17,
    contribOpset: 1,
    nodes,
    initializers: [longs('/zero', 0), longs('/tokens', TOKENS)],
    inputs: [
      ...places.flatMap(tensors),
      ...(usesRows ? [{ name: 'rows', type: 'int64' as const, shape: ['R'] }] : []),
      { name: 'length', type: 'int64', shape: [1] },
    ],
    outputs: tensors('y'),
  })
}
