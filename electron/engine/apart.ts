/** Jobs in processes of their own: what kills or hangs one of them is a reason in words, and nothing else. */
import { type ApartJob, EngineEvent } from '../contract/engineProtocol.ts'
import { AppError, fromWireError } from '../contract/errors.ts'
import type { EngineChild, EngineStarter } from './engineChild.ts'

export interface ApartOptions {
  starter: EngineStarter
  /** How long a job may be silent before its process is killed. */
  silenceMs: number
  onLog?: ((level: 'info' | 'warn' | 'error', message: string) => void) | undefined
}

const TASK = 1

export class Apart {
  readonly #options: ApartOptions
  readonly #children = new Map<EngineChild, (reason: AppError) => void>()

  constructor(options: ApartOptions) {
    this.#options = options
  }

  /** Does one job. @throws AppError as the job failed, ENGINE_CRASHED when its process ended, ENGINE_FAULT when it was silent for too long */
  run(job: ApartJob, onNote: (done: number, note: string) => void): Promise<unknown> {
    const { starter, silenceMs, onLog } = this.#options
    return new Promise((resolve, reject) => {
      const child = starter()
      let doing = ''
      const settle = (end: () => void) => {
        clearTimeout(clock)
        this.#children.delete(child)
        child.kill()
        end()
      }
      const tooLong = () => {
        const words = `no answer for ${Math.round(silenceMs / 1000)} s${doing && ` (${doing})`}`
        settle(() => reject(new AppError('ENGINE_FAULT', words)))
      }
      let clock = setTimeout(tooLong, silenceMs)
      this.#children.set(child, (reason) => settle(() => reject(reason)))
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
        doing = event.note
        onNote(event.done, event.note)
      })
      child.send({ type: 'apart', taskId: TASK, job })
    })
  }

  /** Ends all jobs; who waits for one is told why. */
  cancel(reason: AppError): void {
    for (const stop of [...this.#children.values()]) stop(reason)
  }

  /** Ends all jobs without a word to anyone. */
  close(): void {
    const children = [...this.#children.keys()]
    this.#children.clear()
    for (const child of children) child.kill()
  }
}
