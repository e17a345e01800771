import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { convertCheckpoint } from '../../../native-models/builders/buildModel.ts'
import { gromaTensors } from '../../support/gromaTensors.ts'
import { makeCheckpointFromWeights } from '../../support/makeCheckpoint.ts'
import { referenceTokenizerDir } from '../../support/referenceCases.ts'
import type { ReferenceWeights } from '../../support/referenceWeights.ts'

/** Sizes of a model that shares none with the reference models or the release. */
export interface TinyShape {
  imageSize: number
  levels: number
  llmHeads: number
  kvHeads: number
  tied: boolean
  /** 10 by default, which no 8-bit prompt takes */
  headSize?: number
}

export const unusualShape: TinyShape = { imageSize: 112, levels: 2, llmHeads: 6, kvHeads: 2, tied: false }

const PATCH = 7
const VISION = 64
const VISION_LAYERS = 6
const DETECTOR = 48
const ENCODER = { heads: 3, points: 3, layers: 1, ffn: 40 }
const DECODER = { heads: 6, points: 2, layers: 1, ffn: 56 }
const QUERIES = 30
export const PROPOSALS = 20
const LLM = 48
const LLM_LAYERS = 2
const LLM_FFN = 72
const REGION = 24
const BINS = 6
const VOCABULARY = 600
const NEW_TOKENS = 114
const GRID = 8

/** `config.json` of a tiny model. */
export function tinyConfig({ levels, llmHeads, kvHeads, tied, headSize = 10 }: TinyShape) {
  return {
    model_type: 'groma',
    box_score_thres: 0.05,
    nms_thres: 0.7,
    max_region_num: 9,
    num_new_token: NEW_TOKENS,
    llm_cfg: {
      model_type: 'llama',
      hidden_size: LLM,
      intermediate_size: LLM_FFN,
      num_attention_heads: llmHeads,
      num_key_value_heads: kvHeads,
      head_dim: headSize,
      num_hidden_layers: LLM_LAYERS,
      vocab_size: VOCABULARY,
      max_position_embeddings: 512,
      rope_theta: 500,
      tie_word_embeddings: tied,
    },
    perceiver_cfg: {
      vis_output_layer: 2,
      vis_encoder_cfg: {
        model_type: 'dinov2',
        hidden_size: VISION,
        image_size: GRID * PATCH,
        patch_size: PATCH,
        mlp_ratio: 1.5,
        num_attention_heads: 8,
        num_hidden_layers: VISION_LAYERS,
      },
      ddetr_cfg: {
        model_type: 'deformable_detr',
        activation_function: 'gelu',
        d_model: DETECTOR,
        encoder_attention_heads: ENCODER.heads,
        decoder_attention_heads: DECODER.heads,
        encoder_n_points: ENCODER.points,
        decoder_n_points: DECODER.points,
        encoder_layers: ENCODER.layers,
        decoder_layers: DECODER.layers,
        encoder_ffn_dim: ENCODER.ffn,
        decoder_ffn_dim: DECODER.ffn,
        num_feature_levels: levels,
        num_queries: QUERIES,
        two_stage_num_proposals: PROPOSALS,
        two_stage: true,
        with_box_refine: true,
      },
    },
  }
}

/** Names, shapes and values of all tensors of a tiny model. */
export function tinyWeights({ levels, llmHeads, kvHeads, tied, headSize = 10 }: TinyShape): ReferenceWeights {
  const tensors = gromaTensors({
    vision: { width: VISION, layers: VISION_LAYERS, mlp: VISION * 1.5, patch: PATCH, storedGrid: GRID },
    detector: { width: DETECTOR, levels, queries: QUERIES, boxHidden: 40, encoder: ENCODER, decoder: DECODER },
    llm: {
      width: LLM,
      heads: llmHeads,
      kvHeads,
      headSize,
      layers: LLM_LAYERS,
      ffn: LLM_FFN,
      vocabulary: VOCABULARY,
      newTokens: NEW_TOKENS,
      tied,
    },
    region: { width: REGION, positionHidden: 32, bins: BINS },
  })
  return { seed: 11, tensors }
}

/** A tiny model's checkpoint folder. */
export async function makeTinyCheckpoint(dir: string, shape: TinyShape = unusualShape): Promise<void> {
  const tokenizer = referenceTokenizerDir('one-level')
  await makeCheckpointFromWeights(tinyWeights(shape), tinyConfig(shape), tokenizer, dir)
  const path = join(dir, 'preprocessor_config.json')
  const settings = JSON.parse(await readFile(path, 'utf8'))
  await writeFile(path, JSON.stringify({ ...settings, crop_size: shape.imageSize }))
}

/** A tiny model, converted, in a folder of its own. */
export async function makeTinyModel(shape: TinyShape = unusualShape): Promise<{
  root: string
  checkpoint: string
  engine: string
  remove: () => Promise<void>
}> {
  const root = await mkdtemp(join(tmpdir(), 'gromatic-tiny-'))
  const [checkpoint, engine] = [join(root, 'checkpoint'), join(root, 'engine')]
  await makeTinyCheckpoint(checkpoint, shape)
  await convertCheckpoint(checkpoint, engine)
  return { root, checkpoint, engine, remove: () => rm(root, { recursive: true, force: true }) }
}

/** A picture of random soft blobs, the same every time. */
export function testPicture(width = 90, height = 60) {
  const data = new Uint8Array(width * height * 3)
  for (let i = 0; i < data.length; i++) {
    const pixel = Math.floor(i / 3)
    const [x, y, c] = [pixel % width, Math.floor(pixel / width), i % 3]
    data[i] = 128 + 100 * Math.sin(x / (5 + 3 * c)) * Math.cos(y / (7 - 2 * c))
  }
  return { data, width, height }
}
