/** Starts the engine as a forked Node child: served mode, the command line and the tests. */
import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { EngineStarter } from './engineChild.ts'
import { engineEnvironment } from './engineEnvironment.ts'
import { followOutput } from './outputLines.ts'

export interface ChildProcessOptions {
  /** The child's entry; the engine process by default. */
  entry?: string
  args?: string[]
  env?: NodeJS.ProcessEnv
  /** Told every line that the child writes to its stdout or stderr (native libraries do). */
  onOutput?: (line: string) => void
}

/** A starter that forks this Node with the engine process as its entry. */
export function childProcessStarter(options: ChildProcessOptions = {}): EngineStarter {
  const entry = options.entry ?? fileURLToPath(new URL('./engineProcess.ts', import.meta.url))
  return () => {
    const child = fork(entry, options.args ?? [], {
      execPath: process.execPath,
      execArgv: [],
      serialization: 'advanced',
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      env: { ...process.env, ...engineEnvironment, ...options.env },
    })
    const lastLine = followOutput([child.stdout, child.stderr], options.onOutput)
    let exited = false
    const exitListeners: ((reason: string) => void)[] = []
    const exit = (reason: string) => {
      if (exited) return
      exited = true
      for (const listener of exitListeners) listener(reason)
    }
    child.on('exit', (code, signal) => {
      const how = signal === null ? `exit code ${code}` : `signal ${signal}`
      exit(lastLine() === '' || signal === 'SIGKILL' ? `(${how})` : `(${how}: ${lastLine().slice(0, 300)})`)
    })
    child.on('error', (error) => exit(`(${error.message})`))
    return {
      send: (message) => {
        // A child that is just going away is told of by its exit, not by a failed send.
        if (child.connected) child.send(message, () => {})
      },
      onMessage: (listener) => child.on('message', listener),
      onExit: (listener) => exitListeners.push(listener),
      kill: () => child.kill('SIGKILL'),
    }
  }
}
