/**
 * A checkpoint of the release's exact shapes (Groma 7B: Vicuna-7B, DINOv2-L, six layers of deformable DETR; guide: groma),
 * with every value from the reference's formula, for figures of speed and memory: nobody's weights, so its answers mean nothing.
 * Run by itself: `node test/support/releaseCheckpoint.ts OUT_DIR [torch|safetensors]`; 14 GB.
 */
import { copyFile, mkdir, open, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { type GromaSizes, gromaTensors } from './gromaTensors.ts'
import { aliasOf, referenceDir } from './makeCheckpoint.ts'
import { formulaStart, mixed, type ReferenceWeights } from './referenceWeights.ts'
import { pickleStateDict, type TorchStorage, type TorchTensor, ZipHeaders } from './torchZipWriter.ts'

const SEED = 7
const BASE_VOCABULARY = 32_000
/** Vocabulary of the small models whose tokenizer is stretched to the release's. */
const SMALL_VOCABULARY = 600
/** transformers' `max_shard_size`, roughly */
const SHARD_BYTES = 9.9e9
const CHUNK_VALUES = 4 << 20

export const releaseSizes: GromaSizes = {
  vision: { width: 1024, layers: 24, mlp: 4096, patch: 14, storedGrid: 37 },
  detector: {
    width: 256,
    levels: 1,
    queries: 300,
    boxHidden: 256,
    encoder: { heads: 8, points: 4, layers: 6, ffn: 1024 },
    decoder: { heads: 8, points: 4, layers: 6, ffn: 1024 },
  },
  llm: {
    width: 4096,
    heads: 32,
    kvHeads: 32,
    headSize: 128,
    layers: 32,
    ffn: 11_008,
    vocabulary: BASE_VOCABULARY,
    newTokens: 114,
    tied: false,
  },
  region: { width: 1024, positionHidden: 256, bins: 14 },
}

/**
 * Writes the folder: float16 shards and an index, configuration with defaults left out, a tokenizer of 32,114 entries.
 * @param sizes others than the release's make a smaller model with the release's configuration around it, for tests
 */
export async function makeReleaseCheckpoint(
  outDir: string,
  options: { format?: 'torch' | 'safetensors'; sizes?: GromaSizes; shardBytes?: number } = {},
): Promise<void> {
  const { format = 'torch', sizes = releaseSizes, shardBytes = SHARD_BYTES } = options
  await mkdir(outDir, { recursive: true })
  await writeTokenizer(outDir)
  await writeFile(join(outDir, 'config.json'), `${JSON.stringify(releaseConfig(sizes), null, 2)}\n`)
  const shards = cut(gromaTensors(sizes), shardBytes)
  const [stem, extension] = format === 'torch' ? ['pytorch_model', 'bin'] : ['model', 'safetensors']
  const weightMap: Record<string, string> = {}
  for (const [index, tensors] of shards.entries()) {
    const numbered = (value: number) => String(value).padStart(5, '0')
    const file = `${stem}-${numbered(index + 1)}-of-${numbered(shards.length)}.${extension}`
    const write = format === 'torch' ? writeTorchShard : writeSafetensorsShard
    for (const name of await write(join(outDir, file), tensors)) weightMap[name] = file
  }
  const total_size = shards.flat().reduce((sum, tensor) => sum + 2 * countOf(tensor), 0)
  await writeFile(
    join(outDir, `${stem}.${extension}.index.json`),
    JSON.stringify({ metadata: { total_size }, weight_map: weightMap }),
  )
}

type FormulaTensor = ReferenceWeights['tensors'][number]
const countOf = ({ shape }: FormulaTensor) => shape.reduce((product, extent) => product * extent, 1)

function cut(tensors: readonly FormulaTensor[], shardBytes: number): FormulaTensor[][] {
  const shards: FormulaTensor[][] = [[]]
  let bytes = 0
  for (const tensor of tensors) {
    const size = 2 * countOf(tensor)
    if (bytes > 0 && bytes + size > shardBytes) {
      shards.push([])
      bytes = 0
    }
    shards.at(-1)!.push(tensor)
    bytes += size
  }
  return shards
}

/** One tensor's half floats, chunk by chunk; the buffer is used again. */
function* halvesOf(tensor: FormulaTensor): Generator<Uint8Array> {
  const { name, scale, offset } = tensor
  const levels = new Uint16Array(
    Float16Array.from({ length: 64 }, (_, level) => ((level - 32) / 32) * scale + offset).buffer,
  )
  const count = countOf(tensor)
  const chunk = new Uint16Array(Math.min(count, CHUNK_VALUES))
  let state = formulaStart(SEED, name)
  for (let done = 0; done < count; done += chunk.length) {
    const length = Math.min(chunk.length, count - done)
    for (let i = 0; i < length; i++) {
      chunk[i] = levels[mixed(state) >>> 26]!
      state = (state + 0x9e3779b9) | 0
    }
    yield new Uint8Array(chunk.buffer, 0, 2 * length)
  }
}

async function writeTorchShard(path: string, tensors: readonly FormulaTensor[]): Promise<string[]> {
  const views = new Map<string, TorchTensor>()
  const storages = new Map<string, TorchStorage>()
  for (const [index, tensor] of tensors.entries()) {
    const { name, shape } = tensor
    storages.set(`${index}`, { type: 'HalfStorage', length: countOf(tensor), bytes: new Uint8Array() })
    const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((product, extent) => product * extent, 1))
    const view = { storageKey: `${index}`, offset: 0, shape, strides }
    views.set(name, view)
    const alias = aliasOf(name)
    if (alias) views.set(alias, view)
  }
  const file = await open(path, 'wx')
  try {
    const zip = new ZipHeaders()
    const add = async (name: string, bytes: number, chunks: Iterable<Uint8Array>) => {
      const header = zip.begin(`archive/${name}`, bytes)
      let position = header.dataOffset
      let crc = 0
      for (const chunk of chunks) {
        await file.write(chunk, 0, chunk.length, position)
        crc = crc32(chunk, crc)
        position += chunk.length
      }
      const local = header.end(crc)
      await file.write(local, 0, local.length, header.offset)
    }
    const pickle = pickleStateDict(views, storages)
    await add('data.pkl', pickle.length, [pickle])
    await add('byteorder', 6, [Buffer.from('little')])
    for (const [index, tensor] of tensors.entries()) {
      await add(`data/${index}`, 2 * countOf(tensor), halvesOf(tensor))
    }
    await add('version', 2, [Buffer.from('3\n')])
    const directory = zip.directory()
    await file.write(directory, 0, directory.length, zip.position)
  } finally {
    await file.close()
  }
  return [...views.keys()]
}

async function writeSafetensorsShard(path: string, tensors: readonly FormulaTensor[]): Promise<string[]> {
  const header: Record<string, unknown> = { __metadata__: { format: 'pt' } }
  let end = 0
  for (const tensor of tensors) {
    const start = end
    end += 2 * countOf(tensor)
    header[aliasOf(tensor.name) ?? tensor.name] = { dtype: 'F16', shape: tensor.shape, data_offsets: [start, end] }
  }
  const text = Buffer.from(JSON.stringify(header))
  const head = Buffer.alloc(8 + Math.ceil(text.length / 8) * 8, ' ')
  head.writeBigUInt64LE(BigInt(head.length - 8))
  text.copy(head, 8)
  const file = await open(path, 'wx')
  try {
    await file.write(head)
    for (const tensor of tensors) for (const chunk of halvesOf(tensor)) await file.write(chunk)
  } finally {
    await file.close()
  }
  return Object.keys(header).filter((name) => name !== '__metadata__')
}

/** `config.json` as transformers saves it: what equals its class default is left out, but for the language model's. */
export function releaseConfig({ vision, llm }: GromaSizes) {
  const version = { transformers_version: '4.32.0' }
  return {
    architectures: ['GromaModel'],
    box_score_thres: 0.15,
    llm_cfg: {
      bos_token_id: 1,
      eos_token_id: 2,
      hidden_act: 'silu',
      hidden_size: llm.width,
      initializer_range: 0.02,
      intermediate_size: llm.ffn,
      max_position_embeddings: 4096,
      model_type: 'llama',
      num_attention_heads: llm.heads,
      num_hidden_layers: llm.layers,
      num_key_value_heads: llm.kvHeads,
      pretraining_tp: 1,
      rms_norm_eps: 1e-5,
      rope_scaling: null,
      tie_word_embeddings: false,
      ...version,
      use_cache: true,
      vocab_size: llm.vocabulary,
    },
    max_region_num: 100,
    model_type: 'groma',
    nms_thres: 0.6,
    num_new_token: llm.newTokens,
    perceiver_cfg: {
      ddetr_cfg: { model_type: 'deformable_detr', num_feature_levels: 1, two_stage: true, with_box_refine: true },
      model_type: 'ddetr',
      ...version,
      vis_encoder_cfg: {
        hidden_size: vision.width,
        image_size: vision.storedGrid * vision.patch,
        model_type: 'dinov2',
        num_attention_heads: vision.width / 64,
        num_hidden_layers: vision.layers,
        patch_size: vision.patch,
      },
      vis_output_layer: -1,
      zs_weight_path: null,
    },
    torch_dtype: 'float16',
    ...version,
    vocab_size: llm.vocabulary + llm.newTokens,
  }
}

/** The reference's small tokenizer, stretched: words that no text holds fill the vocabulary, added tokens move up. */
export async function writeTokenizer(outDir: string): Promise<void> {
  const from = join(referenceDir, 'tokenizer-legacy')
  for (const name of ['special_tokens_map.json', 'tokenizer_config.json', 'preprocessor_config.json'])
    await copyFile(join(from, name), join(outDir, name))
  const added = JSON.parse(await readFile(join(from, 'added_tokens.json'), 'utf8')) as Record<string, number>
  const moved = Object.entries(added).map(([text, id]) => [text, id - SMALL_VOCABULARY + BASE_VOCABULARY])
  await writeFile(join(outDir, 'added_tokens.json'), JSON.stringify(Object.fromEntries(moved), null, 2))
  const generation = JSON.parse(await readFile(join(from, 'generation_config.json'), 'utf8'))
  await writeFile(
    join(outDir, 'generation_config.json'),
    JSON.stringify({ ...generation, pad_token_id: BASE_VOCABULARY }, null, 2),
  )
  const model = await readFile(join(from, 'tokenizer.model'))
  const fillers = Array.from({ length: BASE_VOCABULARY - SMALL_VOCABULARY }, (_, i) =>
    sentencePiece(`▁filler${i}`, -1e6),
  )
  await writeFile(join(outDir, 'tokenizer.model'), Buffer.concat([model, ...fillers]))
}

/** One more entry of a SentencePiece ModelProto: in protobuf, what comes later is appended to the list. */
function sentencePiece(text: string, score: number): Buffer {
  const bytes = Buffer.from(text)
  const value = Buffer.alloc(4)
  value.writeFloatLE(score)
  const piece = Buffer.concat([Buffer.from([0x0a, bytes.length]), bytes, Buffer.from([0x15]), value])
  return Buffer.concat([Buffer.from([0x0a, piece.length]), piece])
}

if (import.meta.main) {
  const [outDir, format = 'torch'] = process.argv.slice(2)
  if (!outDir || (format !== 'torch' && format !== 'safetensors')) {
    console.error('node test/support/releaseCheckpoint.ts OUT_DIR [torch|safetensors]')
    process.exit(2)
  }
  await makeReleaseCheckpoint(outDir, { format })
}
