import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type AnyGraphName, type GraphName, graphFile } from '../builders/modelFiles.ts'
import { GromaError } from '../errors.ts'
import { allFinite } from '../finite.ts'
import { deviceGraph } from './deviceGraph.ts'
import { DeviceKv, presentNames } from './deviceKv.ts'
import { DeviceTensors } from './deviceTensors.ts'
import type { DecoderShape } from './groupedDecoder.ts'
import { GroupedKv, inPlace } from './groupedKv.ts'
import type { Place, Placement } from './placement.ts'
import { type Feeds, GraphSession, isOnDevice, type Tensor } from './session.ts'

/** What is needed to open any graph of an engine folder. */
export interface GraphSource {
  dir: string
  threads: number
  placement: Placement
  headSizes: Partial<Record<GraphName, number>>
  decoderShape: DecoderShape
  /** The graph with its weights laid out for this machine; null where that was not made. */
  prepacked: (graph: AnyGraphName) => string | null
  /** Memory matters more than the last tenth of speed: large models. */
  frugal: boolean
  /** Told when a device fails and the processor goes on. */
  onWarning: (message: string) => void
  /** Told when the device that holds keys and values fails: only loading the model anew helps. */
  onDeviceLost: () => void
  /** Why devices are no longer used; set by the first that fails. */
  deviceFault: { reason: string | null }
}

/**
 * Opens a graph where it has its place. A device that refuses it, fails in a run or puts out numbers that are none is not
 * used again: the processor takes over, and computes that run anew.
 * @throws GromaError MODEL_INVALID, OUT_OF_MEMORY
 */
export async function openGraph(source: GraphSource, graph: GraphName): Promise<GraphSession> {
  const place = source.placement[graph]
  if (!place || place.provider === 'cpu' || source.deviceFault.reason !== null) return openOnCpu(source, graph)
  try {
    const stays = staysOnDevice(source.placement, graph) ? 'all' : undefined
    return new DeviceSession(source, graph, await openOnDevice(source, graph, place, stays), place)
  } catch (error) {
    noteFault(source, graph, place, (error as Error).message)
    return openOnCpu(source, graph)
  }
}

/** Who reads what a graph puts out; graphs that are not here have it read by us. */
const READERS: Partial<Record<GraphName, readonly GraphName[]>> = {
  'vision-encoder': ['proposal-head', 'image-tokens', 'region-maps'],
  'region-maps': ['region-head'],
}

/** Whether what a graph puts out need not leave its device: all that read it are there too. (CUDA's would: the runtime's binding knows WebGPU's tensors only.) */
export function staysOnDevice(placement: Placement, graph: GraphName): boolean {
  const places = [graph, ...(READERS[graph] ?? [])].map((one) => placement[one]?.provider)
  return graph in READERS && places.every((provider) => provider === 'webgpu')
}

/** @throws GromaError MODEL_INVALID, OUT_OF_MEMORY */
export function openOnCpu(
  { dir, threads, prepacked, frugal }: GraphSource,
  graph: AnyGraphName,
): Promise<GraphSession> {
  const path = prepacked(graph) ?? join(dir, graphFile(graph))
  return GraphSession.open(path, threads, { frugal: frugal && HUNGRY.has(graph) })
}

/** Their runs take many times what they put out, and are rare. (The prompt's graph would lose an eighth of its speed.) */
const HUNGRY: ReadonlySet<AnyGraphName> = new Set(['region-maps', 'region-head'])

export type DeviceSource = Pick<GraphSource, 'dir' | 'threads' | 'headSizes' | 'decoderShape'>

/** A graph in the form and the arithmetic of its place. */
export async function openOnDevice(
  { dir, threads, headSizes, decoderShape }: DeviceSource,
  graph: GraphName,
  { provider, half, fused = false }: Place,
  stayOnDevice?: readonly string[] | 'all',
) {
  const path = join(dir, graphFile(graph))
  const model = deviceGraph(await readFile(path), {
    half,
    headSize: headSizes[graph] ?? 0,
    fused,
    decoder: graph === 'decoder' ? decoderShape : undefined,
  })
  // The decoder computes shapes of what it is given, which every provider leaves to the processor.
  return GraphSession.open(path, threads, {
    provider,
    mixed: graph === 'decoder',
    model,
    ...(stayOnDevice ? { stayOnDevice } : {}),
  })
}

/**
 * The decoder with keys and values that stay on its device; null where the processor has to take over. A device that fails
 * later takes them with it: the call fails, and `onDeviceLost` is told.
 */
export async function openDecoderOnDevice(
  source: GraphSource,
): Promise<{ session: GraphSession; kv: DeviceStore } | null> {
  const place = source.placement.decoder
  if (place?.provider !== 'webgpu' || source.deviceFault.reason !== null) return null
  try {
    const { session, kv } = await openLanguageOnDevice(source, place)
    const run = (feeds: Feeds) =>
      session.run(feeds).catch((error: Error) => {
        noteFault(source, 'decoder', place, error.message)
        source.onDeviceLost()
        throw error
      })
    const release = () => session.release()
    return { session: { run, release }, kv }
  } catch (error) {
    noteFault(source, 'decoder', place, (error as Error).message)
    return null
  }
}

/** Keys and values on a device. */
export type DeviceStore = DeviceKv | GroupedKv

/**
 * The decoder in the form of its place, and the store of keys and values that goes with it, which closes with it. WebGPU only.
 */
export async function openLanguageOnDevice(
  source: DeviceSource,
  place: Place,
): Promise<{ session: GraphSession; kv: DeviceStore }> {
  const { decoderShape: shape, threads } = source
  const name = join(source.dir, 'keys-and-values')
  const opened = await openOnDevice(source, 'decoder', place, place.fused ? undefined : presentNames(shape))
  const decoder = place.fused ? inPlace(opened, shape) : opened
  const kv = place.fused
    ? await GroupedKv.open(shape, place.half, name, threads)
    : await DeviceKv.open(shape, name, threads)
  const release = async () => {
    await kv.close() // what the decoder put out is given back before it goes
    await decoder.release()
  }
  return { session: { run: (feeds) => decoder.run(feeds), release }, kv }
}

function noteFault(source: GraphSource, graph: GraphName, { provider }: Place, reason: string): void {
  if (source.deviceFault.reason === null) {
    source.deviceFault.reason = `${provider} failed at ${graph}: ${reason}`
    source.onWarning(`${source.deviceFault.reason}; the CPU goes on until the model is loaded again`)
  }
}

class DeviceSession implements GraphSession {
  readonly #source: GraphSource
  readonly #graph: GraphName
  readonly #place: Place
  readonly #tensors = new DeviceTensors()
  #session: GraphSession
  #onDevice = true

  constructor(source: GraphSource, graph: GraphName, session: GraphSession, place: Place) {
    this.#source = source
    this.#graph = graph
    this.#place = place
    this.#session = session
  }

  async run(feeds: Feeds): Promise<Record<string, Tensor>> {
    const { reason } = this.#source.deviceFault
    if (this.#onDevice && reason === null) {
      try {
        const outputs = await this.#session.run(feeds)
        this.#tensors.adopt(Object.values(outputs).filter(isOnDevice))
        requireFinite(outputs)
        return outputs
      } catch (error) {
        await this.#leaveDevice((error as Error).message)
      }
    } else if (this.#onDevice) await this.#leaveDevice(reason ?? '')
    return this.#session.run(feeds)
  }

  hold(owner: object, outputs: readonly Tensor[]): void {
    this.#tensors.disposeWith(owner, outputs)
  }

  release(): Promise<void> {
    this.#tensors.close()
    return this.#session.release()
  }

  async #leaveDevice(reason: string): Promise<void> {
    this.#onDevice = false
    const lost = this.#session
    noteFault(this.#source, this.#graph, this.#place, reason)
    this.#session = await openOnCpu(this.#source, this.#graph)
    this.#tensors.close()
    await lost.release().catch(() => {}) // of a device that is gone
  }
}

function requireFinite(outputs: Record<string, Tensor>): void {
  for (const [name, tensor] of Object.entries(outputs)) {
    if (isOnDevice(tensor)) continue
    const { data } = tensor
    if (data instanceof Float32Array && !allFinite(data)) {
      throw new GromaError('NUMERIC_FAULT', `${name} holds numbers that are not finite`)
    }
  }
}

/** A graph that is opened by its first run, or ahead of it. */
export class DeferredSession implements GraphSession {
  readonly #open: () => Promise<GraphSession>
  #opened: Promise<GraphSession> | null = null
  #ready: GraphSession | null = null

  constructor(open: () => Promise<GraphSession>) {
    this.#open = open
  }

  /** Opens the graph unless that was done; a failure is tried again by the next. @throws GromaError MODEL_INVALID, OUT_OF_MEMORY */
  async ready(): Promise<GraphSession> {
    this.#opened ??= this.#open()
    try {
      this.#ready = await this.#opened
      return this.#ready
    } catch (error) {
      this.#opened = null
      throw error
    }
  }

  async run(feeds: Feeds): Promise<Record<string, Tensor>> {
    return (await this.ready()).run(feeds)
  }

  hold(owner: object, outputs: readonly Tensor[]): void {
    this.#ready?.hold?.(owner, outputs)
  }

  async release(): Promise<void> {
    const opened = this.#opened
    this.#opened = null
    await (await opened?.catch(() => null))?.release()
  }
}
