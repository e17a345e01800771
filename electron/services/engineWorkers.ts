/**
 * Engine processes side by side, and tasks computed before their turn. A small model leaves most cores idle between its
 * short steps, so that on many cores several processes of few threads do more images a second than one with all of them;
 * results are asked for, and stored, in the caller's order all the same.
 */
import type { EngineProgress, EngineResult, EngineTask } from '../contract/engineProtocol.ts'
import { AppError } from '../contract/errors.ts'
import type { EngineHost, EngineModel, RunOptions } from '../engine/engineHost.ts'

/** What services need of the engine to have their tasks done. */
export type TaskRunner = Pick<EngineHost, 'run' | 'info'>

type Kind = EngineTask['kind']
type TaskOf<K extends Kind> = Extract<EngineTask, { kind: K }>

/** A task that was begun before anyone asked for it: what it has told so far, and who listens now. */
interface Early {
  told: EngineProgress[]
  listener: ((progress: EngineProgress) => void) | null
  result: Promise<unknown>
}

export class EngineWorkers implements TaskRunner {
  readonly #start: () => EngineHost
  /** The application's own first. */
  readonly #hosts: EngineHost[]
  readonly #unfinished = new Map<EngineHost, number>()
  readonly #early = new Map<string, Early>()
  /** Which process has looked at an image, by its key. */
  readonly #seenBy = new Map<string, EngineHost>()

  constructor(own: EngineHost, start: () => EngineHost) {
    this.#hosts = [own]
    this.#start = start
  }

  info(): ReturnType<EngineHost['info']> {
    return this.#hosts[0]!.info()
  }

  /** Goes on with this many processes in all; new ones load the model that the first one has. */
  grow(count: number, model: EngineModel): void {
    while (this.#hosts.length < count) {
      const host = this.#start()
      host.load(model)
      this.#hosts.push(host)
    }
  }

  /** Begins a task whose result will be asked for by {@link run} with the same task; a failure is told there. */
  computeAhead(task: EngineTask, signal: AbortSignal): void {
    const name = JSON.stringify(task)
    if (this.#early.has(name)) return
    const told: EngineProgress[] = []
    const onProgress = (progress: EngineProgress) => {
      if (early.listener === null) told.push(progress)
      else early.listener(progress)
    }
    // In the background, because such a task survives a crash of its process once.
    const result = this.#dispatch(task as TaskOf<Kind>, { priority: 'background', onProgress, signal })
    const early: Early = { told, listener: null, result }
    result.catch(() => {})
    this.#early.set(name, early)
  }

  /** As {@link EngineHost.run}; what was computed ahead is told from its beginning. */
  async run<K extends Kind>(task: TaskOf<K>, options: RunOptions = {}): Promise<EngineResult<K>> {
    const name = JSON.stringify(task)
    const early = this.#early.get(name)
    if (early === undefined) return this.#dispatch(task, options)
    this.#early.delete(name)
    const { onProgress = () => {}, signal } = options
    for (const progress of early.told) onProgress(progress)
    early.listener = onProgress
    return (await unlessAborted(early.result, signal)) as EngineResult<K>
  }

  /** Ends all processes but the application's own. */
  close(): void {
    for (const host of this.#hosts.splice(1)) host.close()
  }

  /** To the process that knows the image, else to the one with the least to do. */
  async #dispatch<K extends Kind>(task: TaskOf<K>, options: RunOptions): Promise<EngineResult<K>> {
    const { key } = task.image
    const waiting = (host: EngineHost) => this.#unfinished.get(host) ?? 0
    const idlest = this.#usable().reduce((best, host) => (waiting(host) < waiting(best) ? host : best))
    const known = this.#seenBy.get(key)
    const host = known !== undefined && this.#usable().includes(known) ? known : idlest
    this.#remember(key, host)
    this.#unfinished.set(host, waiting(host) + 1)
    try {
      return await host.run(task, options)
    } catch (error) {
      // One process more that could not load the model is none the fewer: the others do its work.
      if (this.#usable().includes(host) || options.signal?.aborted) throw error
      return this.#dispatch(task, options)
    } finally {
      this.#unfinished.set(host, waiting(host) - 1)
    }
  }

  /** The first, which tells its own failure, and of the others those that can work. */
  #usable(): EngineHost[] {
    return this.#hosts.filter((host, index) => index === 0 || host.failure() === null)
  }

  #remember(key: string, host: EngineHost): void {
    this.#seenBy.delete(key)
    this.#seenBy.set(key, host)
    const [oldest] = this.#seenBy.keys()
    if (this.#seenBy.size > REMEMBERED_IMAGES) this.#seenBy.delete(oldest!)
  }
}

/** About as many as the processes themselves remember. */
const REMEMBERED_IMAGES = 256

function unlessAborted<T>(result: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return result
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(new AppError('CANCELLED', 'Cancelled.'))
    if (signal.aborted) return onAbort()
    signal.addEventListener('abort', onAbort, { once: true })
    result.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}
