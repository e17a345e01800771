import { z } from 'zod'
import { GromaError } from '../errors.ts'

/**
 * Every size of one Groma model. `config.json` leaves out each value equal to its class default, so the defaults below are
 * those of transformers 4.32 (Dinov2Config, DeformableDetrConfig, LlamaConfig) and of the authors' own config classes.
 * Widths that the config does not name (region encoder) are read from the weights' shapes by the builders.
 */
export interface GromaConfig {
  vision: {
    hiddenSize: number
    layerCount: number
    headCount: number
    /** hiddenSize * mlp_ratio, truncated */
    mlpSize: number
    patchSize: number
    channelCount: number
    /** pixels; the position grid is stored for this square, not the size of the model's input */
    storedImageSize: number
    layerNormEps: number
    qkvBias: boolean
  }
  detector: {
    hiddenSize: number
    encoderLayerCount: number
    decoderLayerCount: number
    encoderHeadCount: number
    decoderHeadCount: number
    encoderFfnSize: number
    decoderFfnSize: number
    encoderPointCount: number
    decoderPointCount: number
    /** 1..4; level 0 is the finest */
    featureLevelCount: number
    /** rows of the learned content queries; at least `proposalCount` */
    queryCount: number
    /** Q: boxes that the detector proposes */
    proposalCount: number
    activation: 'relu' | 'gelu' | 'silu'
  }
  llm: {
    hiddenSize: number
    layerCount: number
    headCount: number
    kvHeadCount: number
    headSize: number
    intermediateSize: number
    /** ids below this use the LLM's own tables, ids from here on the new ones */
    vocabSize: number
    maxPositions: number
    rmsNormEps: number
    ropeTheta: number
    tieWordEmbeddings: boolean
    bosTokenId: number
    eosTokenId: number
  }
  /** index into hidden_states (0 = embeddings), never negative: which one becomes the image tokens */
  imageTokenLayer: number
  newTokenCount: number
  /** llm.vocabSize + newTokenCount: width of the logits */
  vocabSize: number
  /** IoU above which a region is suppressed */
  nmsThreshold: number
  /** a region needs a score above this */
  scoreThreshold: number
  maxRegions: number
}

const size = z.number().int().min(1).max(1_000_000)
const layers = z.number().int().min(1).max(512)
const fraction = z.number().min(0).max(1)
const epsilon = z.number().positive().max(1)

const visionSchema = z.looseObject({
  model_type: z.literal('dinov2').default('dinov2'),
  hidden_size: size.default(768),
  num_hidden_layers: layers.min(3, 'the detector averages the last four hidden states').default(12),
  num_attention_heads: size.default(12),
  mlp_ratio: z.number().positive().max(64).default(4),
  hidden_act: z.literal('gelu').default('gelu'),
  layer_norm_eps: epsilon.default(1e-6),
  image_size: size.max(16_384).default(224),
  patch_size: size.max(1024).default(14),
  num_channels: z.literal(3).default(3),
  qkv_bias: z.boolean().default(true),
  use_swiglu_ffn: z.literal(false, 'the SwiGLU variant of DINOv2 (giant) is not supported').default(false),
})

const detectorSchema = z.looseObject({
  model_type: z.literal('deformable_detr').default('deformable_detr'),
  d_model: size.default(256),
  encoder_layers: layers.default(6),
  decoder_layers: layers.default(6),
  encoder_attention_heads: size.default(8),
  decoder_attention_heads: size.default(8),
  encoder_ffn_dim: size.default(1024),
  decoder_ffn_dim: size.default(1024),
  encoder_n_points: size.max(64).default(4),
  decoder_n_points: size.max(64).default(4),
  num_feature_levels: z.number().int().min(1).max(4).default(4),
  num_queries: size.max(10_000).default(300),
  two_stage_num_proposals: size.max(10_000).default(300),
  activation_function: z.enum(['relu', 'gelu', 'silu', 'swish']).default('relu'),
  position_embedding_type: z.literal('sine', 'only sine position embeddings are supported').default('sine'),
  two_stage: z.literal(true, 'Groma needs the two-stage detector'),
  with_box_refine: z.literal(true, 'Groma needs box refinement'),
})

const llmSchema = z.looseObject({
  model_type: z.literal('llama', 'the language model must be a LLaMA').default('llama'),
  vocab_size: size.default(32_000),
  hidden_size: size.default(4096),
  intermediate_size: size.default(11_008),
  num_hidden_layers: layers.default(32),
  num_attention_heads: size.default(32),
  num_key_value_heads: size.nullish(),
  head_dim: size.nullish(),
  hidden_act: z.literal('silu', 'only SiLU is supported').default('silu'),
  max_position_embeddings: size.default(2048),
  rms_norm_eps: epsilon.default(1e-6),
  rope_theta: z.number().positive().default(10_000),
  rope_scaling: z.null('scaled rotary embeddings are not supported').default(null),
  attention_bias: z.literal(false, 'attention biases are not supported').default(false),
  mlp_bias: z.literal(false, 'MLP biases are not supported').default(false),
  tie_word_embeddings: z.boolean().default(false),
  bos_token_id: z.number().int().min(0).default(1),
  eos_token_id: z.number().int().min(0).default(2),
})

const gromaSchema = z.looseObject({
  model_type: z.literal('groma').default('groma'),
  llm_cfg: llmSchema,
  perceiver_cfg: z.looseObject({
    vis_encoder_cfg: visionSchema,
    ddetr_cfg: detectorSchema,
    vis_output_layer: z.number().int().default(-1),
  }),
  num_new_token: z.number().int().min(1).max(100_000),
  vocab_size: z.number().int().nullish(),
  nms_thres: fraction.default(0),
  box_score_thres: fraction.default(0),
  max_region_num: size.max(10_000).default(100),
})

/**
 * Reads a checkpoint's `config.json` and fills in what it leaves out.
 * @param json the parsed file
 * @param path its name, for messages
 * @throws CONFIG_INVALID for unknown or contradicting values, CHECKPOINT_FOREIGN when it describes another model
 */
export function parseGromaConfig(json: unknown, path = 'config.json'): GromaConfig {
  refuseForeign(json, path)
  const parsed = gromaSchema.safeParse(json)
  if (!parsed.success) {
    const reasons = parsed.error.issues
      .slice(0, 5)
      .map((issue) => `${issue.path.join('.') || '(root)'}: ${issue.message}`)
    throw new GromaError('CONFIG_INVALID', `${path}: ${reasons.join('; ')}`)
  }
  const file = parsed.data
  const { vis_encoder_cfg: vision, ddetr_cfg: detector, vis_output_layer: outputLayer } = file.perceiver_cfg
  const llm = file.llm_cfg
  const reject = (field: string, reason: string): never => {
    throw new GromaError('CONFIG_INVALID', `${path}: ${field}: ${reason}`)
  }
  const divide = (field: string, total: number, parts: number): number =>
    total % parts === 0 ? total / parts : reject(field, `${total} is not divisible by ${parts}`)

  divide('perceiver_cfg.vis_encoder_cfg.num_attention_heads', vision.hidden_size, vision.num_attention_heads)
  divide('perceiver_cfg.vis_encoder_cfg.patch_size', vision.image_size, vision.patch_size)
  divide('perceiver_cfg.ddetr_cfg.encoder_attention_heads', detector.d_model, detector.encoder_attention_heads)
  divide('perceiver_cfg.ddetr_cfg.decoder_attention_heads', detector.d_model, detector.decoder_attention_heads)
  divide('perceiver_cfg.ddetr_cfg.d_model', detector.d_model, 4) // a sine and a cosine each of x and y
  const kvHeadCount = llm.num_key_value_heads ?? llm.num_attention_heads
  divide('llm_cfg.num_key_value_heads', llm.num_attention_heads, kvHeadCount)
  const headSize = llm.head_dim ?? divide('llm_cfg.num_attention_heads', llm.hidden_size, llm.num_attention_heads)
  divide('llm_cfg.head_dim', headSize, 2)
  if (detector.num_queries < detector.two_stage_num_proposals) {
    reject(
      'perceiver_cfg.ddetr_cfg.num_queries',
      `${detector.num_queries} content queries cannot serve ${detector.two_stage_num_proposals} proposals`,
    )
  }
  const hiddenStateCount = vision.num_hidden_layers + 1
  const imageTokenLayer = outputLayer < 0 ? hiddenStateCount + outputLayer : outputLayer
  if (imageTokenLayer < 0 || imageTokenLayer >= hiddenStateCount) {
    reject('perceiver_cfg.vis_output_layer', `${outputLayer} is outside the ${hiddenStateCount} hidden states`)
  }
  const vocabSize = llm.vocab_size + file.num_new_token
  if (file.vocab_size != null && file.vocab_size !== vocabSize) {
    reject('vocab_size', `${file.vocab_size} contradicts llm_cfg.vocab_size + num_new_token = ${vocabSize}`)
  }
  if (llm.eos_token_id >= vocabSize) reject('llm_cfg.eos_token_id', `${llm.eos_token_id} is outside the vocabulary`)

  return {
    vision: {
      hiddenSize: vision.hidden_size,
      layerCount: vision.num_hidden_layers,
      headCount: vision.num_attention_heads,
      mlpSize: Math.trunc(vision.hidden_size * vision.mlp_ratio),
      patchSize: vision.patch_size,
      channelCount: vision.num_channels,
      storedImageSize: vision.image_size,
      layerNormEps: vision.layer_norm_eps,
      qkvBias: vision.qkv_bias,
    },
    detector: {
      hiddenSize: detector.d_model,
      encoderLayerCount: detector.encoder_layers,
      decoderLayerCount: detector.decoder_layers,
      encoderHeadCount: detector.encoder_attention_heads,
      decoderHeadCount: detector.decoder_attention_heads,
      encoderFfnSize: detector.encoder_ffn_dim,
      decoderFfnSize: detector.decoder_ffn_dim,
      encoderPointCount: detector.encoder_n_points,
      decoderPointCount: detector.decoder_n_points,
      featureLevelCount: detector.num_feature_levels,
      queryCount: detector.num_queries,
      proposalCount: detector.two_stage_num_proposals,
      activation: detector.activation_function === 'swish' ? 'silu' : detector.activation_function,
    },
    llm: {
      hiddenSize: llm.hidden_size,
      layerCount: llm.num_hidden_layers,
      headCount: llm.num_attention_heads,
      kvHeadCount,
      headSize,
      intermediateSize: llm.intermediate_size,
      vocabSize: llm.vocab_size,
      maxPositions: llm.max_position_embeddings,
      rmsNormEps: llm.rms_norm_eps,
      ropeTheta: llm.rope_theta,
      tieWordEmbeddings: llm.tie_word_embeddings,
      bosTokenId: llm.bos_token_id,
      eosTokenId: llm.eos_token_id,
    },
    imageTokenLayer,
    newTokenCount: file.num_new_token,
    vocabSize,
    nmsThreshold: file.nms_thres,
    scoreThreshold: file.box_score_thres,
    maxRegions: file.max_region_num,
  }
}

function refuseForeign(json: unknown, path: string): void {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    throw new GromaError('CONFIG_INVALID', `${path}: must hold a JSON object`)
  }
  const file = json as Record<string, unknown>
  const looksLikeGroma = file.model_type === 'groma' || ('llm_cfg' in file && 'perceiver_cfg' in file)
  if (looksLikeGroma) return
  const kind = typeof file.model_type === 'string' ? `a "${file.model_type}" model` : 'some other model'
  throw new GromaError('CHECKPOINT_FOREIGN', `${path}: describes ${kind}, not a Groma model`)
}
