/** What every command stands on: services of its own, Ctrl-C, progress, and one way to print. */
import type { Command } from 'commander'
import type { EngineLimits } from '../contract/engineProtocol.ts'
import { AppError } from '../contract/errors.ts'
import { childProcessStarter } from '../engine/childProcessStarter.ts'
import { createServices, type Services } from '../services/createServices.ts'
import { ProgressLine, type Terminal } from './output.ts'

export interface CommonOptions {
  json?: boolean
  verbose?: boolean
}

export interface Context {
  services: Services
  signal: AbortSignal
  progress: ProgressLine
  json: boolean
  terminal: Terminal
  /** Prints a result: its JSON with `--json`, else the text. */
  print(value: unknown, text: string): void
}

export interface RunOptions {
  interactive?: boolean
}

/** Runs a command's work with services, closes them whatever happens, and turns Ctrl-C into CANCELLED. */
export async function withServices(
  command: Command,
  work: (context: Context) => Promise<void>,
  run: RunOptions = {},
): Promise<void> {
  const { json = false, verbose = false } = command.optsWithGlobals<CommonOptions>()
  const terminal: Terminal = process
  const progress = new ProgressLine(terminal)
  const controller = new AbortController()
  const onSignal = () => {
    if (controller.signal.aborted) process.exit(130) // asked twice
    progress.note('Stopping…')
    controller.abort(new AppError('CANCELLED', 'Stopped.'))
  }
  process.on('SIGINT', onSignal)
  process.on('SIGTERM', onSignal)
  const services = createServices({
    starter: childProcessStarter({ onOutput: (line) => (verbose ? progress.note(`engine: ${line}`) : undefined) }),
    interactive: run.interactive ?? false,
    served: true,
    onLog: (level, message) => {
      if (verbose || level === 'warn' || (level === 'error' && run.interactive)) progress.note(`${level}: ${message}`)
    },
  })
  try {
    await work({
      services,
      signal: controller.signal,
      progress,
      json,
      terminal,
      print(value, text) {
        progress.clear()
        terminal.stdout.write(json ? `${JSON.stringify(value)}\n` : text === '' ? '' : `${text}\n`)
      },
    })
  } finally {
    progress.clear()
    await services.close()
    process.off('SIGINT', onSignal)
    process.off('SIGTERM', onSignal)
  }
}

/** Loads a model and shows how that goes; returns when it is ready. @throws whatever loading failed with, CANCELLED */
export async function loadModel(context: Context, model: string, limits?: EngineLimits): Promise<void> {
  const { services, progress, signal } = context
  await services.models.load(model, limits)
  await new Promise<void>((resolve, reject) => {
    const look = () => {
      const state = services.engine.state()
      if (state.progress !== null) progress.show(state.progress)
      if (state.status === 'ready') done(resolve)
      else if (state.status === 'failed')
        done(() => reject(services.engine.failure() ?? new AppError('ENGINE_FAULT', state.note)))
    }
    const onAbort = () => done(() => reject(new AppError('CANCELLED', 'Stopped.')))
    const stop = services.engine.onState(look)
    const done = (end: () => void) => {
      stop()
      signal.removeEventListener('abort', onAbort)
      end()
    }
    signal.addEventListener('abort', onAbort)
    look()
  })
}
