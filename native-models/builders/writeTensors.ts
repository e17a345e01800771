import { open } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { type EngineFile, hashFile } from '../checkpoint/manifest.ts'
import type { ExternalData, FloatSource } from '../onnx/externalData.ts'
import { ConversionThreads } from './conversionThreads.ts'
import { Frontiers } from './frontiers.ts'
import { type Product, placesOfWork, TensorMaker, type TensorWork } from './makeTensor.ts'
import type { Written } from './tensorOutput.ts'

export interface WriteOptions {
  /** threads that make tensors; by default two for each processor, none for little */
  threads?: number | undefined
  /** what an earlier writing of the same tensors told: made anew only where that is not so */
  earlier?: ReadonlyMap<string, readonly Written[]>
  /** Called when so many bytes of tensors are in place; `id` is the same whenever the same data files are written. */
  onTensor?: (id: string, bytes: number, written: readonly Written[]) => void
  /** Called with every stretch of a file; what it throws ends the writing. */
  onBytes?: (file: string, bytes: number) => void
}

/** All that is made of one weight. */
export interface Task {
  id: string
  /** the data file that progress is told of */
  file: string
  work: TensorWork
  earlier?: readonly Written[] | undefined
}

/** Each holds a matrix of codes, up to 90 MB of the release's language model. */
const MOST_THREADS = 8
/** One waits for the disk while another works. */
const THREADS_PER_PROCESSOR = 2
/** Starting threads takes longer than writing less. */
const THREADS_FROM_BYTES = 64 << 20

/**
 * Writes data files as planned. Each weight is read once, whatever is made of it: by threads where it lies in a file, by
 * this one where it is computed. The same bytes whatever the number of threads.
 * @param folder where the files are made, or gone on with
 * @returns the files with their hashes
 * @throws GromaError CHECKPOINT_TRUNCATED, CHECKPOINT_INVALID for a weight that cannot be rounded, DISK_FULL
 */
export async function writeTensors(
  folder: string,
  files: readonly ExternalData[],
  options: WriteOptions = {},
): Promise<EngineFile[]> {
  const { onBytes = () => {}, onTensor = () => {} } = options
  for (const { location, bytes } of files) await makeFile(join(folder, location), bytes)
  const tasks = tasksOf(files, options.earlier)
  const frontiers = new Frontiers(files)
  const done = ({ id, work }: Task, written: readonly Written[]) => {
    let bytes = 0
    for (const [i, place] of placesOfWork(work).entries()) {
      if ('inline' in place) place.inline.set(Buffer.from(String(written[i]), 'base64'))
      else {
        bytes += place.length
        frontiers.written(place)
      }
    }
    onTensor(id, bytes, written)
  }
  const total = files.reduce((sum, { bytes }) => sum + bytes, 0)
  const most = Math.min(MOST_THREADS, THREADS_PER_PROCESSOR * availableParallelism())
  const count = options.threads ?? (total < THREADS_FROM_BYTES ? 0 : most)
  if (count === 0) {
    await makeHere(folder, tasks, { done, onBytes })
    return Promise.all(files.map(async ({ location: path }) => ({ path, ...(await hashFile(join(folder, path))) })))
  }
  const threads = new ConversionThreads(folder, { done, onBytes })
  const [stored, computed] = [true, false].map((is) => tasks.filter(({ work }) => Boolean(work.source.stored) === is))
  const hashed = threads.hash(files, frontiers)
  const made = threads.make(stored!, count)
  const here = makeHere(folder, computed!, {
    done,
    onBytes: (file, bytes) => threads.running() && onBytes(file, bytes),
  })
  try {
    const [hashes] = await Promise.all([hashed, made, here])
    return files.map(({ location: path, bytes }, i) => ({ path, bytes, sha256: hashes[i]! }))
  } finally {
    await threads.stop()
    await here.catch(() => {}) // told above
  }
}

/** What a file lacks of its length is a hole, which reads as zeros: as tensors want what lies between them. */
async function makeFile(path: string, bytes: number): Promise<void> {
  const file = await open(path, 'a')
  try {
    await file.truncate(bytes)
  } finally {
    await file.close()
  }
}

async function makeHere(
  folder: string,
  tasks: readonly Task[],
  {
    done,
    onBytes,
  }: { done: (task: Task, written: readonly Written[]) => void } & Required<Pick<WriteOptions, 'onBytes'>>,
): Promise<void> {
  let file = ''
  const maker = new TensorMaker(folder, (bytes) => onBytes(file, bytes))
  try {
    for (const task of tasks) {
      file = task.file
      const { work, earlier } = task
      done(task, earlier && maker.holds(work, earlier) ? earlier : await maker.make(work))
    }
  } finally {
    maker.close()
  }
}

/**
 * In the order of the files. What is made of the same weight, or of one that is stacked in another, in any of the files, is
 * one task.
 */
function tasksOf(files: readonly ExternalData[], earlier?: WriteOptions['earlier']): Task[] {
  const tasks: { file: string; source: FloatSource; products: Product[]; tensors: unknown[] }[] = []
  /** who reads a tensor first, as which of its tensors, and from which row on */
  const readers = new Map<unknown, { task: (typeof tasks)[number]; index: number; from: number }>()
  for (const { location, tensors: planned } of files) {
    for (const { source, form } of planned) {
      const rows = source.shape[0] ?? 1
      const tensors = tensorsOf(source)
      const reader = readers.get(tensors[0])
      if (reader && tensors.every((tensor, i) => tensor === reader.task.tensors[reader.index + i])) {
        reader.task.products.push({ form, from: reader.from, rows })
        continue
      }
      const task = { file: location, source, products: [{ form, from: 0, rows }], tensors }
      tasks.push(task)
      let from = 0
      for (const [index, tensor] of tensors.entries()) {
        if (!readers.has(tensor)) readers.set(tensor, { task, index, from })
        from += source.stored?.[index]?.rows ?? rows
      }
    }
  }
  return tasks.map(({ file, source, products }) => {
    const work = { source, products }
    const first = placesOfWork(work).find((place) => 'file' in place)!
    const id = `${first.file}@${first.offset}`
    return { id, file, work, earlier: earlier?.get(id) }
  })
}

/** What a source consists of: names of stored tensors that are equal for equal ones, or itself. */
function tensorsOf(source: FloatSource): unknown[] {
  const width = source.shape.slice(1).reduce((product, extent) => product * extent, 1)
  return source.stored?.map((rows) => JSON.stringify([rows, width])) ?? [source]
}
