import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { convertCheckpoint } from '../../../native-models/builders/buildModel.ts'
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
const LLM_HEAD = 10
const LLM_LAYERS = 2
const LLM_FFN = 72
const REGION = 24
const BINS = 6
const VOCABULARY = 600
const NEW_TOKENS = 114
const GRID = 8

/** `config.json` of a tiny model. */
export function tinyConfig({ levels, llmHeads, kvHeads, tied }: TinyShape) {
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
      head_dim: LLM_HEAD,
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

/** Names and shapes of all tensors of a tiny model, with values that keep activations of ordinary size. */
export function tinyWeights({ levels, llmHeads, kvHeads, tied }: TinyShape): ReferenceWeights {
  const tensors: ReferenceWeights['tensors'] = []
  const add = (name: string, shape: number[], scale: number, offset = 0) => tensors.push({ name, shape, scale, offset })
  const linear = (
    name: string,
    outputs: number,
    inputs: number,
    { bias = true, kernel = [] as number[], scale = 1 } = {},
  ) => {
    const taps = kernel.reduce((product, n) => product * n, 1)
    const power = 2 ** Math.round(Math.log2((1.7 * scale) / Math.sqrt(inputs * taps)))
    add(`${name}.weight`, [outputs, inputs, ...kernel], power)
    if (bias) add(`${name}.bias`, [outputs], 0.125)
  }
  const norm = (name: string, width: number, bias = true) => {
    add(`${name}.weight`, [width], 0.5, 1)
    if (bias) add(`${name}.bias`, [width], 0.125)
  }

  const vision = 'perceiver.vis_encoder'
  add(`${vision}.embeddings.cls_token`, [1, 1, VISION], 0.5)
  add(`${vision}.embeddings.mask_token`, [1, VISION], 0.5)
  add(`${vision}.embeddings.position_embeddings`, [1, GRID * GRID + 1, VISION], 1)
  linear(`${vision}.embeddings.patch_embeddings.projection`, VISION, 3, { kernel: [PATCH, PATCH] })
  for (let layer = 0; layer < VISION_LAYERS; layer++) {
    const at = `${vision}.encoder.layer.${layer}`
    for (const name of ['query', 'key', 'value']) linear(`${at}.attention.attention.${name}`, VISION, VISION)
    linear(`${at}.attention.output.dense`, VISION, VISION)
    linear(`${at}.mlp.fc1`, VISION * 1.5, VISION)
    linear(`${at}.mlp.fc2`, VISION, VISION * 1.5)
    for (const part of [1, 2]) {
      norm(`${at}.norm${part}`, VISION)
      add(`${at}.layer_scale${part}.lambda1`, [VISION], 0.25, 0.5)
    }
  }
  norm(`${vision}.layernorm`, VISION)

  const detector = 'perceiver.ddetr_transformer'
  const d = DETECTOR
  add(`${detector}.level_embed`, [levels, d], 0.5)
  add(`${detector}.query_position_embeddings.weight`, [QUERIES, d], 1)
  const deformable = (at: string, { heads, points }: { heads: number; points: number }) => {
    linear(`${at}.sampling_offsets`, heads * levels * points * 2, d)
    linear(`${at}.attention_weights`, heads * levels * points, d)
    linear(`${at}.value_proj`, d, d)
    linear(`${at}.output_proj`, d, d)
  }
  const feedForward = (at: string, ffn: number) => {
    linear(`${at}.fc1`, ffn, d)
    linear(`${at}.fc2`, d, ffn)
    norm(`${at}.self_attn_layer_norm`, d)
    norm(`${at}.final_layer_norm`, d)
  }
  for (let layer = 0; layer < ENCODER.layers; layer++) {
    deformable(`${detector}.encoder.layers.${layer}.self_attn`, ENCODER)
    feedForward(`${detector}.encoder.layers.${layer}`, ENCODER.ffn)
  }
  for (let layer = 0; layer < DECODER.layers; layer++) {
    const at = `${detector}.decoder.layers.${layer}`
    for (const name of ['q_proj', 'k_proj', 'v_proj', 'out_proj']) linear(`${at}.self_attn.${name}`, d, d)
    deformable(`${at}.encoder_attn`, DECODER)
    norm(`${at}.encoder_attn_layer_norm`, d)
    feedForward(at, DECODER.ffn)
    linear(`${detector}.class_embed_coco.${layer}`, 1, d)
    linear(`${detector}.class_embed_sa1b.${layer}`, 1, d)
  }
  linear(`${detector}.class_embed_enc`, 1, d)
  for (let layer = 0; layer <= DECODER.layers; layer++) {
    linear(`${detector}.bbox_embed.${layer}.layers.0`, 40, d)
    linear(`${detector}.bbox_embed.${layer}.layers.1`, 40, 40)
    linear(`${detector}.bbox_embed.${layer}.layers.2`, 4, 40)
  }
  linear(`${detector}.enc_output`, d, d)
  norm(`${detector}.enc_output_norm`, d)
  linear(`${detector}.pos_trans`, 2 * d, 2 * d)
  norm(`${detector}.pos_trans_norm`, 2 * d)
  for (let index = 0; index < levels; index++) {
    const at = `perceiver.input_proj.${index}`
    const kind = levels === 1 ? 1 : levels - 1 - index
    linear(`${at}.0`, d, VISION, { kernel: kind === 0 ? [3, 3] : [1, 1] })
    norm(`${at}.1`, d)
  }

  linear('img_txt_bridge.0', LLM, VISION * 4)
  linear('img_txt_bridge.2', LLM, LLM)
  for (let level = 0; level < 3; level++) {
    linear(`region_encoder.mlvl_fuse.input_conv.${level}`, VISION, VISION + 2, { kernel: [1, 1] })
    linear(`region_encoder.roi_align.pconvs.${level}`, VISION, VISION, { kernel: [3, 3] })
  }
  for (let round = 0; round < 5; round++) {
    linear(`region_encoder.mlvl_fuse.fuse_convs.${round}.conv`, VISION, VISION, { kernel: [3, 3], bias: false })
    norm(`region_encoder.mlvl_fuse.fuse_convs.${round}.gn`, VISION)
  }
  linear('region_encoder.roi_align.flatten_linear', REGION, VISION * BINS * BINS)
  linear('region_encoder.roi_align.pos_embedd.0', 32, 4)
  norm('region_encoder.roi_align.pos_embedd.2', 32)
  linear('region_encoder.roi_align.pos_embedd.3', REGION, 32)
  norm('region_encoder.roi_align.pos_embedd.5', REGION)
  linear('region_encoder.roi_align.updims', LLM, REGION)

  add('llm.model.embed_tokens.weight', [VOCABULARY, LLM], 1)
  for (let layer = 0; layer < LLM_LAYERS; layer++) {
    const at = `llm.model.layers.${layer}`
    linear(`${at}.self_attn.q_proj`, llmHeads * LLM_HEAD, LLM, { bias: false })
    linear(`${at}.self_attn.k_proj`, kvHeads * LLM_HEAD, LLM, { bias: false })
    linear(`${at}.self_attn.v_proj`, kvHeads * LLM_HEAD, LLM, { bias: false })
    linear(`${at}.self_attn.o_proj`, LLM, llmHeads * LLM_HEAD, { bias: false })
    linear(`${at}.mlp.gate_proj`, LLM_FFN, LLM, { bias: false })
    linear(`${at}.mlp.up_proj`, LLM_FFN, LLM, { bias: false })
    linear(`${at}.mlp.down_proj`, LLM, LLM_FFN, { bias: false })
    norm(`${at}.input_layernorm`, LLM, false)
    norm(`${at}.post_attention_layernorm`, LLM, false)
  }
  norm('llm.model.norm', LLM, false)
  if (!tied) linear('llm.lm_head', VOCABULARY, LLM, { bias: false, scale: 2 })
  linear('extra_lm_head', NEW_TOKENS, LLM, { bias: false, scale: 2 })
  add('new_input_embs.weight', [NEW_TOKENS, LLM], 1)
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
