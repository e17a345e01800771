/** A thread of a conversion: makes tensors as it is told to, or hashes data files while they are written. */
import { createHash } from 'node:crypto'
import { closeSync, openSync, readSync } from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'
import { asGromaError, type GromaErrorCode } from '../errors.ts'
import { TensorMaker, type TensorWork } from './makeTensor.ts'
import type { Written } from './tensorOutput.ts'

export type ThreadRole =
  | { kind: 'make'; folder: string }
  /** `frontiers`: BigInt64 for each file, up to where it is written */
  | { kind: 'hash'; files: { path: string; index: number; bytes: number }[]; frontiers: SharedArrayBuffer }

export interface ThreadTask {
  id: string
  work: TensorWork
  /** what an earlier conversion says to have written: made anew only where that is not so */
  earlier?: readonly Written[] | undefined
}

export type ThreadAnswer =
  | { kind: 'bytes'; id: string; bytes: number }
  | { kind: 'made'; id: string; written: readonly Written[] }
  | { kind: 'hashed'; index: number; sha256: string }
  | { kind: 'failed'; code: GromaErrorCode; message: string }

/** How many bytes are told of at a time. */
const TOLD_BYTES = 8 << 20
const HASH_BYTES = 1 << 20

const send = (answer: ThreadAnswer) => parentPort!.postMessage(answer)
const role = workerData as ThreadRole
try {
  if (role.kind === 'hash') hashFiles(role)
  else makeTensors(role)
} catch (error) {
  fail(error, 'hashing')
}

function makeTensors({ folder }: Extract<ThreadRole, { kind: 'make' }>): void {
  let id = ''
  let untold = 0
  const tell = () => {
    send({ kind: 'bytes', id, bytes: untold })
    untold = 0
  }
  const maker = new TensorMaker(folder, (bytes) => {
    untold += bytes
    if (untold >= TOLD_BYTES) tell()
  })
  const make = async (task: ThreadTask) => {
    id = task.id
    try {
      const { work, earlier } = task
      const whole = earlier !== undefined && maker.holds(work, earlier)
      const written = whole ? earlier : await maker.make(work)
      tell()
      send({ kind: 'made', id, written })
    } catch (error) {
      fail(error, id)
    }
  }
  let queue = Promise.resolve()
  parentPort!.on('message', (task: ThreadTask) => {
    queue = queue.then(() => make(task))
  })
}

function hashFiles({ files, frontiers }: Extract<ThreadRole, { kind: 'hash' }>): void {
  const written = new BigInt64Array(frontiers)
  const chunk = Buffer.allocUnsafe(HASH_BYTES)
  for (const { path, index, bytes } of files) {
    const hash = createHash('sha256')
    const fd = openSync(path, 'r')
    for (let done = 0; done < bytes; ) {
      const until = Number(Atomics.load(written, index))
      if (until === done) Atomics.wait(written, index, BigInt(until))
      else {
        const count = readSync(fd, chunk, 0, Math.min(chunk.length, until - done), done)
        if (count === 0) throw new Error(`${path} ends early`)
        hash.update(chunk.subarray(0, count))
        done += count
      }
    }
    closeSync(fd)
    send({ kind: 'hashed', index, sha256: hash.digest('hex') })
  }
}

function fail(error: unknown, what: string): void {
  const { code, message } = asGromaError(error, 'CHECKPOINT_INVALID', what)
  send({ kind: 'failed', code, message })
}
