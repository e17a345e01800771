/**
 * A LLaMA of the release's shapes in llama.cpp's Q4_0, with random blocks: it says nothing, and takes as long over it as
 * the real one. Every matrix is Q4_0, the head included (llama.cpp's own quantiser keeps that one at 6 bits), so that
 * both sides read about the same number of bytes a token: 4.5 bits a weight here.
 */
import { createCipheriv } from 'node:crypto'
import { open, rename, rm } from 'node:fs/promises'
import { aligned, type GgufTensor, type GgufValue, ggmlTypes, ggufHeader, tensorBytes } from './gguf.ts'

export interface LlamaShapes {
  hiddenSize: number
  layerCount: number
  headCount: number
  intermediateSize: number
  vocabSize: number
  maxPositions: number
  rmsNormEps: number
  ropeTheta: number
}

/** Vicuna-7B with Groma's 114 further tokens. */
export const RELEASE_SHAPES: LlamaShapes = {
  hiddenSize: 4096,
  layerCount: 32,
  headCount: 32,
  intermediateSize: 11_008,
  vocabSize: 32_114,
  maxPositions: 4096,
  rmsNormEps: 1e-5,
  ropeTheta: 10_000,
}

function tensorsOf({ hiddenSize, layerCount, intermediateSize, vocabSize }: LlamaShapes): GgufTensor[] {
  const matrix = (name: string, from: number, to: number): GgufTensor => ({ name, shape: [from, to], type: 'Q4_0' })
  const norm = (name: string): GgufTensor => ({ name, shape: [hiddenSize], type: 'F32' })
  const layer = (k: number): GgufTensor[] => [
    norm(`blk.${k}.attn_norm.weight`),
    ...['q', 'k', 'v', 'output'].map((part) => matrix(`blk.${k}.attn_${part}.weight`, hiddenSize, hiddenSize)),
    norm(`blk.${k}.ffn_norm.weight`),
    matrix(`blk.${k}.ffn_gate.weight`, hiddenSize, intermediateSize),
    matrix(`blk.${k}.ffn_up.weight`, hiddenSize, intermediateSize),
    matrix(`blk.${k}.ffn_down.weight`, intermediateSize, hiddenSize),
  ]
  return [
    matrix('token_embd.weight', hiddenSize, vocabSize),
    ...Array.from({ length: layerCount }, (_, k) => layer(k)).flat(),
    norm('output_norm.weight'),
    matrix('output.weight', hiddenSize, vocabSize),
  ]
}

function metadataOf(shapes: LlamaShapes): Record<string, GgufValue> {
  // The least that llama.cpp accepts as a SentencePiece vocabulary: three controls, 256 bytes, words that nobody reads.
  const bytes = Array.from({ length: 256 }, (_, k) => `<0x${k.toString(16).toUpperCase().padStart(2, '0')}>`)
  const tokens = ['<unk>', '<s>', '</s>', ...bytes]
  while (tokens.length < shapes.vocabSize) tokens.push(`word${tokens.length}`)
  const UNKNOWN = 2
  const CONTROL = 3
  const BYTE = 6
  const NORMAL = 1
  const kind = (id: number) => (id === 0 ? UNKNOWN : id < 3 ? CONTROL : id < 259 ? BYTE : NORMAL)
  return {
    'general.architecture': 'llama',
    'general.name': 'random blocks in the shapes of Groma 7B',
    'general.file_type': { uint32: 2 }, // mostly Q4_0
    'llama.vocab_size': { uint32: shapes.vocabSize },
    'llama.context_length': { uint32: shapes.maxPositions },
    'llama.embedding_length': { uint32: shapes.hiddenSize },
    'llama.block_count': { uint32: shapes.layerCount },
    'llama.feed_forward_length': { uint32: shapes.intermediateSize },
    'llama.attention.head_count': { uint32: shapes.headCount },
    'llama.attention.head_count_kv': { uint32: shapes.headCount },
    'llama.attention.layer_norm_rms_epsilon': { float32: shapes.rmsNormEps },
    'llama.rope.dimension_count': { uint32: shapes.hiddenSize / shapes.headCount },
    'llama.rope.freq_base': { float32: shapes.ropeTheta },
    'tokenizer.ggml.model': 'llama',
    'tokenizer.ggml.tokens': tokens,
    'tokenizer.ggml.scores': { float32s: tokens.map((_, id) => -id) },
    'tokenizer.ggml.token_type': { int32s: tokens.map((_, id) => kind(id)) },
    'tokenizer.ggml.bos_token_id': { uint32: 1 },
    'tokenizer.ggml.eos_token_id': { uint32: 2 },
    'tokenizer.ggml.unknown_token_id': { uint32: 0 },
  }
}

const { blockBytes } = ggmlTypes.Q4_0
const CHUNK_BYTES = blockBytes * 2 ** 20
/** float16 of 0.0043: nibbles are spread evenly over -8..7, so weights have a deviation of 0.02, as trained ones do. */
const SCALE_FLOAT16 = 0x1c67

/** Q4_0 blocks with random nibbles and one scale, in chunks; the key stream makes them the same on every machine. */
function* randomBlocks(byteCount: number, stream: { update(zeros: Buffer): Buffer }): Generator<Buffer> {
  for (let left = byteCount; left > 0; left -= CHUNK_BYTES) {
    const chunk = stream.update(Buffer.alloc(Math.min(CHUNK_BYTES, left)))
    for (let at = 0; at < chunk.length; at += blockBytes) chunk.writeUInt16LE(SCALE_FLOAT16, at)
    yield chunk
  }
}

/**
 * Writes the file beside its place and renames it there; needs 18 MiB of memory, and 3.8 GB of disk for the release's shapes.
 * @throws what the file system throws, ENOSPC among it; nothing half-written is left
 */
export async function writeGguf(path: string, shapes: LlamaShapes = RELEASE_SHAPES): Promise<void> {
  const partial = `${path}.part`
  const tensors = tensorsOf(shapes)
  const stream = createCipheriv('aes-128-ctr', Buffer.alloc(16, 7), Buffer.alloc(16))
  const file = await open(partial, 'w')
  try {
    await file.appendFile(ggufHeader(metadataOf(shapes), tensors))
    for (const tensor of tensors) {
      const bytes = tensorBytes(tensor)
      if (tensor.type === 'F32') await file.appendFile(Buffer.from(new Float32Array(bytes / 4).fill(1).buffer))
      else for (const chunk of randomBlocks(bytes, stream)) await file.appendFile(chunk)
      await file.appendFile(Buffer.alloc(aligned(bytes) - bytes))
    }
    await file.close()
    await rename(partial, path)
  } catch (error) {
    await file.close().catch(() => {})
    await rm(partial, { force: true })
    throw error
  }
}

if (import.meta.main) await writeGguf(process.argv[2]!)
