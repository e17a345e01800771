/** The application's engine process, as the application starts it, for figures about a whole process. */
import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { EngineEvent, EngineProgress, EngineTask } from '../../electron/contract/engineProtocol.ts'

const ENTRY = fileURLToPath(new URL('../../electron/engine/engineProcess.ts', import.meta.url))

export class EngineChild {
  readonly #child: ChildProcess
  #nextTaskId = 1

  /** Starts the process; it is loading nothing yet. */
  constructor() {
    this.#child = fork(ENTRY, [], {
      execArgv: [],
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    })
  }

  get pid(): number {
    return this.#child.pid!
  }

  load(modelDir: string): Promise<void> {
    this.#child.send({ type: 'load', modelDir, checkpointDir: null })
    return this.#until((event) => {
      if (event.type === 'loadFailed') throw new Error(event.error.message)
      return event.type === 'ready'
    })
  }

  /** Runs a task to its end. */
  run(task: EngineTask, onProgress: (progress: EngineProgress) => void = () => {}): Promise<void> {
    const taskId = this.#nextTaskId++
    this.#child.send({ type: 'run', taskId, task })
    return this.#until((event) => {
      if (event.type === 'progress') onProgress(event.progress)
      if (event.type === 'failed') throw new Error(event.error.message)
      return event.type === 'result'
    })
  }

  kill(): void {
    this.#child.kill('SIGKILL')
  }

  #until(isOver: (event: EngineEvent) => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      const settle = (end: () => void) => {
        this.#child.off('message', onMessage)
        this.#child.off('exit', onExit)
        end()
      }
      const onExit = (code: number | null, signal: string | null) =>
        settle(() => reject(new Error(`the engine process ended (${signal ?? code})`)))
      const onMessage = (event: EngineEvent) => {
        try {
          if (isOver(event)) settle(resolve)
        } catch (error) {
          settle(() => reject(error))
        }
      }
      this.#child.on('message', onMessage)
      this.#child.on('exit', onExit)
    })
  }
}
