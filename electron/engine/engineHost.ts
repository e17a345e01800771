/**
 * Keeps one engine process alive and gives it one task at a time. Native inference blocks its process and can take it
 * down, so everything that may go wrong is handled from here: a step past its deadline, a cancel that is not answered,
 * a crash (told, restarted, reloaded), and a breaker when it keeps crashing.
 */
import type { EngineState, Progress } from '../contract/api.ts'
import {
  type ApartJob,
  type EngineEvent,
  type EngineImage,
  type EngineInfo,
  type EngineRequest,
  type EngineResult,
  type EngineTask,
  engineResults,
} from '../contract/engineProtocol.ts'
import { AppError, type ErrorCode, fromWireError, toWireError, type WireError } from '../contract/errors.ts'
import { Apart } from './apart.ts'
import { EngineChannel } from './engineChannel.ts'
import {
  cancelledError,
  type EngineHostOptions,
  type EngineModel,
  emptyState,
  hostDefaults,
  type RunOptions,
} from './engineHostOptions.ts'
import { createJob, type EngineJob, JobQueue } from './jobQueue.ts'
import { RestartBudget } from './restartBudget.ts'

export type { EngineChild, EngineStarter } from './engineChild.ts'
export type { EngineHostOptions, EngineModel, RunOptions } from './engineHostOptions.ts'

type JobOptions = Omit<RunOptions, 'onProgress'> & { onEvent?: (event: EngineEvent) => void }
interface CopyOptions {
  onProgress?: (progress: Progress) => void
  signal?: AbortSignal | undefined
}

export class EngineHost {
  readonly #options: typeof hostDefaults & EngineHostOptions
  readonly #channel: EngineChannel
  readonly #apart: Apart
  readonly #queue = new JobQueue()
  readonly #budget: RestartBudget
  readonly #listeners = new Set<(state: EngineState) => void>()
  #model: EngineModel | null = null
  #info: EngineInfo | null = null
  #loading = false
  #loadWanted = false
  /** The engine died where a graphics card may have been at work: the processor alone, until a model is loaded again. */
  #cpuOnly = false
  /** Why nothing can run until a model is loaded again. */
  #failure: AppError | null = null
  #current: EngineJob | null = null
  #announced: EngineImage | null = null
  #nextTaskId = 1
  #closed = false
  #state: EngineState = emptyState

  constructor(options: EngineHostOptions) {
    this.#options = { ...hostDefaults, ...options }
    this.#budget = new RestartBudget(this.#options.maxRestarts, this.#options.restartWindowMs)
    this.#channel = new EngineChannel({
      starter: options.starter,
      onEvent: (event) => this.#onEvent(event),
      onExit: (reason, killedFor) => this.#onExit(reason, killedFor),
      onLog: options.onLog,
    })
    const { starter, onLog } = options
    this.#apart = new Apart({ starter, onLog, silenceMs: this.#options.apartDeadlineMs })
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

  /** Loads (or reloads) a model. Returns at once: watch the state. Closes the breaker after crashes. */
  load(model: EngineModel): void {
    this.#model = model
    this.#failure = null
    this.#cpuOnly = false
    this.#loadWanted = true
    this.#budget.reset()
    this.#setState({ ...emptyState, status: 'loading', modelName: model.name, note: `Loading ${model.name}…` })
    if (this.#current?.priority === 'background') this.#preempt(this.#current)
    this.#pump()
  }

  /** Says that a model cannot even be tried: it is not there, or not a model. Nothing runs until another is loaded. */
  fail(modelName: string, error: { code: ErrorCode; message: string }): void {
    this.#model = null
    this.#info = null
    this.#stopAll(new AppError(error.code, error.message), modelName)
  }

  /** Runs one task of the model. @throws CANCELLED, ENGINE_CRASHED, ENGINE_FAULT and whatever the engine reports */
  async run<K extends EngineTask['kind']>(
    task: Extract<EngineTask, { kind: K }>,
    options: RunOptions = {},
  ): Promise<EngineResult<K>> {
    const onEvent = (event: EngineEvent) => {
      if (event.type !== 'progress') return
      if (event.progress.kind === 'regions') this.#setState({ secondsPerImage: event.progress.seconds })
      options.onProgress?.(event.progress)
    }
    const request = (taskId: number): EngineRequest => ({ type: 'run', taskId, task: task as EngineTask })
    const parsed = engineResults[task.kind as K].safeParse(await this.#submit(request, true, { ...options, onEvent }))
    if (parsed.success) return parsed.data as EngineResult<K>
    throw new AppError('ENGINE_FAULT', `The model process sent a ${task.kind} result of a wrong shape.`)
  }

  /** Converts a checkpoint in the engine process; the loaded model stays. Resolves to whatever the engine reports. */
  convert(
    input: { checkpointDir: string; outDir: string; llm: string; vision: string },
    options: CopyOptions = {},
  ): Promise<unknown> {
    return this.#submit((taskId) => ({ type: 'convert', taskId, ...input }), false, copying(options, 'Converting'))
  }

  /** Verifies an engine folder against its manifest, in the engine process. */
  verify(modelDir: string, options: CopyOptions = {}): Promise<unknown> {
    return this.#submit((taskId) => ({ type: 'verify', taskId, modelDir }), false, copying(options, 'Verifying'))
  }

  /** Tries every provider with an engine folder, in the engine process. */
  test(model: EngineModel, options: CopyOptions = {}): Promise<unknown> {
    const { modelDir, checkpointDir, provider = 'auto', cacheDir = null } = model
    const about = { modelDir, checkpointDir, provider, cacheDir }
    const request = (taskId: number): EngineRequest => ({ type: 'test', taskId, ...about })
    return this.#submit(request, false, copying(options, 'Testing'))
  }

  /** Stops the process; everything that waits is told CANCELLED. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    const reason = new AppError('CANCELLED', 'The application is closing.')
    this.#queue.rejectAll(reason)
    this.#current?.reject(reason)
    this.#current = null
    this.#apart.close()
    this.#channel.close()
  }

  #submit(request: EngineJob['request'], needsModel: boolean, options: JobOptions): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const refusal = this.#refusal(needsModel, options.signal)
      if (refusal !== null) {
        reject(refusal)
        return
      }
      const about = { taskId: this.#nextTaskId++, needsModel, request, ...options }
      const job = createJob(about, { resolve, reject, cancel: () => this.#cancel(job) })
      this.#queue.push(job)
      const running = this.#current
      if (job.priority === 'foreground' && running?.priority === 'background') this.#preempt(running)
      this.#pump()
    })
  }

  /** Why a task cannot even wait; null when it can. */
  #refusal(needsModel: boolean, signal: AbortSignal | undefined): AppError | null {
    if (this.#closed) return new AppError('CANCELLED', 'The application is closing.')
    if (signal?.aborted) return cancelledError()
    if (!needsModel) return null
    if (this.#failure !== null && this.#budget.exhausted && this.#budget.windowPassed()) {
      this.#failure = null // long enough ago: another try
      this.#budget.reset()
    }
    return this.#failure ?? (this.#model === null ? new AppError('NOT_FOUND', 'No model is chosen.') : null)
  }

  /** Starts whatever is next, if the process is free. */
  #pump(): void {
    if (this.#closed || this.#loading) return
    if (this.#current !== null) {
      this.#announceNext(this.#current)
      return
    }
    const job = this.#loadWanted ? null : this.#queue.shift()
    if (this.#loadWanted || (job?.needsModel === true && this.#info === null)) {
      if (job !== null) this.#queue.unshift(job)
      this.#startLoading()
    } else if (job !== null) {
      this.#current = job
      if (this.#info !== null) this.#setState({ status: 'busy', note: job.note })
      this.#channel.send(job.request(job.taskId))
      this.#channel.expectWithin(this.#options.stepDeadlineMs)
      this.#announceNext(job)
    } else if (this.#info !== null) this.#setState({ status: 'ready', note: 'Ready.', progress: null })
  }

  /** The process may decode the next picture while it computes this one's. */
  #announceNext(current: EngineJob): void {
    const next = imageOf(this.#queue.peek())
    if (next === null || next.key === imageOf(current)?.key || next === this.#announced) return
    this.#announced = next
    this.#channel.send({ type: 'next', image: next })
  }

  #startLoading(): void {
    const model = this.#model
    this.#loadWanted = false
    if (model === null) return
    this.#loading = true
    this.#info = null
    this.#setState({ status: 'loading', note: `Loading ${model.name}…`, progress: null })
    const { modelDir, checkpointDir, cacheDir = null, limits } = model
    const provider = this.#cpuOnly ? 'cpu' : (model.provider ?? 'auto')
    this.#channel.send({ type: 'load', modelDir, checkpointDir, provider, cacheDir, ...(limits ? { limits } : {}) })
    this.#channel.expectWithin(this.#options.loadDeadlineMs)
  }

  #onEvent(event: EngineEvent): void {
    switch (event.type) {
      case 'log':
        this.#options.onLog?.(event.level, event.message)
        break
      case 'loading':
      case 'ready':
      case 'loadFailed':
        if (this.#loading) this.#onLoadEvent(event)
        break
      case 'progress':
      case 'copying':
        if (this.#current?.taskId !== event.taskId) return
        this.#channel.expectWithin(this.#options.stepDeadlineMs)
        if (!this.#current.cancelled && !this.#current.preempted) this.#current.onEvent(event)
        break
      case 'result':
      case 'failed':
        this.#onSettled(event)
        break
      case 'help':
        this.#help(event.helpId, event.job)
        break
      default:
        event satisfies never
    }
  }

  /** Has a job done by a process of its own, for the engine, which waits for it meanwhile. */
  #help(helpId: number, job: ApartJob): void {
    const alive = () =>
      this.#channel.expectWithin(this.#loading ? this.#options.loadDeadlineMs : this.#options.stepDeadlineMs)
    const answer = (result: unknown, failure: WireError | null) => {
      alive()
      this.#channel.send({ type: 'helped', helpId, result, failure })
    }
    const onNote = (done: number, note: string) => {
      alive()
      this.#channel.send({ type: 'helping', helpId, done, note })
    }
    this.#apart.run(job, onNote).then(
      (result) => answer(result, null),
      (error: unknown) => answer(null, toWireError(error)),
    )
  }

  #onLoadEvent(event: Extract<EngineEvent, { type: 'loading' | 'ready' | 'loadFailed' }>): void {
    if (event.type === 'loading') {
      const { done, total, note } = event
      this.#channel.expectWithin(this.#options.loadDeadlineMs)
      const status = note.startsWith('Preparing') ? 'preparing' : 'loading'
      this.#setState({ status, note, progress: { done, total, note } })
      return
    }
    this.#loading = false
    this.#channel.relax()
    if (event.type === 'ready' && !this.#loadWanted) {
      this.#info = event.info
      const { modelHash, provider } = event.info
      this.#setState({ status: 'ready', modelHash, provider, note: 'Ready.', progress: null })
    } else if (event.type === 'loadFailed' && !this.#loadWanted) this.#stopAll(fromWireError(event.error))
    this.#pump() // another model may have been chosen meanwhile
  }

  #onSettled(event: Extract<EngineEvent, { type: 'result' | 'failed' }>): void {
    const job = this.#current
    if (job === null || job.taskId !== event.taskId) return
    this.#current = null
    this.#channel.relax()
    if (job.cancelled) job.reject(cancelledError())
    else if (event.type === 'result') job.resolve(event.result)
    else if (job.preempted) this.#requeue(job)
    else job.reject(fromWireError(event.error))
    this.#pump()
  }

  #onExit(reason: string, killedFor: AppError | null): void {
    this.#apart.close()
    const job = this.#current
    const provider = this.#info?.provider ?? this.#model?.provider
    const onDevice = provider !== undefined && provider !== 'cpu'
    this.#loadWanted = this.#model !== null && (this.#loadWanted || this.#loading || this.#info !== null)
    this.#current = null
    this.#info = null
    this.#loading = false
    if (killedFor?.code === 'CANCELLED') {
      job?.reject(killedFor) // a person asked for it: no crash, and no restart to count
      this.#setState({ status: 'loading', note: 'Stopped. Starting the model again…', progress: null })
      this.#pump()
      return
    }
    this.#options.onLog?.('error', `The engine process stopped ${reason}`)
    if (onDevice && !this.#cpuOnly) {
      this.#cpuOnly = true
      this.#options.onLog?.('warn', 'A graphics card may be the cause: the CPU goes on until the model is loaded again')
    }
    const error = killedFor ?? new AppError('ENGINE_CRASHED', `The model process stopped unexpectedly ${reason}.`)
    if (job?.cancelled) job.reject(cancelledError())
    else if (job?.priority === 'background' && job.attempts++ === 0) this.#requeue(job)
    else job?.reject(error)
    this.#budget.count()
    if (this.#budget.exhausted) {
      const times = `${this.#options.maxRestarts + 1} times within a minute`
      const advice = 'It is not started again by itself: load the model again to retry, or choose another one.'
      this.#loadWanted = false
      const failure = new AppError('ENGINE_CRASHED', `The model process stopped ${times} ${reason}. ${advice}`)
      this.#queue.rejectAll(failure)
      this.#stopAll(failure)
      return
    }
    this.#setState({ status: 'crashed', note: `${error.message} Starting it again…`, progress: null })
    this.#pump()
  }

  /** Nothing can run until a model is loaded again, and whoever waits for one is told. */
  #stopAll(failure: AppError, modelName = this.#state.modelName): void {
    this.#failure = failure
    this.#queue.rejectWhere((job) => job.needsModel, failure)
    this.#setState({ ...emptyState, status: 'failed', modelName, note: failure.message })
  }

  #requeue(job: EngineJob): void {
    job.preempted = false
    job.taskId = this.#nextTaskId++
    this.#queue.unshift(job)
  }

  #cancel(job: EngineJob): void {
    if (this.#queue.remove(job)) job.reject(cancelledError())
    if (this.#current !== job || job.cancelled) return
    job.cancelled = true
    this.#apart.cancel(cancelledError())
    this.#channel.send({ type: 'cancel', taskId: job.taskId })
    // A conversion tidies up after itself, which takes longer than a task's next step.
    const grace = this.#options.cancelGraceMs * (job.needsModel ? 1 : 10)
    this.#channel.killAfter(grace, cancelledError())
  }

  /** Makes room for a person's task: the background one stops at its next step and starts again later. */
  #preempt(job: EngineJob): void {
    if (job.preempted || job.cancelled) return
    job.preempted = true
    this.#channel.send({ type: 'cancel', taskId: job.taskId })
  }

  #setState(change: Partial<EngineState>): void {
    this.#state = { ...this.#state, ...change }
    for (const listener of this.#listeners) listener(this.#state)
  }
}

function imageOf(job: EngineJob | null): EngineImage | null {
  const request = job?.request(job.taskId)
  return request?.type === 'run' ? request.task.image : null
}

/** Hands the `copying` events of a conversion on as plain progress. */
function copying({ onProgress, signal }: CopyOptions, note: string): JobOptions {
  const onEvent = (event: EngineEvent) => {
    if (event.type === 'copying') onProgress?.({ done: event.done, total: event.total, note: event.note })
  }
  return { signal, note, onEvent }
}
