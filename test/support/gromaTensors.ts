import type { ReferenceWeights } from './referenceWeights.ts'

/** Widths and counts of one Groma model. */
export interface GromaSizes {
  vision: { width: number; layers: number; mlp: number; patch: number; storedGrid: number }
  detector: {
    width: number
    levels: number
    queries: number
    boxHidden: number
    encoder: DeformableSizes
    decoder: DeformableSizes
  }
  llm: {
    width: number
    heads: number
    kvHeads: number
    headSize: number
    layers: number
    ffn: number
    vocabulary: number
    newTokens: number
    tied: boolean
  }
  region: { width: number; positionHidden: number; bins: number }
}

interface DeformableSizes {
  heads: number
  points: number
  layers: number
  ffn: number
}

/** Names and shapes of all tensors of a model, with values that keep activations of ordinary size. */
export function gromaTensors({ vision, detector, llm, region }: GromaSizes): ReferenceWeights['tensors'] {
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

  const encoder = 'perceiver.vis_encoder'
  add(`${encoder}.embeddings.cls_token`, [1, 1, vision.width], 0.5)
  add(`${encoder}.embeddings.mask_token`, [1, vision.width], 0.5)
  add(`${encoder}.embeddings.position_embeddings`, [1, vision.storedGrid * vision.storedGrid + 1, vision.width], 1)
  linear(`${encoder}.embeddings.patch_embeddings.projection`, vision.width, 3, { kernel: [vision.patch, vision.patch] })
  for (let layer = 0; layer < vision.layers; layer++) {
    const at = `${encoder}.encoder.layer.${layer}`
    for (const name of ['query', 'key', 'value'])
      linear(`${at}.attention.attention.${name}`, vision.width, vision.width)
    linear(`${at}.attention.output.dense`, vision.width, vision.width)
    linear(`${at}.mlp.fc1`, vision.mlp, vision.width)
    linear(`${at}.mlp.fc2`, vision.width, vision.mlp)
    for (const part of [1, 2]) {
      norm(`${at}.norm${part}`, vision.width)
      add(`${at}.layer_scale${part}.lambda1`, [vision.width], 0.25, 0.5)
    }
  }
  norm(`${encoder}.layernorm`, vision.width)

  const ddetr = 'perceiver.ddetr_transformer'
  const { width: d, levels } = detector
  add(`${ddetr}.level_embed`, [levels, d], 0.5)
  add(`${ddetr}.query_position_embeddings.weight`, [detector.queries, d], 1)
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
  for (let layer = 0; layer < detector.encoder.layers; layer++) {
    deformable(`${ddetr}.encoder.layers.${layer}.self_attn`, detector.encoder)
    feedForward(`${ddetr}.encoder.layers.${layer}`, detector.encoder.ffn)
  }
  for (let layer = 0; layer < detector.decoder.layers; layer++) {
    const at = `${ddetr}.decoder.layers.${layer}`
    for (const name of ['q_proj', 'k_proj', 'v_proj', 'out_proj']) linear(`${at}.self_attn.${name}`, d, d)
    deformable(`${at}.encoder_attn`, detector.decoder)
    norm(`${at}.encoder_attn_layer_norm`, d)
    feedForward(at, detector.decoder.ffn)
    linear(`${ddetr}.class_embed_coco.${layer}`, 1, d)
    linear(`${ddetr}.class_embed_sa1b.${layer}`, 1, d)
  }
  linear(`${ddetr}.class_embed_enc`, 1, d)
  for (let layer = 0; layer <= detector.decoder.layers; layer++) {
    linear(`${ddetr}.bbox_embed.${layer}.layers.0`, detector.boxHidden, d)
    linear(`${ddetr}.bbox_embed.${layer}.layers.1`, detector.boxHidden, detector.boxHidden)
    linear(`${ddetr}.bbox_embed.${layer}.layers.2`, 4, detector.boxHidden)
  }
  linear(`${ddetr}.enc_output`, d, d)
  norm(`${ddetr}.enc_output_norm`, d)
  linear(`${ddetr}.pos_trans`, 2 * d, 2 * d)
  norm(`${ddetr}.pos_trans_norm`, 2 * d)
  for (let index = 0; index < levels; index++) {
    const at = `perceiver.input_proj.${index}`
    const kind = levels === 1 ? 1 : levels - 1 - index
    linear(`${at}.0`, d, vision.width, { kernel: kind === 0 ? [3, 3] : [1, 1] })
    norm(`${at}.1`, d)
  }

  linear('img_txt_bridge.0', llm.width, vision.width * 4)
  linear('img_txt_bridge.2', llm.width, llm.width)
  for (let level = 0; level < 3; level++) {
    linear(`region_encoder.mlvl_fuse.input_conv.${level}`, vision.width, vision.width + 2, { kernel: [1, 1] })
    linear(`region_encoder.roi_align.pconvs.${level}`, vision.width, vision.width, { kernel: [3, 3] })
  }
  for (let round = 0; round < 5; round++) {
    linear(`region_encoder.mlvl_fuse.fuse_convs.${round}.conv`, vision.width, vision.width, {
      kernel: [3, 3],
      bias: false,
    })
    norm(`region_encoder.mlvl_fuse.fuse_convs.${round}.gn`, vision.width)
  }
  linear('region_encoder.roi_align.flatten_linear', region.width, vision.width * region.bins * region.bins)
  linear('region_encoder.roi_align.pos_embedd.0', region.positionHidden, 4)
  norm('region_encoder.roi_align.pos_embedd.2', region.positionHidden)
  linear('region_encoder.roi_align.pos_embedd.3', region.width, region.positionHidden)
  norm('region_encoder.roi_align.pos_embedd.5', region.width)
  linear('region_encoder.roi_align.updims', llm.width, region.width)

  add('llm.model.embed_tokens.weight', [llm.vocabulary, llm.width], 1)
  for (let layer = 0; layer < llm.layers; layer++) {
    const at = `llm.model.layers.${layer}`
    linear(`${at}.self_attn.q_proj`, llm.heads * llm.headSize, llm.width, { bias: false })
    linear(`${at}.self_attn.k_proj`, llm.kvHeads * llm.headSize, llm.width, { bias: false })
    linear(`${at}.self_attn.v_proj`, llm.kvHeads * llm.headSize, llm.width, { bias: false })
    linear(`${at}.self_attn.o_proj`, llm.width, llm.heads * llm.headSize, { bias: false })
    linear(`${at}.mlp.gate_proj`, llm.ffn, llm.width, { bias: false })
    linear(`${at}.mlp.up_proj`, llm.ffn, llm.width, { bias: false })
    linear(`${at}.mlp.down_proj`, llm.width, llm.ffn, { bias: false })
    norm(`${at}.input_layernorm`, llm.width, false)
    norm(`${at}.post_attention_layernorm`, llm.width, false)
  }
  norm('llm.model.norm', llm.width, false)
  if (!llm.tied) linear('llm.lm_head', llm.vocabulary, llm.width, { bias: false, scale: 2 })
  linear('extra_lm_head', llm.newTokens, llm.width, { bias: false, scale: 2 })
  add('new_input_embs.weight', [llm.newTokens, llm.width], 1)
  return tensors
}
