/** The application's engine host with its real process, whose number is known, for figures about a whole process. */
import { fork } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { EngineChild } from '../../electron/engine/engineChild.ts'
import { engineEnvironment } from '../../electron/engine/engineEnvironment.ts'
import { EngineHost } from '../../electron/engine/engineHost.ts'
import { readManifest } from '../../native-models/checkpoint/manifest.ts'
import { findPrepacked, graphsOnCpu, isWorthPrepacking } from '../../native-models/inference/prepack.ts'
import { cacheDir } from './places.ts'

const ENTRY = fileURLToPath(new URL('../../electron/engine/engineProcess.ts', import.meta.url))

function machineFolder(): string {
  const dir = join(cacheDir(), 'machine')
  mkdirSync(dir, { recursive: true })
  return dir
}

/** The folder with a model's graphs laid out for this processor, made by the engine if need be; null for small models. */
export async function laidOutFor(modelDir: string): Promise<string | null> {
  const manifest = await readManifest(modelDir)
  if (!isWorthPrepacking(manifest)) return null
  const input = { modelDir, cacheDir: machineFolder(), graphs: graphsOnCpu(manifest, {}) }
  const found = await findPrepacked(input)
  if (found.dir !== null) return found.dir
  const engine = new EngineWithPid()
  try {
    await engine.load(modelDir)
  } finally {
    engine.close()
  }
  return (await findPrepacked(input)).dir
}

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
    const machineDir = machineFolder()
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
      env: { ...process.env, ...engineEnvironment },
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
