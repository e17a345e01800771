import { randomBytes } from 'node:crypto'
import { mkdir, open, readdir, readFile, rename, rm, stat, statfs, writeFile } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { type Checkpoint, openCheckpoint } from '../checkpoint/checkpoint.ts'
import { writeManifest } from '../checkpoint/manifest.ts'
import { asGromaError, GromaError } from '../errors.ts'
import { type GromaConfig, parseGromaConfig } from '../groma/config.ts'
import { readPixelSettings } from '../preprocess/pixels.ts'
import { buildGraphs } from './buildGraphs.ts'
import { COPIED_FILES, LLM_PRECISIONS, type Precision, VISION_PRECISIONS } from './modelFiles.ts'
import { Weights } from './weights.ts'

export interface ConvertOptions {
  llm?: string
  vision?: string
  /** Called with the graph in work and the share of all bytes written, 0..1. */
  onProgress?: (progress: ConvertProgress) => void
  signal?: AbortSignal
}

export interface ConvertProgress {
  step: string
  fraction: number
}

/** Room for the model files, the tokenizer and rounding, above the weights themselves. */
const SPARE_BYTES = 16 << 20

/**
 * Turns a released checkpoint's folder into an engine folder. The folder appears whole or not at all: everything is
 * written beside it, flushed, then renamed.
 * @param outDir must not exist yet
 * @throws GromaError INPUT_INVALID for a precision that is not supported or an existing `outDir`, DISK_FULL before anything
 * is written, CANCELLED, and whatever the checkpoint is refused with
 */
export async function convertCheckpoint(
  checkpointDir: string,
  outDir: string,
  options: ConvertOptions = {},
): Promise<void> {
  const precision = parsePrecision(options)
  const target = resolve(outDir)
  if (await exists(target)) throw new GromaError('INPUT_INVALID', `${target} exists already`)
  const checkpoint = await openCheckpoint(checkpointDir)
  try {
    const config = parseGromaConfig(checkpoint.config, join(checkpointDir, 'config.json'))
    const { imageSize } = await readPixelSettings(checkpointDir)
    requireEvenGrid(imageSize, config.vision.patchSize)
    await mkdir(dirname(target), { recursive: true })
    await requireRoom(dirname(target), weightBytes(checkpoint))
    await writeBeside(target, (folder) => writeModel(folder, { checkpoint, config, imageSize, precision }, options))
  } finally {
    await checkpoint.close()
  }
}

async function writeModel(
  folder: string,
  model: { checkpoint: Checkpoint; config: GromaConfig; imageSize: number; precision: Precision },
  { onProgress, signal }: ConvertOptions,
): Promise<void> {
  const { checkpoint, config, precision } = model
  const total = weightBytes(checkpoint)
  let written = 0
  const onBytes = (step: string, bytes: number) => {
    if (signal?.aborted) throw new GromaError('CANCELLED', 'the conversion was cancelled')
    written += bytes
    onProgress?.({ step, fraction: Math.min(1, written / total) })
  }
  const facts = await buildGraphs({ ...model, folder, weights: new Weights(checkpoint), onBytes })
  for (const name of COPIED_FILES) {
    const source = join(checkpoint.dir, name)
    if (await exists(source)) await writeFile(join(folder, name), await readFile(source), { flag: 'wx' })
  }
  onProgress?.({ step: 'manifest', fraction: 1 })
  const content = {
    createdFrom: basename(resolve(checkpoint.dir)),
    createdAt: new Date().toISOString(),
    ...precision,
    config: { groma: config, engine: facts },
  }
  const files = await readdir(folder)
  await Promise.all(files.map((name) => flush(join(folder, name)))) // together: they share the disk's journal
  await writeManifest(folder, content, files, signal ? { signal } : {})
}

/** Runs `write` on a folder beside `target` and renames it into place; on failure nothing is left. */
async function writeBeside(target: string, write: (folder: string) => Promise<void>): Promise<void> {
  const parent = dirname(target)
  await removeAbandoned(parent)
  const folder = join(parent, `.${basename(target)}.${process.pid}-${randomBytes(4).toString('hex')}.partial`)
  await mkdir(folder)
  try {
    await write(folder)
    await flush(folder)
    await rename(folder, target)
    await flush(parent)
  } catch (error) {
    await rm(folder, { recursive: true, force: true })
    throw asGromaError(error, 'CHECKPOINT_INVALID', target)
  }
}

/** Removes what conversions left whose process was killed. */
async function removeAbandoned(parent: string): Promise<void> {
  for (const name of await readdir(parent)) {
    const pid = /^\..+\.(\d+)-[0-9a-f]{8}\.partial$/.exec(name)?.[1]
    if (pid !== undefined && !isRunning(Number(pid))) await rm(join(parent, name), { recursive: true, force: true })
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH' // EPERM: another user's, but there
  }
}

/** @throws GromaError INPUT_INVALID for a precision that is not offered */
function parsePrecision({ llm = 'fp32', vision = 'fp32' }: ConvertOptions): Precision {
  const known = <T extends string>(part: string, offered: readonly T[], word: string): T => {
    const found = offered.find((name) => name === word)
    if (found !== undefined) return found
    throw new GromaError('INPUT_INVALID', `${word} for the ${part} is not offered, only ${offered.join(', ')}`)
  }
  const precision = {
    llm: known('language model', LLM_PRECISIONS, llm),
    vision: known('vision', VISION_PRECISIONS, vision),
  }
  if (precision.vision === 'fp32') return precision
  throw new GromaError('INPUT_INVALID', `${vision} for vision is not supported yet, only fp32`)
}

function weightBytes(checkpoint: Checkpoint): number {
  let bytes = 0
  for (const { shape } of checkpoint.tensors.values()) bytes += shape.reduce((product, n) => product * n, 4)
  return bytes
}

async function requireRoom(folder: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(folder)
  const needed = bytes + SPARE_BYTES
  if (bavail * bsize >= needed) return
  const gigabytes = (value: number) => `${(value / 2 ** 30).toFixed(1)} GiB`
  const room = `${gigabytes(needed)} are needed, ${gigabytes(bavail * bsize)} are free`
  throw new GromaError('DISK_FULL', `${folder}: ${room}`)
}

/** @throws GromaError CONFIG_INVALID when the picture is no even number of patches wide: image tokens join two by two. */
function requireEvenGrid(imageSize: number, patchSize: number): void {
  if (Number.isInteger(imageSize / patchSize / 2)) return
  const reason = `a picture of ${imageSize} pixels is no even number of patches of ${patchSize} pixels`
  throw new GromaError('CONFIG_INVALID', `preprocessor_config.json: ${reason}`)
}

/** Waits until a file or folder is safe on the disk. */
async function flush(path: string): Promise<void> {
  const isFolder = (await stat(path)).isDirectory()
  if (isFolder && process.platform === 'win32') return // folders cannot be opened there
  const file = await open(path, isFolder ? 'r' : 'r+')
  try {
    await file.sync()
  } finally {
    await file.close()
  }
}

function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}
