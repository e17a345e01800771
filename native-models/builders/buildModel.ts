import { randomBytes } from 'node:crypto'
import { mkdir, readdir, readFile, rename, rm, stat, statfs, writeFile } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { type Checkpoint, openCheckpoint } from '../checkpoint/checkpoint.ts'
import { writeManifest } from '../checkpoint/manifest.ts'
import { asGromaError, GromaError, isSystemError } from '../errors.ts'
import { type GromaConfig, parseGromaConfig } from '../groma/config.ts'
import { isRunning } from '../isRunning.ts'
import { readPixelSettings } from '../preprocess/pixels.ts'
import { loadTokenizer, requireFit } from '../preprocess/tokenizer.ts'
import { planModel } from './buildGraphs.ts'
import { wantsPrefillGraph } from './llmFormats.ts'
import { COPIED_FILES, LLM_PRECISIONS, type Precision, VISION_PRECISIONS } from './modelFiles.ts'
import { checkpointKey, flush, PartialModel } from './partialModel.ts'
import { Weights } from './weights.ts'

export interface ConvertOptions {
  llm?: string
  vision?: string
  /**
   * also write a decoder with int8 weights for long prompts on a CPU: a byte more on the disk for every weight; by default
   * where it pays
   */
  prefill?: boolean
  /** Called with the graph in work and the share of all bytes written, 0..1. */
  onProgress?: (progress: ConvertProgress) => void
  /** threads that make weights; by default two for each processor, none for a small model */
  threads?: number
  signal?: AbortSignal
}

export interface ConvertProgress {
  step: string
  fraction: number
}

/** Room for the model files and the tokenizer, above the weights themselves. */
const SPARE_BYTES = 16 << 20

/** Of every GroupNorm in the authors' region encoder. */
const NORM_GROUPS = 64

/** Raised when the same checkpoint and options give other files: what an older version left half-way is not gone on with. */
const CONVERSION = 'conversion 11'

/**
 * Turns a released checkpoint's folder into an engine folder. The folder appears whole or not at all: everything is
 * written beside it, flushed, then renamed. A conversion that was cancelled or killed leaves its finished tensors there, and
 * the next one to the same `outDir` goes on with them where checkpoint and options are the same.
 * @param outDir must not exist yet
 * @throws GromaError INPUT_INVALID for a precision that is not offered or an existing `outDir`, DISK_FULL before anything
 * is written or in the middle, IO_FAILED where it cannot be written, CANCELLED, and whatever the checkpoint is refused with
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
    const { prefill = wantsPrefillGraph(precision.llm, config.llm.hiddenSize) } = options
    const { imageSize } = await readPixelSettings(checkpointDir)
    requireEvenGrid(imageSize, config.vision.patchSize)
    refuseMoreLayers(checkpoint, config)
    requireWholeGroups(new Weights(checkpoint).at('region_encoder.mlvl_fuse'))
    requireFit(config, await loadTokenizer(checkpointDir), checkpointDir)
    const key = await checkpointKey(checkpoint, CONVERSION, precision.llm, precision.vision, `${prefill}`)
    await writeBeside(target, key, (partial) =>
      writeModel({ checkpoint, config, imageSize, precision, prefill, partial }, options),
    )
  } finally {
    await checkpoint.close()
  }
}

async function writeModel(
  model: {
    checkpoint: Checkpoint
    config: GromaConfig
    imageSize: number
    precision: Precision
    prefill: boolean
    partial: PartialModel
  },
  { onProgress, signal, threads }: ConvertOptions,
): Promise<void> {
  const { checkpoint, config, precision, partial } = model
  const { plan, facts } = await planModel({ ...model, weights: new Weights(checkpoint) })
  let written = partial.bytes
  await requireRoom(dirname(partial.folder), plan.bytes - (await partial.bytesOnDisk()))
  const onBytes = (step: string, bytes: number) => {
    if (signal?.aborted) throw new GromaError('CANCELLED', 'the conversion was cancelled')
    written += bytes
    onProgress?.({ step, fraction: Math.min(1, written / plan.bytes) })
  }
  const { paths, hashed } = await plan.write(partial.folder, {
    threads,
    earlier: new Map(partial.written),
    onTensor: (id, bytes, made) => partial.note(id, bytes, made),
    onBytes: (file, bytes) => onBytes(file.replace(/\..*$/, ''), bytes),
  })
  for (const name of COPIED_FILES) {
    const source = join(checkpoint.dir, name)
    if (!(await exists(source))) continue
    await writeFile(join(partial.folder, name), await readFile(source))
    paths.push(name)
  }
  onProgress?.({ step: 'manifest', fraction: 1 })
  const content = {
    createdFrom: basename(resolve(checkpoint.dir)),
    createdAt: new Date().toISOString(),
    ...precision,
    config: { groma: config, engine: facts },
  }
  await partial.finish(paths)
  await writeManifest(partial.folder, content, paths, { known: hashed, ...(signal ? { signal } : {}) })
}

/**
 * Runs `write` on a folder beside `target` and renames it into place. Cancelled, what is finished stays there under another
 * name, as does what was found where nothing could be added; on any other failure nothing is left.
 */
async function writeBeside(
  target: string,
  key: string,
  write: (partial: PartialModel) => Promise<void>,
): Promise<void> {
  const parent = dirname(target)
  const folder = join(parent, partialName(target, `${process.pid}`))
  let partial: PartialModel | undefined
  try {
    await mkdir(parent, { recursive: true })
    await takeOver(target, folder)
    partial = await PartialModel.open(folder, key)
    await write(partial)
    await flush(folder)
    await rename(folder, target)
    await flush(parent)
  } catch (error) {
    const failure = failureOf(error, folder, target)
    const keep = partial?.isWorthKeeping && (failure.code === 'CANCELLED' || !partial.hasGrown)
    if (keep) await rename(folder, join(parent, partialName(target, STOPPED)))
    else await rm(folder, { recursive: true, force: true }).catch(() => {}) // where nothing could be made
    throw failure
  }
}

/** Tells of `target` what went wrong in `folder`, which is gone. */
function failureOf(error: unknown, folder: string, target: string): GromaError {
  const { code, message } = asGromaError(error, isSystemError(error) ? 'IO_FAILED' : 'CHECKPOINT_INVALID', target)
  return new GromaError(code, message.replaceAll(folder, target), { cause: error })
}

/** In the place of a process's number: nobody works on it. */
const STOPPED = 'stopped'

const partialName = (target: string, owner: string) =>
  `.${basename(target)}.${owner}-${randomBytes(4).toString('hex')}.partial`

/** Makes `folder`: out of what an earlier conversion to the same target left, or anew. */
async function takeOver(target: string, folder: string): Promise<void> {
  const parent = dirname(target)
  let taken = false
  for (const name of await readdir(parent)) {
    const [, of, owner] = /^\.(.+)\.(\d+|stopped)-[0-9a-f]{8}\.partial$/.exec(name) ?? []
    if (of !== basename(target) || (owner !== STOPPED && isRunning(Number(owner)))) continue
    if (taken) await rm(join(parent, name), { recursive: true, force: true })
    else await rename(join(parent, name), folder)
    taken = true
  }
  if (!taken) await mkdir(folder)
}

/** @throws GromaError INPUT_INVALID for a precision that is not offered */
function parsePrecision({ llm = 'fp32', vision = 'fp32' }: ConvertOptions): Precision {
  const known = <T extends string>(part: string, offered: readonly T[], word: string): T => {
    const found = offered.find((name) => name === word)
    if (found !== undefined) return found
    throw new GromaError('INPUT_INVALID', `${word} for the ${part} is not offered, only ${offered.join(', ')}`)
  }
  return { llm: known('language model', LLM_PRECISIONS, llm), vision: known('vision', VISION_PRECISIONS, vision) }
}

async function requireRoom(folder: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(folder)
  const needed = bytes + SPARE_BYTES
  if (bavail * bsize >= needed) return
  const size = (value: number) =>
    value < 2 ** 30 ? `${Math.ceil(value / 2 ** 20)} MiB` : `${(value / 2 ** 30).toFixed(1)} GiB`
  const room = `${size(needed)} are needed, ${size(bavail * bsize)} are free`
  throw new GromaError('DISK_FULL', `${folder}: ${room}`)
}

/** @throws GromaError CONFIG_INVALID when the picture is no even number of patches wide: image tokens join two by two. */
function requireEvenGrid(imageSize: number, patchSize: number): void {
  if (Number.isInteger(imageSize / patchSize / 2)) return
  const reason = `a picture of ${imageSize} pixels is no even number of patches of ${patchSize} pixels`
  throw new GromaError('CONFIG_INVALID', `preprocessor_config.json: ${reason}`)
}

/** @throws GromaError CONFIG_INVALID when the checkpoint has layers that the configuration does not name: it is another model's. */
function refuseMoreLayers({ tensors }: Checkpoint, { vision, detector, llm }: GromaConfig): void {
  const counts = {
    'llm.model.layers': llm.layerCount,
    'perceiver.vis_encoder.encoder.layer': vision.layerCount,
    'perceiver.ddetr_transformer.encoder.layers': detector.encoderLayerCount,
    'perceiver.ddetr_transformer.decoder.layers': detector.decoderLayerCount,
  }
  for (const [layers, count] of Object.entries(counts)) {
    const more = [...tensors.keys()].find((name) => name.startsWith(`${layers}.${count}.`))
    if (more) throw new GromaError('CONFIG_INVALID', `config.json: names ${count} layers, the checkpoint has ${more}`)
  }
}

/** @throws GromaError CHECKPOINT_INVALID when channels of the region maps cannot be normed in groups. */
function requireWholeGroups(fuse: Weights): void {
  const norm = 'fuse_convs.0.gn.weight'
  const channels = fuse.has(norm) ? fuse.dim(norm, 0) : 0
  if (channels % NORM_GROUPS === 0) return
  const reason = `${channels} channels are not divisible into the ${NORM_GROUPS} groups of their norm`
  throw new GromaError('CHECKPOINT_INVALID', `region_encoder.mlvl_fuse: ${reason}`)
}

function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}
