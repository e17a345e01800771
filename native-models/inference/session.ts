import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { env, InferenceSession, listSupportedBackends, Tensor as OrtTensor } from 'onnxruntime-node'
import { GromaError } from '../errors.ts'

/** The only file that knows onnxruntime-node. */

export interface Tensor {
  data: Float32Array | BigInt64Array | Int32Array | Int8Array | Uint8Array
  dims: readonly number[]
}

export type Feeds = Record<string, Tensor>

/** Who computes: as onnxruntime-node calls them. */
export const PROVIDERS = ['cpu', 'webgpu', 'cuda', 'dml', 'coreml'] as const
export type ProviderName = (typeof PROVIDERS)[number]

/** What a run must be fed with. */
export interface GraphInput {
  name: string
  type: string
  /** a fixed length, or the name of one that a run decides */
  shape: readonly (number | string)[]
}

/** One graph. `run` blocks the thread while it computes and cannot be interrupted. */
export interface GraphSession {
  /**
   * Runs the graph. Inputs are not copied.
   * @param into tensors on a device that outputs are written into, by output; one that is fed as well is changed in place
   * @throws GromaError OUT_OF_MEMORY, ENGINE_FAULT when the runtime fails
   */
  run(feeds: Feeds, into?: Feeds): Promise<Record<string, Tensor>>
  /** Outputs of a run that stayed on a device are given back with their owner, which they must not refer to. */
  hold?(owner: object, outputs: readonly Tensor[]): void
  release(): Promise<void>
}

export interface SessionOptions {
  /** The processor by default. Another provider must take every node, or the graph is refused. */
  provider?: ProviderName
  /** Leaves to the processor what another provider has no kernel for. */
  mixed?: boolean
  /** The graph, instead of what the file says; weights still lie beside that file. */
  model?: Uint8Array
  /** Outputs that stay where they were computed: to be fed back, never to be read. WebGPU only. */
  stayOnDevice?: readonly string[] | 'all'
  /** Gives what a run took back to the system: for graphs that want gigabytes and run once per picture. Costs time in each. */
  frugal?: boolean
  /** Writes the graph as the runtime made it for this machine, weights of so many bytes and more laid out for its kernels in a file beside. */
  saveTo?: { path: string; dataFile: string; fromBytes: number }
}

/** @throws GromaError MODEL_INVALID when the runtime refuses the file, OUT_OF_MEMORY */
async function open(path: string, threads: number, options: SessionOptions = {}): Promise<OpenGraph> {
  const settings = sessionOptions(path, threads, options)
  try {
    const { model } = options
    const session = await (model ? InferenceSession.create(model, settings) : InferenceSession.create(path, settings))
    return new OpenGraph(session, path, options.provider ?? 'cpu')
  } catch (error) {
    const tooLarge = isOutOfMemory(error)
    const words = `${path}: ${tooLarge ? 'there is not enough memory to load it: ' : ''}${messageOf(error)}`
    throw new GromaError(tooLarge ? 'OUT_OF_MEMORY' : 'MODEL_INVALID', words, { cause: error })
  }
}
export const GraphSession = { open }

/** A graph that is loaded and ready. */
export class OpenGraph implements GraphSession {
  readonly #session: InferenceSession
  readonly #path: string
  readonly #provider: ProviderName

  constructor(session: InferenceSession, path: string, provider: ProviderName) {
    this.#session = session
    this.#path = path
    this.#provider = provider
  }

  get inputs(): readonly GraphInput[] {
    return this.#session.inputMetadata.flatMap((input) => (input.isTensor ? [input] : []))
  }

  async run(feeds: Feeds, into?: Feeds): Promise<Record<string, Tensor>> {
    const inputs: Record<string, OrtTensor> = {}
    for (const [name, tensor] of Object.entries(feeds)) {
      if (this.#provider === 'cpu' && !isReadable(tensor)) {
        const reason = `${name} was left on a device that is no longer used`
        throw new GromaError('NUMERIC_FAULT', `${this.#path}: ${reason}`) // everything about the image is made anew
      }
      inputs[name] = tensor instanceof OrtTensor ? tensor : new OrtTensor(tensor.data, tensor.dims)
    }
    try {
      const fetches = into ? this.#session.outputNames.map((name) => [name, into[name] ?? null]) : null
      const outputs = fetches
        ? await this.#session.run(inputs, Object.fromEntries(fetches) as InferenceSession.FetchesType)
        : await this.#session.run(inputs)
      return outputs as unknown as Record<string, Tensor>
    } catch (error) {
      const code = isOutOfMemory(error) ? 'OUT_OF_MEMORY' : 'ENGINE_FAULT'
      throw new GromaError(code, `${this.#path}: ${messageOf(error)}`, { cause: error })
    }
  }

  release(): Promise<void> {
    return this.#session.release()
  }
}

/** As measured: waiting threads sleep but for the moments between two operators, one thread per physical core (more are slower), the arena stays on but for frugal graphs. */
function sessionOptions(
  path: string,
  threads: number,
  { provider = 'cpu', mixed = false, model, stayOnDevice, frugal = false, saveTo }: SessionOptions,
): InferenceSession.SessionOptions {
  const session: Record<string, unknown> = { intra_op: { allow_spinning: '1', spin_duration_us: '50' } }
  // CUDA would round the factors of float32 products to 10 bits: off by 5e-4, where what places boxes has to be exact
  if (provider === 'cuda') process.env.NVIDIA_TF32_OVERRIDE ??= '0'
  if (provider !== 'cpu' && !mixed) session.disable_cpu_ep_fallback = '1'
  if (model) session.model_external_initializers_file_folder_path = dirname(path)
  if (saveTo) {
    session.optimized_model_external_initializers_file_name = saveTo.dataFile
    session.optimized_model_external_initializers_min_size_in_bytes = `${saveTo.fromBytes}`
    session.save_external_prepacked_constant_initializers = '1'
  }
  return {
    executionProviders: [provider],
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    graphOptimizationLevel: 'all',
    enableCpuMemArena: !frugal,
    logSeverityLevel: 4, // what goes wrong is thrown as well
    ...(saveTo ? { optimizedModelFilePath: saveTo.path } : {}),
    ...(stayOnDevice
      ? {
          preferredOutputLocation:
            stayOnDevice === 'all'
              ? ('gpu-buffer' as const)
              : Object.fromEntries(stayOnDevice.map((name) => [name, 'gpu-buffer' as const])),
        }
      : {}),
    extra: { session },
  }
}

/** Where onnxruntime looks for its CUDA half: `npm run setup:cuda` puts it there. */
export function cudaLibrary(): string {
  const main = createRequire(import.meta.url).resolve('onnxruntime-node')
  const name = process.platform === 'win32' ? 'onnxruntime_providers_cuda.dll' : 'libonnxruntime_providers_cuda.so'
  return join(dirname(main), '..', 'bin', 'napi-v6', process.platform, process.arch, name)
}

/** The providers that this platform's onnxruntime has, the processor first; whether they run here is another matter. */
export function builtInProviders(): { name: ProviderName; bundled: boolean }[] {
  const known = new Set<string>(PROVIDERS)
  const found = listSupportedBackends().filter(({ name }) => known.has(name))
  return found.map(({ name, bundled }) => ({ name: name as ProviderName, bundled }))
}

export const runtimeVersion: string = env.versions.node ?? ''

/** Gives a device's memory back; the tensor is not to be used again. Others are left to the garbage collector. */
export function disposeTensor(tensor: Tensor): void {
  if (isOnDevice(tensor)) (tensor as unknown as OrtTensor).dispose()
}

/** Its numbers cannot be read: asking for them would end the process. */
export function isOnDevice(tensor: Tensor): boolean {
  return tensor instanceof OrtTensor && tensor.location === 'gpu-buffer'
}

function isReadable(tensor: Tensor): boolean {
  return !(tensor instanceof OrtTensor) || tensor.location === 'cpu'
}

/** Bytes of a tensor; of one on a device, which holds floats. */
export function tensorBytes(tensor: Tensor): number {
  if (isReadable(tensor)) return tensor.data.byteLength
  return tensor.dims.reduce((product, extent) => product * extent, Float32Array.BYTES_PER_ELEMENT)
}

/** A float tensor. */
export function floats(data: Float32Array, ...dims: number[]): Tensor {
  return { data, dims }
}

/** Whole numbers, as int64. */
export function integers(values: readonly number[], ...dims: number[]): Tensor {
  return { data: BigInt64Array.from(values, BigInt), dims }
}

/** Whole numbers, as int32. */
export function wholes(values: readonly number[], ...dims: number[]): Tensor {
  return { data: Int32Array.from(values), dims }
}

/** The data of a float tensor that a graph must have put out. */
export function floatsOf(outputs: Record<string, Tensor>, name: string): Float32Array {
  const data = outputs[name]?.data
  if (data instanceof Float32Array) return data
  throw new GromaError('ENGINE_FAULT', `the graph gave no float output ${name}`)
}

function isOutOfMemory(error: unknown): boolean {
  return /bad_alloc|alloc(ate|ation)|out of memory|pthread_create/i.test(messageOf(error))
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
