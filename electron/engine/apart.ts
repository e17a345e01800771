/** Jobs in processes of their own: what kills or hangs one of them is a reason in words, and nothing else. */
import { type ApartJob, EngineEvent } from '../contract/engineProtocol.ts'
import { AppError, fromWireError } from '../contract/errors.ts'
import type { EngineChild, EngineStarter } from './engineChild.ts'

export interface ApartOptions {
  starter: EngineStarter
  /** How long a job of each kind may be silent before its process is killed. */
  silenceMs: Record<ApartJob['kind'], number>
  onLog?: ((level: 'info' | 'warn' | 'error', message: string) => void) | undefined
}

const TASK = 1
/** How often those who wait are told that a job goes on, in the time it may be silent: they allow each other less. */
const PULSES = 60

export class Apart {
  readonly #options: ApartOptions
  readonly #children = new Map<EngineChild, { stop: (reason: AppError) => void; forget: () => void }>()

  constructor(options: ApartOptions) {
    this.#options = options
  }

  /** Does one job. @throws AppError as the job failed, ENGINE_CRASHED when its process ended, ENGINE_FAULT when it was silent for too long */
  run(job: ApartJob, onNote: (done: number, note: string) => void): Promise<unknown> {
    const { starter, onLog } = this.#options
    const silenceMs = this.#options.silenceMs[job.kind]
    return new Promise((resolve, reject) => {
      const child = starter()
      let doing = ''
      const forget = () => {
        clearTimeout(clock)
        clearInterval(pulse)
        this.#children.delete(child)
        child.kill()
      }
      const settle = (end: () => void) => {
        forget()
        end()
      }
      const tooLong = () => {
        const words = `no answer for ${Math.round(silenceMs / 1000)} s${doing && ` (${doing})`}`
        settle(() => reject(new AppError('ENGINE_FAULT', words)))
      }
      let clock = setTimeout(tooLong, silenceMs)
      let share = 0
      const pulse = setInterval(() => onNote(share, doing), silenceMs / PULSES)
      this.#children.set(child, { stop: (reason) => settle(() => reject(reason)), forget })
      child.onExit((reason) => {
        if (!this.#children.has(child)) return
        settle(() => reject(new AppError('ENGINE_CRASHED', `the process ended ${reason}${doing && ` at ${doing}`}`)))
      })
      child.onMessage((message) => {
        const { data: event } = EngineEvent.safeParse(message)
        if (event === undefined || !this.#children.has(child)) return
        clearTimeout(clock)
        clock = setTimeout(tooLong, silenceMs)
        if (event.type === 'log') onLog?.(event.level, event.message)
        if (event.type === 'result') settle(() => resolve(event.result))
        if (event.type === 'failed') settle(() => reject(fromWireError(event.error)))
        if (event.type !== 'copying') return
        share = event.done
        doing = event.note
        onNote(share, doing)
      })
      child.send({ type: 'apart', taskId: TASK, job })
    })
  }

  /** Ends all jobs; who waits for one is told why. */
  cancel(reason: AppError): void {
    for (const { stop } of [...this.#children.values()]) stop(reason)
  }

  /** Ends all jobs without a word to anyone. */
  close(): void {
    for (const { forget } of [...this.#children.values()]) forget()
  }
}
