/** One engine process at a time and the clocks on it: what is silent for too long is killed, what was killed is told why. */
import { EngineEvent, type EngineRequest } from '../contract/engineProtocol.ts'
import { AppError } from '../contract/errors.ts'
import type { EngineChild, EngineStarter } from './engineChild.ts'

export interface ChannelOptions {
  starter: EngineStarter
  onEvent: (event: EngineEvent) => void
  /** The process is gone: by itself (`killedFor` null), or because we ended it. */
  onExit: (reason: string, killedFor: AppError | null) => void
  onLog?: ((level: 'info' | 'warn' | 'error', message: string) => void) | undefined
}

export class EngineChannel {
  readonly #options: ChannelOptions
  #child: EngineChild | null = null
  #silence: NodeJS.Timeout | null = null
  #grace: NodeJS.Timeout | null = null
  #killedFor: AppError | null = null

  constructor(options: ChannelOptions) {
    this.#options = options
  }

  /** Sends to the process, started when there is none. */
  send(request: EngineRequest): void {
    this.#child ??= this.#start()
    this.#child.send(request)
  }

  /** The process must say something within this time; every call starts the clock anew. */
  expectWithin(ms: number): void {
    if (this.#silence !== null) clearTimeout(this.#silence)
    this.#silence = setTimeout(() => {
      const seconds = Math.round(ms / 1000)
      this.#kill(new AppError('ENGINE_FAULT', `The model gave no sign of life for ${seconds} s and was stopped.`))
    }, ms)
  }

  /** Kills the process unless {@link relax} is called before. */
  killAfter(ms: number, reason: AppError): void {
    this.#grace ??= setTimeout(() => this.#kill(reason), ms)
  }

  /** Nothing is expected any more. */
  relax(): void {
    if (this.#silence !== null) clearTimeout(this.#silence)
    if (this.#grace !== null) clearTimeout(this.#grace)
    this.#silence = null
    this.#grace = null
  }

  /** Ends the process without a word to anyone. */
  close(): void {
    this.relax()
    const child = this.#child
    this.#child = null
    child?.kill()
  }

  #kill(reason: AppError): void {
    this.#killedFor = reason
    this.#child?.kill()
  }

  #start(): EngineChild {
    const child = this.#options.starter()
    this.#killedFor = null
    child.onMessage((message) => {
      if (child !== this.#child) return
      const event = EngineEvent.safeParse(message)
      if (event.success) this.#options.onEvent(event.data)
      else this.#options.onLog?.('error', `The engine process sent an unknown message: ${event.error.message}`)
    })
    child.onExit((reason) => {
      if (child !== this.#child) return
      this.#child = null
      this.relax()
      this.#options.onExit(reason, this.#killedFor)
    })
    return child
  }
}
