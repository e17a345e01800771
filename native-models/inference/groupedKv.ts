import { int } from '../onnx/attributes.ts'
import { ELEMENT_BYTES, type ElementType, encodeModel, type TensorRecord } from '../onnx/proto.ts'
import { longs, node } from '../onnx/records.ts'
import { DeviceTensors } from './deviceTensors.ts'
import { type CacheShape, KINDS, type KvCache, type KvSegment, type KvStore } from './kvCache.ts'
import { type Feeds, GraphSession, integers, type Tensor, wholes } from './session.ts'

/** Names by kind and layer: keys of every layer, then values of every layer. */
const names = (place: string, layerCount: number): string[] =>
  KINDS.flatMap((kind) => Array.from({ length: layerCount }, (_, layer) => `${place}_${kind}.${layer}`))

/** Keys and values of every layer, [B, G, places, d] each, that passes write into. */
interface Room {
  tensors: readonly Tensor[]
  batch: number
  places: number
  /** so many places belong to segments: never written to again */
  claimed: number
  /** the cache that goes on behind them */
  writer: WeakRef<GroupedCache> | null
}

export interface GroupedSegment extends KvSegment {
  readonly room: Room | null
}

/** A room has places for so many tokens more than were asked for, then a multiple of `STEP`. */
const SPARE = 64
const STEP = 128

/**
 * Keys and values on a WebGPU device for the decoder with grouped attention (`groupedDecoder.ts`): it writes those of new
 * tokens into the tensors that it reads the earlier ones from, which cost no allocation and no copy. A prompt's are gone on from
 * in the same room, one at a time; others go on in a copy. Wrong guesses are dropped by counting fewer places.
 */
export class GroupedKv implements KvStore {
  /** The operator reads more rows than one of one sequence only. */
  readonly rowsAbreast = 1
  readonly nothing: GroupedSegment = { length: 0, bytes: 0, feeds: {}, room: null }
  readonly shape: CacheShape
  readonly half: boolean
  readonly #move: GraphSession
  readonly #nought: GraphSession
  /** what a room without a past begins with: one place that is written over, [1, G, 1, d] */
  readonly #start: Tensor
  readonly #tensors = new DeviceTensors()
  #closed: Promise<void> | null = null
  /** rooms that were made, and how many of them as copies of another */
  readonly counters = { rooms: 0, copies: 0 }

  private constructor(
    shape: CacheShape,
    half: boolean,
    { move, nought, start }: { move: GraphSession; nought: GraphSession; start: Tensor },
  ) {
    this.shape = shape
    this.half = half
    this.#move = move
    this.#nought = nought
    this.#start = this.#tensors.adopt([start])[0]!
  }

  /** @param name where the graph that makes rooms would lie, for messages */
  static async open(shape: CacheShape, half: boolean, name: string, threads: number): Promise<GroupedKv> {
    const type = half ? 'float16' : 'float32'
    const open = (model: Uint8Array, stayOnDevice: string[]) =>
      GraphSession.open(name, threads, { provider: 'webgpu', mixed: true, model, stayOnDevice })
    const nought = await open(noughtGraph(type), ['y'])
    const { y } = await nought.run({ shape: integers([1, shape.kvHeadCount, 1, shape.headSize], 4) })
    const move = await open(moveGraph(shape, type), names('y', shape.layerCount))
    return new GroupedKv(shape, half, { move, nought, start: y! })
  }

  cache(batch: number): GroupedCache {
    return new GroupedCache(this, batch, this.nothing, 0)
  }

  cacheFrom(segment: KvSegment, length: number, expected: number): GroupedCache {
    return new GroupedCache(this, 1, { ...(segment as GroupedSegment), length }, expected)
  }

  async attend(prefix: KvSegment, past: KvCache, batch: number, length: number): Promise<Feeds> {
    return (past as GroupedCache).feed(prefix as GroupedSegment, batch, length)
  }

  /** New places that begin with the first `length` tokens of some sequences of another room. */
  async room(from: Room | null, sequences: readonly number[], length: number, wanted: number): Promise<Room> {
    const { layerCount, kvHeadCount, headSize } = this.shape
    const places = Math.ceil((wanted + SPARE) / STEP) * STEP
    const known = Math.max(1, length) // a graph wants at least one
    const feeds: Feeds = {
      rows: integers(from ? sequences : sequences.map(() => 0), sequences.length),
      length: integers([known], 1),
      rest: integers([sequences.length, kvHeadCount, places - known, headSize], 4),
    }
    for (const [i, name] of names('x', layerCount).entries()) feeds[name] = from?.tensors[i] ?? this.#start
    const outputs = await this.#move.run(feeds)
    const tensors = this.#tensors.adopt(names('y', layerCount).map((name) => outputs[name]!))
    const room: Room = { tensors, batch: sequences.length, places, claimed: 0, writer: null }
    this.#tensors.disposeWith(room, tensors)
    this.counters.rooms++
    if (from) this.counters.copies++
    return room
  }

  /** Gives back a room that no segment lies in. */
  dispose(room: Room): void {
    if (room.claimed === 0) this.#tensors.dispose(room.tensors)
  }

  /** Twice does no harm. */
  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #close(): Promise<void> {
    this.#tensors.close()
    await this.#move.release()
    await this.#nought.release()
  }
}

/**
 * Runs a decoder with grouped attention in place: what it puts out of keys and values goes where it read them.
 * @param session opened without outputs that stay on the device: those that are given do
 */
export function inPlace(session: GraphSession, { layerCount }: CacheShape): GraphSession {
  const [past, present] = [names('past', layerCount), names('present', layerCount)]
  return {
    async run(feeds) {
      const into = Object.fromEntries(present.map((name, i) => [name, feeds[past[i]!]!]))
      const { logits } = await session.run(feeds, into)
      return { logits: logits! }
    },
    release: () => session.release(),
  }
}

class GroupedCache implements KvCache {
  readonly #kv: GroupedKv
  #batch: number
  #room: Room | null
  /** tokens of the room that count */
  #places: number
  /** of them, the prefix's */
  #before = 0
  readonly #expected: number
  #keep: readonly number[] | null = null

  constructor(kv: GroupedKv, batch: number, { room, length }: GroupedSegment, expected: number) {
    this.#kv = kv
    this.#batch = batch
    this.#room = room
    this.#places = length
    this.#expected = expected
  }

  get length(): number {
    return this.#places - this.#before
  }

  get capacity(): number {
    return Math.max(1, this.length)
  }

  feeds(): Feeds {
    throw new Error('the grouped decoder is fed by its store')
  }

  async feed(prefix: GroupedSegment, batch: number, length: number): Promise<Feeds> {
    if (this.#places === 0 && prefix.length > 0) {
      this.#room = prefix.room
      this.#places = this.#before = prefix.length
    }
    const total = this.#places + length
    const { tensors } = await this.#place(batch, total)
    const past = names('past', this.#kv.shape.layerCount).map((name, i) => [name, tensors[i]!] as const)
    return {
      last_places: wholes(new Array(batch).fill(total - 1), batch),
      total_length: wholes([total]),
      ...Object.fromEntries(past),
    }
  }

  append(_outputs: Record<string, Tensor>, count: number, kept = count): void {
    this.#places += kept
  }

  keep(sequences: readonly number[]): void {
    if (sequences.length === this.#batch) return
    this.#keep = sequences // with the next pass: that is when something may be awaited
    this.#batch = sequences.length
  }

  toSegment(): GroupedSegment {
    const room = this.#room
    const length = this.#places
    if (room === null || length === 0) return this.#kv.nothing
    const { layerCount, kvHeadCount, headSize } = this.#kv.shape
    const bytes = 2 * layerCount * kvHeadCount * room.places * headSize * (this.#kv.half ? 2 : 4)
    room.claimed = Math.max(room.claimed, length)
    this.#leave()
    return { length, bytes, feeds: {}, room }
  }

  close(): void {
    this.#leave()
  }

  /** A room that this cache may write to, with places for so many tokens. */
  async #place(batch: number, total: number): Promise<Room> {
    const room = this.#room
    const chosen = this.#keep
    this.#keep = null
    const writer = room?.writer?.deref()
    const ours = room !== null && (writer === undefined || writer === this) && this.#places >= room.claimed
    if (ours && chosen === null && room.batch === batch && room.places >= total) {
      room.writer = new WeakRef(this)
      return room
    }
    const sequences = chosen ?? Array.from({ length: batch }, (_, i) => (room?.batch === batch ? i : 0))
    const wanted = Math.max(total, this.#expected)
    const next = await this.#kv.room(room, sequences, this.#places, wanted)
    this.#leave()
    next.writer = new WeakRef(this)
    this.#room = next
    return next
  }

  #leave(): void {
    const room = this.#room
    this.#room = null
    if (room?.writer?.deref() !== this) return
    room.writer = null
    this.#kv.dispose(room)
  }
}

/** Axes of [B, G, places, d]. */
const SEQUENCES = 0
const PLACES = 2

/** Per tensor: x [B, G, C, d] -> Slice places 0..length -> Gather rows -> Concat noughts of the shape `rest` -> y. */
function moveGraph({ layerCount, kvHeadCount, headSize }: CacheShape, type: ElementType): Uint8Array {
  const tensors = (place: string, batch: string) =>
    names(place, layerCount).map((name) => ({ name, type, shape: [batch, kvHeadCount, `${place} places`, headSize] }))
  const nodes = names('x', layerCount).flatMap((x) => {
    const y = x.replace('x', 'y')
    return [
      node('Slice', `${y}/slice`, [x, '/zero', 'length', '/places']),
      node('Gather', `${y}/rows`, [`${y}/slice`, 'rows'], { axis: int(SEQUENCES) }),
      node('Concat', y, [`${y}/rows`, '/noughts'], { axis: int(PLACES) }),
    ]
  })
  return encodeModel({
    graphName: 'kv-move',
    opset: 17,
    contribOpset: 1,
    nodes: [node('Expand', '/noughts', ['/nought', 'rest']), ...nodes],
    initializers: [longs('/zero', 0), longs('/places', PLACES), nought(type)],
    inputs: [
      ...tensors('x', 'B'),
      { name: 'rows', type: 'int64', shape: ['R'] },
      { name: 'length', type: 'int64', shape: [1] },
      { name: 'rest', type: 'int64', shape: [4] },
    ],
    outputs: tensors('y', 'R'),
  })
}

/** Noughts of a shape. (The binding takes no half floats.) */
function noughtGraph(type: ElementType): Uint8Array {
  return encodeModel({
    graphName: 'kv-nought',
    opset: 17,
    contribOpset: 1,
    nodes: [node('Expand', 'y', ['/nought', 'shape'])],
    initializers: [nought(type)],
    inputs: [{ name: 'shape', type: 'int64', shape: [4] }],
    outputs: [{ name: 'y', type, shape: ['B', 'G', 'C', 'd'] }],
  })
}

function nought(type: ElementType): TensorRecord {
  return { name: '/nought', type, shape: [1], bytes: { at: 'inline', raw: new Uint8Array(ELEMENT_BYTES[type]) } }
}
