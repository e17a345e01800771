import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node'
import { GromaError } from '../errors.ts'

/** The only file that knows onnxruntime-node. */

export interface Tensor {
  data: Float32Array | BigInt64Array
  dims: readonly number[]
}

export type Feeds = Record<string, Tensor>

/** One graph, loaded and ready. `run` blocks the thread while it computes and cannot be interrupted. */
export class GraphSession {
  readonly #session: InferenceSession
  readonly #path: string

  private constructor(session: InferenceSession, path: string) {
    this.#session = session
    this.#path = path
  }

  /** @throws GromaError MODEL_INVALID when the runtime refuses the file. */
  static async open(path: string, threads: number): Promise<GraphSession> {
    try {
      return new GraphSession(await InferenceSession.create(path, cpuOptions(threads)), path)
    } catch (error) {
      throw new GromaError('MODEL_INVALID', `${path}: ${messageOf(error)}`, { cause: error })
    }
  }

  /**
   * Runs the graph. Inputs are not copied.
   * @throws GromaError ENGINE_FAULT when the runtime fails.
   */
  async run(feeds: Feeds): Promise<Record<string, Tensor>> {
    const inputs: Record<string, OrtTensor> = {}
    for (const [name, { data, dims }] of Object.entries(feeds)) inputs[name] = new OrtTensor(data, dims)
    try {
      return (await this.#session.run(inputs)) as unknown as Record<string, Tensor>
    } catch (error) {
      const code = /alloc|memory/i.test(messageOf(error)) ? 'OUT_OF_MEMORY' : 'ENGINE_FAULT'
      throw new GromaError(code, `${this.#path}: ${messageOf(error)}`, { cause: error })
    }
  }

  release(): Promise<void> {
    return this.#session.release()
  }
}

/** As measured: waiting threads sleep, one thread per physical core (more are slower), the arena stays on. */
function cpuOptions(threads: number): InferenceSession.SessionOptions {
  return {
    executionProviders: ['cpu'],
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    graphOptimizationLevel: 'all',
    enableCpuMemArena: true,
    logSeverityLevel: 3,
    extra: { session: { intra_op: { allow_spinning: '0' } } },
  }
}

/** A float tensor. */
export function floats(data: Float32Array, ...dims: number[]): Tensor {
  return { data, dims }
}

/** Whole numbers, as int64. */
export function integers(values: readonly number[], ...dims: number[]): Tensor {
  return { data: BigInt64Array.from(values, BigInt), dims }
}

/** The data of a float tensor that a graph must have put out. */
export function floatsOf(outputs: Record<string, Tensor>, name: string): Float32Array {
  const data = outputs[name]?.data
  if (data instanceof Float32Array) return data
  throw new GromaError('ENGINE_FAULT', `the graph gave no float output ${name}`)
}

/** Physical cores that this process may use: hyper-threads slow matrix products down. */
export function physicalCores(): number {
  const available = availableParallelism()
  try {
    const cores = new Set<string>()
    let socket = ''
    for (const line of readFileSync('/proc/cpuinfo', 'utf8').split('\n')) {
      if (line.startsWith('physical id')) socket = line
      if (line.startsWith('core id')) cores.add(socket + line)
    }
    if (cores.size > 0) return Math.min(cores.size, available)
  } catch {
    // no such file outside Linux
  }
  return process.arch === 'x64' ? Math.max(1, Math.ceil(available / 2)) : available
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
