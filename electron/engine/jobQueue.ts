/** What waits for the engine: a person's tasks before background ones, each kind in the order it came. */
import type { EngineEvent, EngineRequest } from '../contract/engineProtocol.ts'
import type { AppError } from '../contract/errors.ts'

export type Priority = 'foreground' | 'background'

export interface EngineJob {
  taskId: number
  readonly priority: Priority
  readonly needsModel: boolean
  readonly request: (taskId: number) => EngineRequest
  readonly note: string
  readonly onEvent: (event: EngineEvent) => void
  readonly resolve: (value: unknown) => void
  readonly reject: (error: AppError) => void
  /** How often a crash has already taken it down. */
  attempts: number
  /** Its caller no longer wants it. */
  cancelled: boolean
  /** It was asked to stop for a person's task and goes back to the queue. */
  preempted: boolean
}

interface JobDescription extends Pick<EngineJob, 'taskId' | 'needsModel' | 'request'> {
  priority?: Priority
  note?: string
  onEvent?: (event: EngineEvent) => void
  signal?: AbortSignal | undefined
}

/** A job that waits; `cancel` is called when its caller's signal aborts before it is settled. */
export function createJob(
  { signal, ...about }: JobDescription,
  settle: Pick<EngineJob, 'resolve' | 'reject'> & { cancel: () => void },
): EngineJob {
  const { cancel } = settle
  const over = () => signal?.removeEventListener('abort', cancel)
  signal?.addEventListener('abort', cancel)
  return {
    priority: 'foreground',
    note: 'Working',
    onEvent: () => {},
    ...about,
    resolve: (value) => {
      over()
      settle.resolve(value)
    },
    reject: (error) => {
      over()
      settle.reject(error)
    },
    attempts: 0,
    cancelled: false,
    preempted: false,
  }
}

export class JobQueue {
  #jobs: EngineJob[] = []

  push(job: EngineJob): void {
    this.#jobs.push(job)
  }

  /** Before every other job of its priority. */
  unshift(job: EngineJob): void {
    this.#jobs.unshift(job)
  }

  /** The next job; null when nothing waits. */
  peek(): EngineJob | null {
    return this.#jobs.find((job) => job.priority === 'foreground') ?? this.#jobs[0] ?? null
  }

  /** The next job, taken out; null when nothing waits. */
  shift(): EngineJob | null {
    const first = this.peek()
    if (first !== null) this.remove(first)
    return first
  }

  remove(job: EngineJob): boolean {
    const index = this.#jobs.indexOf(job)
    if (index >= 0) this.#jobs.splice(index, 1)
    return index >= 0
  }

  rejectWhere(matches: (job: EngineJob) => boolean, reason: AppError): void {
    const out = this.#jobs.filter(matches)
    this.#jobs = this.#jobs.filter((job) => !out.includes(job))
    for (const job of out) job.reject(reason)
  }

  rejectAll(reason: AppError): void {
    this.rejectWhere(() => true, reason)
  }
}
