import { copyFile, mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { writeRawSafetensors } from '../../native-models/checkpoint/safetensors.ts'
import { formulaTensor, type ReferenceWeights } from './referenceWeights.ts'
import { type TorchStorage, type TorchTensor, writeTorchZip } from './torchZipWriter.ts'

export type CheckpointDtype = 'F32' | 'F16' | 'BF16'

export interface CheckpointOptions {
  dtype?: CheckpointDtype
  format?: 'safetensors' | 'torch'
  /** more than one writes shards and an index */
  shards?: number
}

/** Folder of the reference fixtures. */
export const referenceDir = join(import.meta.dirname, '../fixtures/reference')

/** Which tokenizer fixture each reference model uses. */
export const tokenizerFolders = {
  'one-level': 'tokenizer-legacy',
  'four-level': 'tokenizer-no-prefix',
  'three-level': 'tokenizer-no-prefix',
  'no-region-passes': 'tokenizer-no-prefix',
} as const

export type ReferenceName = keyof typeof tokenizerFolders

/** Writes one of the reference models as a checkpoint of its own. */
export async function makeReferenceCheckpoint(name: ReferenceName, outDir: string, options: CheckpointOptions = {}) {
  const json = async (file: string) => JSON.parse(await readFile(join(referenceDir, name, file), 'utf8'))
  const tokenizerDir = join(referenceDir, tokenizerFolders[name])
  await makeCheckpointFromWeights(await json('weights.json'), await json('config.json'), tokenizerDir, outDir, options)
}

/**
 * Writes a checkpoint folder in the layout of the authors' release from a table of formula weights.
 * safetensors files keep only the `decoder.` names of the detector's heads, torch zips name both, as the authors' tools do.
 */
export async function makeCheckpointFromWeights(
  weights: ReferenceWeights,
  config: unknown,
  tokenizerDir: string,
  outDir: string,
  options: CheckpointOptions = {},
): Promise<void> {
  const { dtype = 'F32', format = 'safetensors', shards = 1 } = options
  await mkdir(outDir, { recursive: true })
  for (const file of await readdir(tokenizerDir)) await copyFile(join(tokenizerDir, file), join(outDir, file))
  await writeFile(join(outDir, 'config.json'), `${JSON.stringify(config, null, 2)}\n`)
  const tensors = weights.tensors.map(({ name, shape, scale, offset }) => ({
    name,
    shape,
    dtype,
    bytes: toStoredBytes(formulaTensor(weights.seed, name, shape, scale, offset), dtype),
  }))
  const stem = format === 'torch' ? 'pytorch_model' : 'model'
  const extension = format === 'torch' ? 'bin' : 'safetensors'
  const weightMap: Record<string, string> = {}
  const perShard = Math.ceil(tensors.length / shards)
  for (let shard = 0; shard < shards; shard++) {
    const numbered = (value: number) => String(value).padStart(5, '0')
    const suffix = shards === 1 ? '' : `-${numbered(shard + 1)}-of-${numbered(shards)}`
    const file = `${stem}${suffix}.${extension}`
    const part = tensors.slice(shard * perShard, (shard + 1) * perShard)
    const write = format === 'torch' ? writeTorchShard : writeSafetensorsShard
    for (const name of await write(join(outDir, file), part)) weightMap[name] = file
  }
  if (shards > 1) {
    const index = {
      metadata: { total_size: tensors.reduce((sum, { bytes }) => sum + bytes.length, 0) },
      weight_map: weightMap,
    }
    await writeFile(join(outDir, `${stem}.${extension}.index.json`), JSON.stringify(index))
  }
}

interface StoredTensor {
  name: string
  shape: number[]
  dtype: CheckpointDtype
  bytes: Uint8Array
}

/** The second name of a tensor of the detector's heads, if it has one. */
export function aliasOf(name: string): string | null {
  const alias = name.replace(/^(perceiver\.ddetr_transformer\.)(bbox_embed|class_embed)/, '$1decoder.$2')
  return alias === name ? null : alias
}

async function writeSafetensorsShard(path: string, tensors: readonly StoredTensor[]): Promise<string[]> {
  const renamed = tensors.map((tensor) => ({ ...tensor, name: aliasOf(tensor.name) ?? tensor.name }))
  await writeRawSafetensors(path, renamed, { format: 'pt' })
  return renamed.map(({ name }) => name)
}

async function writeTorchShard(path: string, tensors: readonly StoredTensor[]): Promise<string[]> {
  const views = new Map<string, TorchTensor>()
  const storages = new Map<string, TorchStorage>()
  const types = { F32: 'FloatStorage', F16: 'HalfStorage', BF16: 'BFloat16Storage' } as const
  tensors.forEach(({ name, shape, dtype, bytes }, index) => {
    const length = shape.reduce((product, extent) => product * extent, 1)
    storages.set(`${index}`, { type: types[dtype], length, bytes })
    const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((product, extent) => product * extent, 1))
    const view = { storageKey: `${index}`, offset: 0, shape, strides }
    views.set(name, view)
    const alias = aliasOf(name)
    if (alias) views.set(alias, view)
  })
  await writeTorchZip(path, views, storages)
  return [...views.keys()]
}

/** float32 numbers in their stored form; throws where a number is not exact in it. */
export function toStoredBytes(values: Float32Array, dtype: CheckpointDtype): Uint8Array {
  if (dtype === 'F32') return new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length)
  const narrow = new Uint16Array(values.length)
  for (let i = 0; i < words.length; i++) narrow[i] = dtype === 'BF16' ? bfloat16Bits(words[i]!) : float16Bits(words[i]!)
  return new Uint8Array(narrow.buffer)
}

function bfloat16Bits(word: number): number {
  if ((word & 0xffff) !== 0) throw new RangeError('not exact in bfloat16')
  return word >>> 16
}

function float16Bits(word: number): number {
  const sign = (word >>> 16) & 0x8000
  const exponent = ((word >>> 23) & 0xff) - 127
  const fraction = word & 0x7fffff
  if ((word & 0x7fffffff) === 0) return sign
  const shift = exponent >= -14 ? 13 : 13 + (-14 - exponent)
  const significand = exponent >= -14 ? fraction : fraction | 0x800000
  if (exponent > 15 || shift > 24 || (significand & ((1 << shift) - 1)) !== 0)
    throw new RangeError('not exact in float16')
  return sign | (exponent >= -14 ? (exponent + 15) << 10 : 0) | (significand >>> shift)
}
