/** The real thing in a process of its own: `serve`, with a home folder that nothing else uses. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'

const repo = resolve(import.meta.dirname, '../../..')

/** A running `serve` and how to talk to it past the window. */
export interface ServedApp {
  readonly url: string
  readonly token: string
  /** Any call of the contract over HTTP. */
  call(name: string, input?: unknown): Promise<unknown>
  /** Ends the process as a person would (SIGTERM) and waits for it. */
  stop(): Promise<void>
  /** Ends it as a crash would. */
  kill(): Promise<void>
}

/** Starts `serve`. @param home takes the place of the home folder: settings and recent projects go there */
export async function serve(home: string, args: readonly string[] = []): Promise<ServedApp> {
  const child = spawn(process.execPath, ['electron/cli/main.ts', 'serve', '--port', '0', ...args], {
    cwd: repo,
    env: { ...process.env, HOME: home, XDG_CONFIG_HOME: join(home, '.config'), XDG_DATA_HOME: join(home, '.local') },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let errors = ''
  child.stderr.on('data', (chunk: Buffer) => {
    errors += chunk.toString()
  })
  const url = await firstLine(child).catch((error: Error) => {
    throw new Error(`${error.message}\n${errors}`)
  })
  const { origin, hash } = new URL(url)
  const token = new URLSearchParams(hash.slice(1)).get('token') ?? ''
  return {
    url,
    token,
    async call(name, input = {}) {
      const response = await fetch(`${origin}/call/${name}`, {
        method: 'POST',
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: JSON.stringify(input),
      })
      const body: unknown = await response.json()
      if (!response.ok) throw new Error(`${name}: ${JSON.stringify(body)}`)
      return body
    },
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return
      const ended = new Promise((done) => child.once('exit', done))
      child.kill('SIGTERM')
      const late = setTimeout(() => child.kill('SIGKILL'), 20_000)
      await ended
      clearTimeout(late)
    },
    async kill() {
      const ended = new Promise((done) => child.once('exit', done))
      child.kill('SIGKILL')
      await ended
    },
  }
}

function firstLine(child: ChildProcess): Promise<string> {
  return new Promise((done, fail) => {
    createInterface({ input: child.stdout! }).once('line', done)
    child.once('exit', (code) => fail(new Error(`serve ended with ${code} before it printed its address`)))
  })
}

/** Builds the window unless the one in out/renderer is newer than every source. Test files run side by side: one builds. */
export function ensureWindowBuilt(): void {
  const lock = join(repo, 'out', '.window-build')
  mkdirSync(join(repo, 'out'), { recursive: true })
  const until = Date.now() + 120_000
  while (!tryMakeFolder(lock)) {
    // a lock left by a killed run is taken over
    if (Date.now() > until) break
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200)
  }
  try {
    buildIfOld()
  } finally {
    rmSync(lock, { recursive: true, force: true })
  }
}

function tryMakeFolder(path: string): boolean {
  try {
    mkdirSync(path)
    return true
  } catch {
    return false
  }
}

function buildIfOld(): void {
  const built = join(repo, 'out/renderer/index.html')
  const sources = ['renderer', 'electron/contract', 'electron/transport', 'db/records', 'native-models/geometry']
  if (existsSync(built) && sources.every((folder) => newest(join(repo, folder)) <= statSync(built).mtimeMs)) return
  execFileSync(process.execPath, ['node_modules/vite/bin/vite.js', 'build', '-c', 'build/vite.renderer.config.ts'], {
    cwd: repo,
    env: { ...process.env, NODE_ENV: 'production' }, // a test runner's would build React's development version
    stdio: 'pipe',
  })
}

function newest(folder: string): number {
  let latest = 0
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) latest = Math.max(latest, statSync(join(entry.parentPath, entry.name)).mtimeMs)
  }
  return latest
}
