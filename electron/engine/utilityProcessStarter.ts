/** Starts the engine as Electron's utility process: the same engine as elsewhere, with Electron's own crash reports. */
import { app, utilityProcess } from 'electron'
import type { EngineChild, EngineStarter } from './engineChild.ts'
import { engineEnvironment } from './engineEnvironment.ts'
import { followOutput } from './outputLines.ts'

export interface UtilityProcessOptions {
  /** The bundled engine process. */
  entry: string
  /** Told every line that the process writes to its stdout or stderr (native libraries do). */
  onOutput?: (line: string) => void
}

/** How long after `exit` Electron may take to say how the process went. */
const DETAILS_WITHIN_MS = 250

const words: Readonly<Record<string, string>> = {
  crashed: 'crashed',
  oom: 'out of memory',
  killed: 'killed',
  'memory-eviction': 'out of memory',
  'launch-failed': 'could not be launched',
  'integrity-failure': 'failed its integrity check',
}

let started = 0

/** A starter that forks the engine; to be used after `ready`. */
export function utilityProcessStarter(options: UtilityProcessOptions): EngineStarter {
  return () => {
    // The name is how `child-process-gone` tells one process from the next, so every one has its own.
    const serviceName = `Gromatic engine ${++started}`
    const child = utilityProcess.fork(options.entry, [], {
      serviceName,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...engineEnvironment },
    })
    const exitListeners: ((reason: string) => void)[] = []
    let alive = true
    let gone: string | null = null
    let exitCode: number | null = null
    let killWanted = false
    let fatalError = ''

    const lastLine = followOutput([child.stdout, child.stderr], options.onOutput)

    let told = false
    const tell = () => {
      if (told) return
      told = true
      app.off('child-process-gone', onGone)
      const how = gone ?? `exit code ${exitCode}`
      const lastWords = fatalError || lastLine()
      const detail = lastWords === '' || how === words.killed ? how : `${how}: ${lastWords.slice(0, 300)}`
      for (const listener of exitListeners) listener(`(${detail})`)
    }
    const onGone = (_event: unknown, details: { name?: string; reason: string; exitCode: number }) => {
      if (details.name !== serviceName) return
      const word = words[details.reason]
      gone = word === undefined ? `exit code ${details.exitCode}` : word
      // Listeners may start the next process and post to it at once; that must not happen inside an `exit` event.
      if (!alive) setImmediate(tell)
      else setTimeout(tell, DETAILS_WITHIN_MS) // a launch that failed has no `exit`
      alive = false
    }
    app.on('child-process-gone', onGone)

    child.on('error', (type, location) => {
      fatalError = `${type} at ${location}` // V8 gave up; `exit` follows
    })
    child.on('exit', (code) => {
      alive = false
      exitCode = code
      if (gone !== null) setImmediate(tell)
      else setTimeout(tell, DETAILS_WITHIN_MS)
    })

    const kill = () => {
      // `kill()` is a SIGTERM on POSIX, which native code in the middle of a step need not answer.
      if (child.pid === undefined) return
      try {
        process.kill(child.pid, 'SIGKILL')
      } catch {
        child.kill()
      }
    }
    child.on('spawn', () => {
      if (killWanted) kill()
    })

    return {
      send(message) {
        if (alive) child.postMessage(message)
      },
      onMessage: (listener) => child.on('message', listener),
      onExit: (listener) => exitListeners.push(listener),
      kill() {
        killWanted = true
        if (alive) kill()
      },
    } satisfies EngineChild
  }
}
