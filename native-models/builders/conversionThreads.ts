import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { GromaError } from '../errors.ts'
import type { ExternalData } from '../onnx/externalData.ts'
import type { ThreadAnswer, ThreadRole, ThreadTask } from './conversionThread.ts'
import type { Frontiers } from './frontiers.ts'
import type { Written } from './tensorOutput.ts'
import type { Task } from './writeTensors.ts'

/** Beside this file: as source, or built and kept out of the application's archive. */
const ENTRY = new URL(
  import.meta.url.endsWith('.ts') ? './conversionThread.ts' : './conversionThread.mjs',
  import.meta.url.replace('/app.asar/', '/app.asar.unpacked/'),
)
/** A thread has the next task at hand while it works on one. */
const TASKS_AHEAD = 2
const HASH_THREADS = 2

interface Listeners {
  done: (task: Task, written: readonly Written[]) => void
  onBytes: (file: string, bytes: number) => void
}

/** The threads of one conversion. When one of them fails, or a listener throws, all that is awaited fails. */
export class ConversionThreads {
  readonly #folder: string
  readonly #listeners: Listeners
  readonly #workers: Worker[] = []
  #fail: (error: unknown) => void = () => {}
  readonly #failed: Promise<never>
  #isRunning = true

  constructor(folder: string, listeners: Listeners) {
    this.#folder = folder
    this.#listeners = listeners
    this.#failed = new Promise((_, reject) => {
      this.#fail = (error) => {
        this.#isRunning = false
        reject(error)
      }
    })
    this.#failed.catch(() => {}) // told to who awaits a thread
  }

  /** Always true. @throws GromaError CANCELLED once a thread has failed: others have told why */
  running(): true {
    if (this.#isRunning) return true
    throw new GromaError('CANCELLED', 'another thread failed')
  }

  /** Makes tensors that lie in files, on so many threads. */
  make(tasks: readonly Task[], count: number): Promise<unknown> {
    const waiting = [...tasks].reverse()
    const open = new Map<string, Task>()
    const made = new Promise<void>((resolve) => {
      if (tasks.length === 0) resolve()
      const give = (worker: Worker) => {
        const task = waiting.pop()
        if (!task) return
        open.set(task.id, task)
        const { id, earlier } = task
        const { source, products } = task.work
        const { shape, stored = [] } = source
        worker.postMessage({ id, earlier, work: { source: { shape, stored }, products } } satisfies ThreadTask)
      }
      for (let i = 0; i < Math.min(count, tasks.length); i++) {
        const worker = this.#start({ kind: 'make', folder: this.#folder }, (answer) => {
          if (answer.kind === 'bytes') this.#listeners.onBytes(open.get(answer.id)!.file, answer.bytes)
          if (answer.kind !== 'made') return
          this.#listeners.done(open.get(answer.id)!, answer.written)
          open.delete(answer.id)
          give(worker)
          if (open.size === 0) resolve()
        })
        for (let ahead = 0; ahead < TASKS_AHEAD; ahead++) give(worker)
      }
    })
    return Promise.race([made, this.#failed])
  }

  /** SHA-256 of data files, read while they are written: of the largest on a thread of its own. */
  hash(files: readonly ExternalData[], frontiers: Frontiers): Promise<string[]> {
    const all = files.map(({ location, bytes }, index) => ({ path: join(this.#folder, location), index, bytes }))
    const largest = all.reduce((a, b) => (b.bytes > a.bytes ? b : a))
    const shares = [[largest], all.filter((file) => file !== largest)]
    const hashes: string[] = []
    let open = files.length
    const hashed = new Promise<string[]>((resolve) => {
      for (const share of shares.slice(0, HASH_THREADS)) {
        this.#start({ kind: 'hash', files: share, frontiers: frontiers.shared }, (answer) => {
          if (answer.kind !== 'hashed') return
          hashes[answer.index] = answer.sha256
          if (--open === 0) resolve(hashes)
        })
      }
    })
    return Promise.race([hashed, this.#failed])
  }

  /** Ends all threads, whatever they are at. */
  async stop(): Promise<void> {
    this.#isRunning = false
    await Promise.all(this.#workers.map((worker) => worker.terminate()))
  }

  #start(role: ThreadRole, listen: (answer: ThreadAnswer) => void): Worker {
    const worker = new Worker(ENTRY, { workerData: role, execArgv: [] })
    this.#workers.push(worker)
    worker.on('error', this.#fail)
    worker.on('message', (answer: ThreadAnswer) => {
      try {
        if (answer.kind === 'failed') throw new GromaError(answer.code, answer.message)
        listen(answer)
      } catch (error) {
        this.#fail(error)
      }
    })
    return worker
  }
}
