import { type FileHandle, open, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { asGromaError, GromaError } from '../errors.ts'
import { canonicalTensorName } from './names.ts'
import { readSafetensorsHeader, type ShardContents } from './safetensors.ts'
import { isRowMajor, readTensor, rowsOf, type TensorLocation, type WeightDtype } from './tensorData.ts'
import { readTorchZip } from './torchZip.ts'

export interface TensorInfo {
  /** canonical name, see names.ts */
  name: string
  shape: readonly number[]
  dtype: WeightDtype
  /** shard that holds it */
  file: string
}

/** An opened checkpoint: every shard's table is read and checked, the numbers are read on request. */
export interface Checkpoint {
  dir: string
  /** `config.json`, parsed as JSON only */
  config: unknown
  /** by canonical name */
  tensors: ReadonlyMap<string, TensorInfo>
  /** Whether a tensor is there, under its canonical name or its alias. */
  has(name: string): boolean
  /**
   * One tensor, row-major.
   * @throws CHECKPOINT_INVALID when it is missing, CHECKPOINT_TRUNCATED when its file ends early
   */
  readFloat32(name: string): Promise<Float32Array>
  /** Some rows (first axis) of one tensor: huge tables need not fit in memory. */
  readRows(name: string, startRow: number, rowCount: number): Promise<Float32Array>
  /**
   * Where a tensor's numbers lie one after the other, row-major; null where they do not.
   * @throws CHECKPOINT_INVALID when there is no such tensor, and why
   */
  where(name: string): { name: string; path: string; byteOffset: number; dtype: WeightDtype } | null
  close(): Promise<void>
}

const layouts = [
  { index: 'model.safetensors.index.json', single: 'model.safetensors', read: readSafetensorsHeader },
  { index: 'pytorch_model.bin.index.json', single: 'pytorch_model.bin', read: readTorchZip },
] as const
const maxJsonBytes = 64 * 1024 * 1024

/** Tensor groups without which a checkpoint is not Groma's. */
const gromaGroups = [
  'perceiver.vis_encoder.',
  'perceiver.ddetr_transformer.',
  'llm.model.',
  'img_txt_bridge.',
  'region_encoder.',
  'new_input_embs.',
  'extra_lm_head.',
]

/**
 * Opens a folder in the layout of the authors' release: `config.json` and weights as safetensors or torch zips, in one
 * file or in shards with an index.
 * @throws CHECKPOINT_MISSING, CHECKPOINT_TRUNCATED, CHECKPOINT_INVALID, CHECKPOINT_FOREIGN, naming the file
 */
export async function openCheckpoint(dir: string): Promise<Checkpoint> {
  const config = await readJson(dir, 'config.json')
  const { files, indexed, read } = await findShards(dir)
  const handles = new Map<string, FileHandle>()
  const close = async () => {
    const open = [...handles.values()]
    handles.clear()
    await Promise.all(open.map((handle) => handle.close()))
  }
  try {
    const locations = new Map<string, TensorLocation>()
    const otherTypes = new Map<string, string>()
    for (const file of files) {
      const handle = await openShard(dir, file, indexed)
      handles.set(file, handle)
      const contents = await read(handle, file).catch((error: unknown) => {
        throw asGromaError(error, 'CHECKPOINT_INVALID', file)
      })
      checkAgainstIndex(contents, file, indexed)
      collect(contents, locations, otherTypes)
    }
    refuseForeignTensors(locations, dir)

    const locate = (name: string): TensorLocation => {
      const location = locations.get(canonicalTensorName(name))
      if (location) return location
      const type = otherTypes.get(canonicalTensorName(name))
      const reason = type ? `${name} is stored as ${type}, which cannot be a weight` : `the tensor ${name} is missing`
      throw new GromaError('CHECKPOINT_INVALID', `${dir}: ${reason}`)
    }
    const readLocated = async (location: TensorLocation): Promise<Float32Array> => {
      const handle = handles.get(location.file)
      if (!handle) throw new GromaError('INPUT_INVALID', `${dir}: the checkpoint is closed`)
      try {
        return await readTensor(handle, location)
      } catch (error) {
        throw asGromaError(error, 'CHECKPOINT_INVALID', `${location.file}: ${location.name}`)
      }
    }
    const tensors = new Map<string, TensorInfo>()
    for (const [name, { shape, dtype, file }] of locations) tensors.set(name, { name, shape, dtype, file })
    return {
      dir,
      config,
      tensors,
      has: (name) => locations.has(canonicalTensorName(name)),
      readFloat32: async (name) => readLocated(locate(name)),
      readRows: async (name, startRow, rowCount) => readLocated(rowsOf(locate(name), startRow, rowCount)),
      where: (name) => {
        const location = locate(name)
        const { file, byteOffset, dtype } = location
        return isRowMajor(location) ? { name: location.name, path: join(dir, file), byteOffset, dtype } : null
      },
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

type ShardReader = (handle: FileHandle, file: string) => Promise<ShardContents>
type WeightMap = ReadonlyMap<string, string>

async function findShards(dir: string): Promise<{ files: string[]; indexed: WeightMap | null; read: ShardReader }> {
  for (const { index, single, read } of layouts) {
    if (await exists(join(dir, index))) {
      const indexed = parseIndex(await readJson(dir, index), index)
      return { files: [...new Set(indexed.values())].sort(), indexed, read }
    }
    if (await exists(join(dir, single))) return { files: [single], indexed: null, read }
  }
  const wanted = layouts.flatMap(({ index, single }) => [single, index]).join(', ')
  throw new GromaError('CHECKPOINT_MISSING', `${dir}: holds no weights (none of ${wanted})`)
}

function parseIndex(json: unknown, file: string): WeightMap {
  const weightMap = (json as { weight_map?: unknown } | null)?.weight_map
  if (typeof weightMap !== 'object' || weightMap === null || Array.isArray(weightMap)) {
    throw new GromaError('CHECKPOINT_INVALID', `${file}: has no weight_map`)
  }
  const entries = Object.entries(weightMap)
  for (const [name, shard] of entries) {
    const plain =
      typeof shard === 'string' && /^[^/\\:\0]{1,255}\.(bin|safetensors)$/.test(shard) && !shard.startsWith('.')
    if (!plain)
      throw new GromaError('CHECKPOINT_INVALID', `${file}: ${name.slice(0, 120)} lies in a file with a strange name`)
  }
  if (entries.length === 0) throw new GromaError('CHECKPOINT_INVALID', `${file}: names no tensors`)
  return new Map(entries as [string, string][])
}

async function openShard(dir: string, file: string, indexed: WeightMap | null): Promise<FileHandle> {
  try {
    const path = join(dir, file)
    if ((await stat(path)).isFile()) return await open(path, 'r') // asked first: opening a pipe waits for who writes to it
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw asGromaError(error, 'CHECKPOINT_INVALID', file)
    const owner = indexed ? ' (the index names it)' : ''
    throw new GromaError('CHECKPOINT_MISSING', `${file}: is missing from ${dir}${owner}`, { cause: error })
  }
  throw new GromaError('CHECKPOINT_INVALID', `${file}: is not a file`)
}

function checkAgainstIndex(contents: ShardContents, file: string, indexed: WeightMap | null): void {
  if (!indexed) return
  const present = new Set([...contents.tensors.map(({ name }) => name), ...contents.otherTensors.keys()])
  for (const [name, shard] of indexed) {
    if (shard === file && !present.has(name)) {
      throw new GromaError('CHECKPOINT_INVALID', `${file}: lacks ${name}, which the index says it holds`)
    }
  }
}

function collect(contents: ShardContents, locations: Map<string, TensorLocation>, others: Map<string, string>): void {
  for (const location of contents.tensors) {
    const name = canonicalTensorName(location.name)
    const other = locations.get(name)
    if (other && other.shape.join() !== location.shape.join()) {
      throw new GromaError(
        'CHECKPOINT_INVALID',
        `${location.file}: ${location.name} and ${other.name} should be one tensor`,
      )
    }
    if (other && other.name === location.name) {
      throw new GromaError('CHECKPOINT_INVALID', `${location.file}: ${name} is also in ${other.file}`)
    }
    if (!other || location.name === name) locations.set(name, location)
  }
  for (const [name, type] of contents.otherTensors) others.set(canonicalTensorName(name), type)
}

function refuseForeignTensors(tensors: ReadonlyMap<string, unknown>, dir: string): void {
  const names = [...tensors.keys()]
  const missing = gromaGroups.filter((group) => !names.some((name) => name.startsWith(group)))
  if (missing.length === 0) return
  const plainLlama = names.some((name) => name.startsWith('model.layers.') || name === 'lm_head.weight')
  const kind = plainLlama
    ? 'a plain LLaMA checkpoint, not Groma'
    : `not a Groma checkpoint: it has no ${missing.join(', ')}`
  throw new GromaError('CHECKPOINT_FOREIGN', `${dir}: is ${kind}`)
}

async function readJson(dir: string, file: string): Promise<unknown> {
  const path = join(dir, file)
  try {
    if ((await stat(path)).size > maxJsonBytes) throw new GromaError('CHECKPOINT_INVALID', `${file}: is absurdly large`)
    return JSON.parse(await readFile(path, 'utf8'))
  } catch (error) {
    const missing = ['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')
    if (missing) throw new GromaError('CHECKPOINT_MISSING', `${file}: is missing from ${dir}`, { cause: error })
    throw asGromaError(error, 'CHECKPOINT_INVALID', `${file}: is not JSON`)
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}
