/**
 * Keeps one engine process alive and gives it one task at a time. Native inference blocks its process and can take it
 * down, so everything that may go wrong is handled from here: a step past its deadline, a cancel that is not answered,
 * a crash (told, restarted, reloaded), and a breaker when it keeps crashing.
 */
import type { EngineState, Progress } from '../contract/api.ts'
import {
  EngineEvent,
  type EngineInfo,
  type EngineProgress,
  type EngineRequest,
  type EngineResult,
  type EngineTask,
  engineResults,
} from '../contract/engineProtocol.ts'
import { AppError, type ErrorCode, fromWireError } from '../contract/errors.ts'
import type { EngineChild, EngineStarter } from './engineChild.ts'
import { type EngineJob, JobQueue, type Priority } from './jobQueue.ts'
import { RestartBudget } from './restartBudget.ts'

export type { EngineChild, EngineStarter } from './engineChild.ts'

export interface EngineModel {
  /** "Demo model", or the folder's name. */
  name: string
  modelDir: string
  /** The checkpoint to make `modelDir` from when it is missing or stale; null for a converted model. */
  checkpointDir: string | null
}

export interface EngineHostOptions {
  starter: EngineStarter
  /** How long a cancelled task may take to stop by itself before its process is killed. */
  cancelGraceMs?: number
  /** How long a running task may be silent. */
  stepDeadlineMs?: number
  /** How long loading or converting at load may be silent. */
  loadDeadlineMs?: number
  maxRestarts?: number
  restartWindowMs?: number
  onLog?: (level: 'info' | 'warn' | 'error', message: string) => void
}

export interface RunOptions {
  priority?: Priority
  /** What the state line says meanwhile: "Looking for regions in street.jpg". */
  note?: string
  onProgress?: (progress: EngineProgress) => void
  signal?: AbortSignal | undefined
}

export class EngineHost {
  readonly #options: Required<Omit<EngineHostOptions, 'onLog' | 'starter'>> & EngineHostOptions
  readonly #queue = new JobQueue()
  readonly #budget: RestartBudget
  readonly #listeners = new Set<(state: EngineState) => void>()
  #child: EngineChild | null = null
  #model: EngineModel | null = null
  #info: EngineInfo | null = null
  #loading = false
  #loadWanted = false
  /** Why nothing can run until the model is loaded again. */
  #failure: AppError | null = null
  #current: EngineJob | null = null
  #deadline: NodeJS.Timeout | null = null
  #grace: NodeJS.Timeout | null = null
  /** Set before we kill the child ourselves: what its running task is told. */
  #killReason: AppError | null = null
  #nextTaskId = 1
  #closed = false
  #state: EngineState = {
    status: 'stopped',
    modelName: '',
    modelHash: null,
    provider: '',
    secondsPerImage: null,
    note: 'The model is not loaded yet.',
    progress: null,
  }

  constructor(options: EngineHostOptions) {
    this.#options = {
      cancelGraceMs: 3_000,
      stepDeadlineMs: 60_000,
      loadDeadlineMs: 600_000,
      maxRestarts: 3,
      restartWindowMs: 60_000,
      ...options,
    }
    this.#budget = new RestartBudget(this.#options.maxRestarts, this.#options.restartWindowMs)
  }

  state(): EngineState {
    return this.#state
  }

  info(): EngineInfo | null {
    return this.#info
  }

  /** Why nothing can run until a model is loaded again; null while all is well. */
  failure(): AppError | null {
    return this.#failure
  }

  onState(listener: (state: EngineState) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Says which model to use, without loading it before something needs it. */
  setModel(model: EngineModel): void {
    this.#model = model
    this.#setState({ modelName: model.name })
  }

  /** Loads (or reloads) a model. Returns at once: watch the state. Closes the breaker after crashes. */
  load(model: EngineModel): void {
    this.#model = model
    this.#info = null
    this.#failure = null
    this.#loadWanted = true
    this.#budget.reset()
    this.#setState({
      status: 'loading',
      modelName: model.name,
      modelHash: null,
      provider: '',
      secondsPerImage: null,
      note: `Loading ${model.name}…`,
      progress: null,
    })
    if (this.#current?.priority === 'background') this.#preempt(this.#current)
    this.#pump()
  }

  /** Says that a model cannot even be tried: it is not there, or not a model. Nothing runs until another is loaded. */
  fail(modelName: string, error: { code: ErrorCode; message: string }): void {
    this.#model = null
    this.#info = null
    this.#failure = new AppError(error.code, error.message)
    this.#queue.rejectWhere((job) => job.needsModel, this.#failure)
    this.#setState({ status: 'failed', modelName, modelHash: null, provider: '', note: error.message, progress: null })
  }

  /** Runs one task of the model. @throws CANCELLED, ENGINE_CRASHED, ENGINE_FAULT and whatever the engine reports */
  async run<K extends EngineTask['kind']>(
    task: Extract<EngineTask, { kind: K }>,
    options: RunOptions = {},
  ): Promise<EngineResult<K>> {
    const result = await this.#submit((taskId) => ({ type: 'run', taskId, task: task as EngineTask }), true, {
      ...options,
      onEvent: (event) => {
        if (event.type !== 'progress') return
        if (event.progress.kind === 'regions') this.#setState({ secondsPerImage: event.progress.seconds })
        options.onProgress?.(event.progress)
      },
    })
    const parsed = engineResults[task.kind as K].safeParse(result)
    if (!parsed.success)
      throw new AppError('ENGINE_FAULT', `The model process sent a ${task.kind} result of a wrong shape.`)
    return parsed.data as EngineResult<K>
  }

  /** Converts a checkpoint in the engine process; the loaded model stays. Resolves to whatever the engine reports. */
  convert(
    input: { checkpointDir: string; outDir: string; llm: string; vision: string },
    options: { onProgress?: (progress: Progress) => void; signal?: AbortSignal | undefined } = {},
  ): Promise<unknown> {
    return this.#submit((taskId) => ({ type: 'convert', taskId, ...input }), false, {
      ...copying(options),
      note: 'Converting a checkpoint',
    })
  }

  /** Verifies an engine folder against its manifest, in the engine process. */
  verify(
    modelDir: string,
    options: { onProgress?: (progress: Progress) => void; signal?: AbortSignal | undefined } = {},
  ): Promise<unknown> {
    return this.#submit((taskId) => ({ type: 'verify', taskId, modelDir }), false, {
      ...copying(options),
      note: 'Verifying a model',
    })
  }

  /** Stops the process; everything that waits is told CANCELLED. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#clearTimers()
    const reason = new AppError('CANCELLED', 'The application is closing.')
    this.#queue.rejectAll(reason)
    this.#current?.reject(reason)
    this.#current = null
    this.#child?.kill()
    this.#child = null
  }

  #submit(
    request: (taskId: number) => EngineRequest,
    needsModel: boolean,
    options: Omit<RunOptions, 'onProgress'> & { onEvent?: (event: EngineEvent) => void },
  ): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#closed) return reject(new AppError('CANCELLED', 'The application is closing.'))
      if (options.signal?.aborted) return reject(new AppError('CANCELLED', 'Cancelled.'))
      if (this.#failure !== null && needsModel) {
        if (!this.#budget.exhausted || !this.#budget.windowPassed()) return reject(this.#failure)
        this.#failure = null
        this.#budget.reset()
      }
      if (needsModel && this.#model === null) return reject(new AppError('NOT_FOUND', 'No model is chosen.'))
      const onAbort = () => this.#cancel(job)
      const settle = () => options.signal?.removeEventListener('abort', onAbort)
      const job: EngineJob = {
        taskId: this.#nextTaskId++,
        priority: options.priority ?? 'foreground',
        needsModel,
        request,
        note: options.note ?? 'Working',
        onEvent: options.onEvent ?? (() => {}),
        resolve: (value) => {
          settle()
          resolve(value)
        },
        reject: (error) => {
          settle()
          reject(error)
        },
        attempts: 0,
        cancelled: false,
        preempted: false,
      }
      options.signal?.addEventListener('abort', onAbort)
      this.#queue.push(job)
      const running = this.#current
      if (job.priority === 'foreground' && running?.priority === 'background') this.#preempt(running)
      this.#pump()
    })
  }

  /** Starts whatever is next, if the child is free. */
  #pump(): void {
    if (this.#closed || this.#loading || this.#current !== null) return
    if (this.#loadWanted) {
      this.#startLoading()
      return
    }
    const job = this.#queue.shift()
    if (job === null) {
      if (this.#info !== null) this.#setState({ status: 'ready', note: 'Ready.', progress: null })
      return
    }
    if (job.needsModel && this.#info === null) {
      this.#queue.unshift(job)
      this.#startLoading()
      return
    }
    this.#current = job
    if (this.#info !== null) this.#setState({ status: 'busy', note: job.note })
    this.#ensureChild().send(job.request(job.taskId))
    this.#armDeadline(this.#options.stepDeadlineMs)
  }

  #startLoading(): void {
    const model = this.#model
    if (model === null) return
    this.#loadWanted = false
    this.#loading = true
    this.#info = null
    this.#setState({ status: 'loading', note: `Loading ${model.name}…`, progress: null })
    this.#ensureChild().send({ type: 'load', modelDir: model.modelDir, checkpointDir: model.checkpointDir })
    this.#armDeadline(this.#options.loadDeadlineMs)
  }

  #ensureChild(): EngineChild {
    if (this.#child !== null) return this.#child
    const child = this.#options.starter()
    this.#child = child
    child.onMessage((message) => {
      if (child !== this.#child) return
      const event = EngineEvent.safeParse(message)
      if (event.success) this.#onEvent(event.data)
      else this.#options.onLog?.('error', `The engine process sent an unknown message: ${event.error.message}`)
    })
    child.onExit((reason) => {
      if (child === this.#child) this.#onExit(reason)
    })
    return child
  }

  #onEvent(event: EngineEvent): void {
    switch (event.type) {
      case 'log':
        this.#options.onLog?.(event.level, event.message)
        return
      case 'loading':
        if (!this.#loading) return
        this.#armDeadline(this.#options.loadDeadlineMs)
        this.#setState({
          status: this.#model?.checkpointDir == null ? 'loading' : 'preparing',
          note: event.note,
          progress: { done: event.done, total: event.total, note: event.note },
        })
        return
      case 'ready':
      case 'loadFailed': {
        if (!this.#loading) return
        this.#loading = false
        this.#clearTimers()
        if (this.#loadWanted) {
          this.#pump() // another model was chosen meanwhile
          return
        }
        if (event.type === 'ready') {
          this.#info = event.info
          const { modelHash, provider } = event.info
          this.#setState({ status: 'ready', modelHash, provider, note: 'Ready.', progress: null })
        } else {
          this.#failure = fromWireError(event.error)
          this.#queue.rejectWhere((job) => job.needsModel, this.#failure)
          this.#setState({ status: 'failed', note: event.error.message, progress: null })
        }
        this.#pump()
        return
      }
      case 'progress':
      case 'copying': {
        const job = this.#current
        if (job === null || job.taskId !== event.taskId) return
        this.#armDeadline(this.#options.stepDeadlineMs)
        if (!job.cancelled && !job.preempted) job.onEvent(event)
        return
      }
      case 'result':
      case 'failed':
        this.#onSettled(event)
        return
      default:
        event satisfies never
    }
  }

  #onSettled(event: Extract<EngineEvent, { type: 'result' | 'failed' }>): void {
    const job = this.#current
    if (job === null || job.taskId !== event.taskId) return
    this.#current = null
    this.#clearTimers()
    if (job.cancelled) job.reject(new AppError('CANCELLED', 'Cancelled.'))
    else if (event.type === 'result') job.resolve(event.result)
    else if (job.preempted) this.#requeue(job)
    else job.reject(fromWireError(event.error))
    this.#pump()
  }

  #onExit(reason: string): void {
    this.#child = null
    this.#info = null
    const wasLoading = this.#loading
    this.#loading = false
    this.#clearTimers()
    const job = this.#current
    this.#current = null
    const ours = this.#killReason
    this.#killReason = null
    if (this.#closed) return
    this.#loadWanted =
      this.#model !== null && (wasLoading || job?.needsModel === true || this.#state.modelHash !== null)
    if (ours?.code === 'CANCELLED') {
      // Asked for by a person: no crash, and no restart to count.
      job?.reject(ours)
      this.#setState({ status: 'loading', note: 'Stopped. Starting the model again…', progress: null })
      this.#pump()
      return
    }
    this.#options.onLog?.('error', `The engine process stopped ${reason}`)
    const error = ours ?? new AppError('ENGINE_CRASHED', `The model process stopped unexpectedly ${reason}.`)
    if (job !== null) {
      if (job.cancelled) job.reject(new AppError('CANCELLED', 'Cancelled.'))
      else if (job.priority === 'background' && job.attempts++ === 0) this.#requeue(job)
      else job.reject(error)
    }
    this.#budget.count()
    if (this.#budget.exhausted) {
      const times = this.#options.maxRestarts + 1
      this.#failure = new AppError(
        'ENGINE_CRASHED',
        `The model process stopped ${times} times within a minute ${reason}. It is not started again by itself: load the model again to retry, or choose another one.`,
      )
      this.#loadWanted = false
      this.#queue.rejectAll(this.#failure)
      this.#setState({ status: 'failed', note: this.#failure.message, progress: null })
      return
    }
    this.#setState({ status: 'crashed', note: `${error.message} Starting it again…`, progress: null })
    this.#pump()
  }

  #requeue(job: EngineJob): void {
    job.preempted = false
    job.taskId = this.#nextTaskId++
    this.#queue.unshift(job)
  }

  #cancel(job: EngineJob): void {
    const reason = new AppError('CANCELLED', 'Cancelled.')
    if (this.#queue.remove(job)) {
      job.reject(reason)
      return
    }
    if (this.#current !== job || job.cancelled) return
    job.cancelled = true
    this.#child?.send({ type: 'cancel', taskId: job.taskId })
    this.#grace = setTimeout(() => this.#kill(reason), this.#options.cancelGraceMs)
  }

  /** Makes room for a person's task: the background one stops at its next step and starts again later. */
  #preempt(job: EngineJob): void {
    if (job.preempted || job.cancelled) return
    job.preempted = true
    this.#child?.send({ type: 'cancel', taskId: job.taskId })
  }

  #armDeadline(ms: number): void {
    if (this.#deadline !== null) clearTimeout(this.#deadline)
    this.#deadline = setTimeout(() => {
      const seconds = Math.round(ms / 1000)
      this.#kill(new AppError('ENGINE_FAULT', `The model gave no sign of life for ${seconds} s and was stopped.`))
    }, ms)
  }

  #clearTimers(): void {
    if (this.#deadline !== null) clearTimeout(this.#deadline)
    if (this.#grace !== null) clearTimeout(this.#grace)
    this.#deadline = null
    this.#grace = null
  }

  #kill(reason: AppError): void {
    this.#killReason = reason
    this.#child?.kill()
  }

  #setState(change: Partial<EngineState>): void {
    this.#state = { ...this.#state, ...change }
    for (const listener of this.#listeners) listener(this.#state)
  }
}

/** Hands the `copying` events of a conversion on as plain progress. */
function copying(options: { onProgress?: (progress: Progress) => void; signal?: AbortSignal | undefined }) {
  return {
    signal: options.signal,
    onEvent: (event: EngineEvent) => {
      if (event.type === 'copying') options.onProgress?.({ done: event.done, total: event.total, note: event.note })
    },
  }
}
