/**
 * llama.cpp beside our engine, as it comes from npm (node-llama-cpp and its prebuilt library): a package of its own in this
 * folder, installed on first use, which nothing of the program knows.
 */
import { type ChildProcess, execFile, fork } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Missing } from '../figure.ts'
import { cacheDir, requireRoom } from '../places.ts'
import { writeGguf } from './writeGguf.ts'

export type LlamaRequest = { type: 'prefill'; tokens: number } | { type: 'decode'; tokens: number }
export interface LlamaReply {
  seconds: number
}

const GGUF_BYTES = 3.8e9

/** llama.cpp in a process of its own, with a model of the release's shapes. */
export class Llama {
  static readonly title = 'llama.cpp Q4_0'
  readonly #child: ChildProcess

  private constructor(child: ChildProcess) {
    this.#child = child
  }

  /** @throws Missing when the package cannot be had or the disk is full */
  static async open(threads: number, log: (line: string) => void): Promise<Llama> {
    await install(log)
    const path = await modelFile(log)
    log('loading llama.cpp')
    const child = fork(join(import.meta.dirname, 'llamaProcess.ts'), [path, `${threads}`], {
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    })
    await new Promise<void>((resolve, reject) => {
      child.once('message', () => resolve())
      child.once('exit', (code, signal) => reject(new Missing(`llama.cpp ended while it loaded (${code ?? signal}).`)))
    })
    return new Llama(child)
  }

  get pid(): number {
    return this.#child.pid!
  }

  /** Forgets everything and reads a prompt of so many tokens. Resolves to seconds, as all of these. */
  prefill(tokens: number): Promise<number> {
    return this.#ask({ type: 'prefill', tokens })
  }

  /** Writes so many tokens after the prompt, as if for the first time. */
  decode(tokens: number): Promise<number> {
    return this.#ask({ type: 'decode', tokens })
  }

  close(): void {
    this.#child.kill('SIGKILL')
  }

  #ask(request: LlamaRequest): Promise<number> {
    return new Promise((resolve, reject) => {
      const onExit = () => reject(new Error('llama.cpp ended in the middle of its work'))
      this.#child.once('exit', onExit)
      this.#child.once('message', (reply: LlamaReply) => {
        this.#child.off('exit', onExit)
        resolve(reply.seconds)
      })
      this.#child.send(request)
    })
  }
}

async function install(log: (line: string) => void): Promise<void> {
  const folder = import.meta.dirname
  if (existsSync(join(folder, 'node_modules', 'node-llama-cpp'))) return
  if (process.platform !== 'linux' || process.arch !== 'x64')
    throw new Missing('llama.cpp is set up for Linux on x64 alone: test/bench/llama/package.json names its library.')
  log('installing llama.cpp (node-llama-cpp from the npm registry, 85 MB)')
  try {
    // Without its optional packages, which are the same library for GPUs and other systems. (`npm ci` wants them in the lock file.)
    await promisify(execFile)('npm', ['install', '--omit=optional', '--ignore-scripts', '--no-audit', '--no-fund'], {
      cwd: folder,
    })
  } catch (error) {
    const said = (error as { stderr?: string }).stderr?.trim().split('\n').at(-1)
    throw new Missing(`node-llama-cpp could not be installed (npm install in test/bench/llama): ${said ?? error}`)
  }
}

async function modelFile(log: (line: string) => void): Promise<string> {
  const path = join(cacheDir(), 'llama-7b-q4_0.gguf')
  if (existsSync(path)) return path
  requireRoom(cacheDir(), GGUF_BYTES, "llama.cpp's model")
  log(`writing llama.cpp's model with random blocks: ${path}`)
  await writeGguf(path)
  return path
}
