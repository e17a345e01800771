import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, open, readFile, rename, rm, statfs, writeFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { ALL_GRAPHS, type AnyGraphName, dataFile, graphFile, PREFILL_GRAPH } from '../builders/modelFiles.ts'
import { type EngineManifest, readManifest } from '../checkpoint/manifest.ts'
import { asGromaError, GromaError, isSystemError } from '../errors.ts'
import { decodeOutline, type ModelOutline } from '../onnx/proto.ts'
import { damageOf, FileRecord, recordFile } from './fileRecord.ts'
import { cpuKey } from './machine.ts'
import type { Placement } from './placement.ts'
import { isBeingMade, partialName, sweep } from './prepackedFolders.ts'
import { GraphSession } from './session.ts'

/**
 * Weights as the kernels of this very processor want them, made once and then mapped into memory: a large model is there in
 * seconds, and its weights are the system's page cache instead of the process's own memory. The engine folder stays as it is.
 */

/** Raised when session options change what the runtime makes of a graph. */
const FORMAT = 3
/** Models of less load in a fraction of a second anyway. */
const WORTH_BYTES = 256 << 20
/** In the cache: a folder for each model, and in it one for each key. */
const FOLDER = 'prepacked'
const RECORD = 'prepacked.json'
/** Laid-out weights lie beside the plain ones, which the runtime wants as well. */
const GROWTH = 2.1
const LOOK_MS = 500

const Prepacked = z.object({ modelDir: z.string(), graphs: z.array(z.enum(ALL_GRAPHS)), files: z.array(FileRecord) })

export interface PrepackInput {
  modelDir: string
  /** the application's cache */
  cacheDir: string
  /** those that run on the processor */
  graphs: readonly AnyGraphName[]
}

/** Whether laying out a model's weights pays. */
export function isWorthPrepacking({ files }: EngineManifest): boolean {
  return files.reduce((sum, { bytes }) => sum + bytes, 0) >= WORTH_BYTES
}

/** The graphs of a model that run on the processor. */
export function graphsOnCpu({ files }: EngineManifest, placement: Placement): AnyGraphName[] {
  const written = new Set(files.map(({ path }) => path))
  return ALL_GRAPHS.filter((graph) => {
    const place = placement[graph === PREFILL_GRAPH ? 'decoder' : graph]
    return place === undefined && written.has(graphFile(graph))
  })
}

/**
 * The folder with the laid-out graphs of a model for this machine, or why there is none: never made, or damaged.
 * Costs a few hundredths of a second, whatever the size: see `damageOf` for what it cannot notice.
 */
export async function findPrepacked(input: PrepackInput): Promise<{ dir: string | null; reason: string }> {
  const { modelHash } = await readManifest(input.modelDir)
  const dir = folderOf(input, modelHash)
  if (!existsSync(dir)) return { dir: null, reason: 'not made yet' }
  try {
    const { files } = await readRecord(dir)
    for (const file of files) {
      const damage = await damageOf(join(dir, file.name), file)
      if (damage !== null) return { dir: null, reason: damage }
    }
    return { dir, reason: '' }
  } catch (error) {
    return { dir: null, reason: `${RECORD} is damaged: ${(error as Error).message}` }
  }
}

async function readRecord(dir: string): Promise<z.infer<typeof Prepacked>> {
  return Prepacked.parse(JSON.parse(await readFile(join(dir, RECORD), 'utf8')))
}

/**
 * Lays out the weights of a model's graphs for this machine: written beside, flushed, renamed. Folders of other keys (another
 * processor, runtime or choice of graphs) and of models that are gone or were replaced are removed. What another process is
 * laying out is waited for. Takes as much memory as the model: for a process of its own.
 * @returns the folder
 * @throws GromaError DISK_FULL before anything is written or in the middle, IO_FAILED, MODEL_INVALID: nothing stays
 */
export async function makePrepacked(
  input: PrepackInput,
  { threads, onProgress }: { threads: number; onProgress: (graph: AnyGraphName, fraction: number) => void },
): Promise<string> {
  const { modelDir, graphs } = input
  const manifest = await readManifest(modelDir)
  const target = folderOf(input, manifest.modelHash)
  const parent = dirname(target)
  const partial = join(parent, partialName())
  const sizes = new Map(manifest.files.map(({ path, bytes }) => [path, bytes]))
  const bytesOf = (graph: AnyGraphName) => sizes.get(dataFile(graph)) ?? 0
  const total = graphs.reduce((sum, graph) => sum + bytesOf(graph), 0)
  try {
    await mkdir(parent, { recursive: true })
    while (await isBeingMade(parent)) {
      onProgress(graphs[0]!, 0)
      await sleep(LOOK_MS)
    }
    const { dir } = await findPrepacked(input)
    if (dir !== null) return dir
    await sweep(dirname(parent), (path) => isUseful(path, parent, modelDir))
    await mkdir(partial, { recursive: true })
    await requireRoom(parent, total * GROWTH)
    const files: FileRecord[] = []
    let done = 0
    for (const graph of graphs) {
      onProgress(graph, done / total)
      await prepackGraph(modelDir, partial, graph, threads)
      for (const name of [graphFile(graph), dataFile(graph)]) {
        if (!existsSync(join(partial, name))) continue // of small weights, or not laid out
        await flush(join(partial, name))
        files.push(await recordFile(join(partial, name), name, () => onProgress(graph, done / total)))
      }
      done += bytesOf(graph)
    }
    await writeFile(join(partial, RECORD), JSON.stringify({ modelDir: resolve(modelDir), graphs, files }), {
      flush: true,
    })
    await rename(partial, target)
    return target
  } catch (error) {
    await rm(partial, { recursive: true, force: true }).catch(() => {}) // where nothing could be made
    const { dir } = await findPrepacked(input)
    if (dir !== null) return dir // another process was faster: its folder is as good
    // The runtime says "Failed to write" of a full disk, and of nothing else.
    const code = /failed to write/i.test((error as Error).message) ? 'DISK_FULL' : null
    throw code
      ? new GromaError(code, `${parent}: the disk is full`, { cause: error })
      : asGromaError(error, isSystemError(error) ? 'IO_FAILED' : 'MODEL_INVALID', modelDir)
  }
}

/**
 * Weights of fewer bytes stay in the model file. 1.30 writes the small ones of depthwise integer convolutions in a form it
 * cannot read back; and it puts only those above a mebibyte where their places in memory are the same as when they were laid
 * out, which those in blocks need. Small models have some in blocks that are smaller.
 */
const OUTSIDE_FROM_BYTES = [16 << 10, (1 << 20) + 1]
/** Of the runtime's own memory. */
const ALIGNMENT = 64

/**
 * One graph, saved and opened again. What the runtime wrote and cannot use is not kept: that graph runs from the engine folder.
 */
async function prepackGraph(modelDir: string, folder: string, graph: AnyGraphName, threads: number): Promise<void> {
  const path = join(folder, graphFile(graph))
  const remove = async () => {
    for (const name of [graphFile(graph), dataFile(graph)]) await rm(join(folder, name), { force: true })
  }
  let isUsable = false
  for (const fromBytes of OUTSIDE_FROM_BYTES) {
    await remove()
    const saveTo = { path, dataFile: dataFile(graph), fromBytes }
    await (await GraphSession.open(join(modelDir, graphFile(graph)), threads, { saveTo })).release()
    const { externalTensors } = decodeOutline(await readFile(path))
    await requireWhole(folder, graph, externalTensors)
    isUsable = !externalTensors.some(isMisplaced)
    if (isUsable) break
  }
  if (!isUsable) return remove()
  try {
    await (await GraphSession.open(path, threads)).release()
  } catch (error) {
    if ((error as GromaError).code !== 'MODEL_INVALID') throw error
    await remove()
  }
}

type ExternalTensor = ModelOutline['externalTensors'][number]

/** Of a weight in blocks: what the runtime laid out of it lies behind it in the file. */
const isMisplaced = ({ type, shape, offset }: ExternalTensor) =>
  type === 'uint8' && shape.length === 3 && offset % ALIGNMENT !== 0

/** The file of a graph that is laid out in a folder; null where it is not. */
export function prepackedFile(dir: string | null, graph: AnyGraphName): string | null {
  const path = dir === null ? null : join(dir, graphFile(graph))
  return path !== null && existsSync(path) ? path : null
}

/** @throws GromaError DISK_FULL when the runtime could not write all that it announced */
async function requireWhole(
  folder: string,
  graph: AnyGraphName,
  externalTensors: readonly ExternalTensor[],
): Promise<void> {
  const needed = externalTensors.reduce((end, { offset, length }) => Math.max(end, offset + length), 0)
  if (needed === 0) return
  const file = await open(join(folder, dataFile(graph)), 'r')
  try {
    const { size } = await file.stat()
    if (size < needed) throw new GromaError('DISK_FULL', `${folder}: only ${size} of ${needed} bytes could be written`)
  } finally {
    await file.close()
  }
}

function folderOf({ cacheDir, graphs }: PrepackInput, modelHash: string): string {
  const key = createHash('sha256')
    .update([FORMAT, cpuKey(), ...graphs].join('\n'))
    .digest('hex')
  return join(cacheDir, FOLDER, modelHash.slice(0, 16), key.slice(0, 16))
}

/**
 * Not what was laid out under other keys or is damaged, nor what was made of a model that lay where this one lies or of one
 * that lies nowhere any more.
 * @param parent the folder of this model's
 */
async function isUseful(path: string, parent: string, modelDir: string): Promise<boolean> {
  const record = await readRecord(path).catch(() => null)
  if (record === null || dirname(path) === parent) return false
  return record.modelDir !== resolve(modelDir) && existsSync(record.modelDir)
}

/** Removes what processes left that were killed while they laid out weights; where that cannot be, it stays. */
export function removeUnfinished(cacheDir: string): Promise<void> {
  return sweep(join(cacheDir, FOLDER), async () => true).catch(() => {})
}

async function requireRoom(folder: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(folder)
  if (bavail * bsize >= bytes) return
  const gigabytes = (value: number) => `${(value / 2 ** 30).toFixed(1)} GiB`
  throw new GromaError('DISK_FULL', `${folder}: ${gigabytes(bytes)} are needed, ${gigabytes(bavail * bsize)} are free`)
}

async function flush(path: string): Promise<void> {
  const file = await open(path, 'r+')
  try {
    await file.sync()
  } finally {
    await file.close()
  }
}
