/** The application's engine host with its real process, whose number is known, for figures about a whole process. */
import { fork } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { EngineChild } from '../../electron/engine/engineChild.ts'
import { EngineHost } from '../../electron/engine/engineHost.ts'
import { cacheDir } from './places.ts'

const ENTRY = fileURLToPath(new URL('../../electron/engine/engineProcess.ts', import.meta.url))

export class EngineWithPid {
  readonly host: EngineHost
  /** The engine's own process is the first that its host starts; later ones do jobs apart. */
  #pid: number | null = null

  constructor() {
    this.host = new EngineHost({ starter: () => this.#start() })
  }

  get pid(): number {
    if (this.#pid === null) throw new Error('the engine process has not been started')
    return this.#pid
  }

  /** Loads an engine folder, laid out for this machine as the application does it. @throws what loading fails with */
  async load(modelDir: string): Promise<void> {
    const machineDir = join(cacheDir(), 'machine')
    mkdirSync(machineDir, { recursive: true })
    this.host.load({ name: 'bench', modelDir, checkpointDir: null, cacheDir: machineDir })
    await new Promise<void>((resolve, reject) => {
      const stop = this.host.onState(({ status, note }) => {
        if (status !== 'ready' && status !== 'failed') return
        stop()
        if (status === 'ready') resolve()
        else reject(this.host.failure() ?? new Error(note))
      })
    })
  }

  close(): void {
    this.host.close()
  }

  #start(): EngineChild {
    const child = fork(ENTRY, [], {
      execArgv: [],
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    })
    this.#pid ??= child.pid ?? null
    return {
      send: (message) => {
        if (child.connected) child.send(message, () => {})
      },
      onMessage: (listener) => child.on('message', listener),
      onExit: (listener) => child.on('exit', (code, signal) => listener(`(${signal ?? code})`)),
      kill: () => child.kill('SIGKILL'),
    }
  }
}
