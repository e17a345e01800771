import { int } from '../onnx/attributes.ts'
import { type ElementType, encodeModel, type NodeRecord } from '../onnx/proto.ts'
import type { CacheShape, KvCache, KvSegment, KvStore } from './kvCache.ts'
import { disposeTensor, type Feeds, GraphSession, integers, noPlaces, type Tensor, wholes } from './session.ts'

const KINDS = ['key', 'value'] as const

/** Names by kind and layer: keys of every layer, then values of every layer. */
const names = (place: string, layerCount: number): string[] =>
  KINDS.flatMap((kind) => Array.from({ length: layerCount }, (_, layer) => `${place}_${kind}.${layer}`))

/** Tensors of every layer, [B, G, places, d], and how many of the places count. */
interface Held {
  tensors: readonly Tensor[]
  length: number
  /** whose they are: a cache's own are disposed of when they are replaced */
  owner: KvSegment | 'cache'
}

interface GroupedSegment extends KvSegment {
  readonly held: Held
}

/**
 * Keys and values on a WebGPU device for the decoder with grouped attention (`groupedDecoder.ts`): every pass puts out all of
 * them in new tensors, which the next one is fed with. So a prompt is never copied for who goes on from it, and wrong guesses
 * are dropped by counting fewer places.
 */
export class GroupedKv implements KvStore {
  readonly nothing: GroupedSegment
  readonly shape: CacheShape
  readonly half: boolean
  readonly #select: GraphSession
  readonly #forgotten = new FinalizationRegistry<readonly Tensor[]>((tensors) => tensors.forEach(disposeTensor))

  private constructor(shape: CacheShape, half: boolean, select: GraphSession) {
    this.shape = shape
    this.half = half
    this.#select = select
    this.nothing = { length: 0, bytes: 0, feeds: {}, held: { tensors: [], length: 0, owner: 'cache' } }
  }

  /** @param name where the graph that picks sequences would lie, for messages */
  static async open(shape: CacheShape, half: boolean, name: string, threads: number): Promise<GroupedKv> {
    const select = await GraphSession.open(name, threads, {
      provider: 'webgpu',
      mixed: true,
      model: selectGraph(shape, half ? 'float16' : 'float32'),
      stayOnDevice: names('y', shape.layerCount),
    })
    return new GroupedKv(shape, half, select)
  }

  cache(batch: number): GroupedCache {
    return new GroupedCache(this, batch, { tensors: [], length: 0, owner: 'cache' })
  }

  cacheFrom(segment: KvSegment, length: number): GroupedCache {
    const held = (segment as GroupedSegment).held
    return new GroupedCache(this, 1, { tensors: length > 0 ? held.tensors : [], length, owner: segment })
  }

  async attend(prefix: KvSegment, past: KvCache, batch: number, length: number): Promise<Feeds> {
    return (past as GroupedCache).feed(prefix as GroupedSegment, batch, length)
  }

  /** Some sequences, as new tensors. */
  async select(tensors: readonly Tensor[], sequences: readonly number[]): Promise<Tensor[]> {
    const { layerCount } = this.shape
    const feeds: Feeds = { rows: integers(sequences, sequences.length) }
    for (const [i, name] of names('x', layerCount).entries()) feeds[name] = tensors[i]!
    const outputs = await this.#select.run(feeds)
    return names('y', layerCount).map((name) => outputs[name]!)
  }

  /** Gives the tensors of a segment back once nobody holds it. */
  disposeWith(segment: KvSegment, tensors: readonly Tensor[]): void {
    this.#forgotten.register(segment, tensors)
  }

  close(): Promise<void> {
    return this.#select.release()
  }
}

/** What a pass puts out of keys and values. */
const groupedOutputs = ({ layerCount }: CacheShape): string[] => names('present', layerCount)

class GroupedCache implements KvCache {
  readonly #kv: GroupedKv
  #batch: number
  #held: Held
  /** tokens of the prefix, whose places come first in what is held */
  #before = 0
  /** what a pass put out, until it is appended or not wanted */
  #pending: readonly Tensor[] = []
  #keep: readonly number[] | null = null

  constructor(kv: GroupedKv, batch: number, held: Held) {
    this.#kv = kv
    this.#batch = batch
    this.#held = held
  }

  get length(): number {
    return this.#held.length - this.#before
  }

  get capacity(): number {
    return Math.max(1, this.length)
  }

  feeds(): Feeds {
    throw new Error('the grouped decoder is fed by its store')
  }

  async feed(prefix: GroupedSegment, batch: number, length: number): Promise<Feeds> {
    await this.#narrow()
    if (this.#held.length === 0 && prefix.length > 0) {
      const { tensors } = prefix.held
      this.#before = prefix.length
      this.#held =
        batch === 1
          ? { tensors, length: prefix.length, owner: prefix }
          : { tensors: await this.#kv.select(tensors, new Array(batch).fill(0)), length: prefix.length, owner: 'cache' }
    }
    const { layerCount, kvHeadCount, headSize } = this.#kv.shape
    const { tensors, length: earlier } = this.#held
    const none = tensors.length > 0 ? null : noPlaces(this.#kv.half, batch, kvHeadCount, 0, headSize)
    const past = names('past', layerCount).map((name, i) => [name, none ?? tensors[i]!] as const)
    const total = earlier + length
    return {
      last_places: wholes(new Array(batch).fill(total - 1), batch),
      total_length: wholes([total]),
      ...Object.fromEntries(past),
    }
  }

  computed(outputs: Record<string, Tensor>): void {
    this.#dropPending()
    this.#pending = groupedOutputs(this.#kv.shape).map((name) => outputs[name]!)
  }

  append(_outputs: Record<string, Tensor>, _count: number, kept = _count): void {
    const tensors = this.#pending
    this.#pending = []
    this.#replace({ tensors, length: this.#held.length + kept, owner: 'cache' })
  }

  keep(sequences: readonly number[]): void {
    if (sequences.length === this.#batch) return
    this.#keep = sequences // with the next pass: that is when something may be awaited
    this.#batch = sequences.length
  }

  toSegment(): GroupedSegment {
    const { length, tensors, owner } = this.#held
    if (length === 0) return this.#kv.nothing
    const places = tensors[0]!.dims[2]!
    const { layerCount, kvHeadCount, headSize } = this.#kv.shape
    const bytes = 2 * layerCount * kvHeadCount * places * headSize * (this.#kv.half ? 2 : 4)
    const segment: GroupedSegment = { length, bytes, feeds: {}, held: { tensors, length, owner } }
    if (owner === 'cache') this.#kv.disposeWith(segment, tensors)
    this.#held = { tensors: [], length: 0, owner: 'cache' }
    return segment
  }

  close(): void {
    this.#dropPending()
    this.#replace({ tensors: [], length: 0, owner: 'cache' })
  }

  async #narrow(): Promise<void> {
    if (this.#keep === null) return
    const { tensors, length } = this.#held
    const chosen = this.#keep
    this.#keep = null
    if (tensors.length > 0) this.#replace({ tensors: await this.#kv.select(tensors, chosen), length, owner: 'cache' })
  }

  #replace(next: Held): void {
    if (this.#held.owner === 'cache') this.#held.tensors.forEach(disposeTensor)
    this.#held = next
  }

  #dropPending(): void {
    this.#pending.forEach(disposeTensor)
    this.#pending = []
  }
}

/** Per tensor: x [B, G, C, d] -> Gather rows -> y. */
function selectGraph({ layerCount, kvHeadCount, headSize }: CacheShape, type: ElementType): Uint8Array {
  const tensors = (place: string, batch: string) =>
    names(place, layerCount).map((name) => ({ name, type, shape: [batch, kvHeadCount, 'C', headSize] }))
  const nodes = names('x', layerCount).map((x): NodeRecord => {
    const y = x.replace('x', 'y')
    return {
      name: `${y}/Gather`,
      opType: 'Gather',
      domain: '',
      inputs: [x, 'rows'],
      outputs: [y],
      attributes: { axis: int(0) },
    }
  })
  return encodeModel({
    graphName: 'kv-select',
    opset: 17,
    contribOpset: 1,
    nodes,
    initializers: [],
    inputs: [...tensors('x', 'B'), { name: 'rows', type: 'int64', shape: ['R'] }],
    outputs: tensors('y', 'R'),
  })
}
