import type { GromaConfig } from '../groma/config.ts'
import { int } from '../onnx/attributes.ts'
import type { GraphBuilder, Value } from '../onnx/graphBuilder.ts'
import {
  add,
  attention,
  clip,
  concat,
  cos,
  div,
  gather,
  gelu,
  layerNorm,
  linear,
  log,
  mul,
  type Op,
  relu,
  reshape,
  sigmoid,
  sin,
  slice,
  split,
  sub,
  transpose,
  unsqueeze,
} from '../onnx/ops.ts'
import { deformableAttention } from './deformableAttention.ts'
import { buildLevel, levelKinds, levelSizes } from './featureLevels.ts'
import { anchorBoxes, type Level, pixelCentres, sinePositions, waveLengths } from './sinePositions.ts'
import type { Weights } from './weights.ts'

const EPSILON = 1e-5
const INVERSE_SIGMOID_EPSILON = 1e-5
const FULL_CIRCLE = 2 * Math.PI

export interface ProposalOutputs {
  /** [Q, 4] cxcywh 0..1 */
  boxes: Value
  /** [Q, 1] */
  logitCoco: Value
  /** [Q, 1] */
  logitSa1b: Value
}

type Detector = GromaConfig['detector']

const activations: Record<Detector['activation'], Op> = {
  relu,
  gelu,
  silu: (g, path, x) => mul(g, path, x!, sigmoid(g, path, x!)),
}

/**
 * The two-stage Deformable DETR that proposes boxes (groma.md section 4).
 * ```
 *  mean of the last four hidden states -> input_proj per level -> pixels [T, d] -> encoder -> best Q anchors -.
 *                                                                          '---- values --- decoder -> boxes, logits
 * ```
 * Inputs `hidden_state.0`..`.3`: the last four hidden states [1 + P, C], in any order.
 */
export async function buildProposalHead(
  g: GraphBuilder,
  perceiver: Weights,
  { detector, vision }: Pick<GromaConfig, 'detector' | 'vision'>,
  side: number,
): Promise<ProposalOutputs> {
  const weights = perceiver.at('ddetr_transformer')
  const levels = levelSizes(detector.featureLevelCount, side)
  const patches = side * side
  const states = [0, 1, 2, 3].map((index) =>
    g.input(`hidden_state.${index}`, 'float32', [1 + patches, vision.hiddenSize]),
  )
  const sum = states.slice(1).reduce((total, state, i) => add(g, `/mean/${i}`, total, state), states[0]!)
  const mean = slice(g, '/mean/patches', mul(g, '/mean', sum, g.scalar(0.25)), 0, 1, 1 + patches) // [P, C]
  const features = reshape(g, '/mean/map', transpose(g, '/mean/map', mean, 1, 0), 1, vision.hiddenSize, side, side)

  const kinds = levelKinds(levels.length)
  const pixels: Value[] = []
  for (const [index, level] of levels.entries()) {
    const projection = perceiver.at('input_proj').at(index)
    pixels.push(await buildLevel(g, `/input_proj.${index}`, projection, features, { ...level, kind: kinds[index]! }))
  }
  const source = concat(g, '/pixels', 0, ...pixels) // [T, d]
  const encoded = await buildEncoder(g, weights, source, detector, levels)
  const best = await selectAnchors(g, weights, encoded, detector, levels)
  return buildDecoder(g, weights, encoded, best, detector, levels)
}

/**
 * Per layer, on x [T, d] with p = sine embedding + level embedding:
 * ```
 *  x -+- + p -> deformable self-attention around the pixel's centre -- + -> LN -+- fc1 -> ReLU -> fc2 -- + -> LN ->
 *     '---------------------------------------------------------------'        '-----------------------'
 * ```
 */
async function buildEncoder(
  g: GraphBuilder,
  weights: Weights,
  source: Value,
  detector: Detector,
  levels: readonly Level[],
): Promise<Value> {
  const { hiddenSize: width, encoderHeadCount: heads, encoderPointCount: points } = detector
  const tokens = levels.reduce((count, level) => count + level.height * level.width, 0)
  const positions = await g.floats('/encoder/positions', await levelPositions(weights, levels, width), [tokens, width])
  const centres = pixelCentres(levels).map((fraction) => 2 * fraction - 1)
  const centre = await g.floats('/encoder/centres', centres, [tokens, 1, 2])
  const units: Value[] = []
  for (const [index, level] of levels.entries()) {
    units.push(await g.floats(`/encoder/units.${index}`, Float32Array.of(2 / level.width, 2 / level.height), [2]))
  }
  let x = source
  for (let layer = 0; layer < detector.encoderLayerCount; layer++) {
    const at = `/encoder/layers.${layer}`
    const own = weights.at('encoder.layers').at(layer)
    const attended = await deformableAttention(g, `${at}/self_attn`, own.at('self_attn'), {
      query: add(g, `${at}/query`, x, positions),
      values: x,
      levels,
      width,
      heads,
      points,
      centre,
      unit: (level) => units[level]!,
    })
    x = await addAndNorm(g, `${at}/self_attn_layer_norm`, x, attended, own)
    x = await feedForward(g, at, x, own, detector, detector.encoderFfnSize)
  }
  return x
}

/** Sine embedding + level embedding of every pixel: [T, width]. */
async function levelPositions(weights: Weights, levels: readonly Level[], width: number): Promise<Float32Array> {
  const levelEmbedding = await weights.read('level_embed') // [L, width]
  const rows = levels.map((level, index) => {
    const positions = sinePositions(level, width)
    return positions.map((value, i) => value + levelEmbedding[index * width + (i % width)]!)
  })
  const all = new Float32Array(rows.reduce((length, row) => length + row.length, 0))
  let offset = 0
  for (const row of rows) {
    all.set(row, offset)
    offset += row.length
  }
  return all
}

interface Anchors {
  /** [Q, 4] cxcywh, where the decoder's queries look */
  reference: Value
  /** [Q, d] position part of the queries */
  positions: Value
}

/**
 * ```
 *  encoded [T, d] -> * valid -> enc_output -> LN -+- class_embed_enc -> TopK Q ----------------------.
 *                                                 '- bbox_embed[last] -> + anchor logits [T, 4] -> Gather -> Sigmoid
 *    reference [Q, 4] -> * 2 pi / wave lengths -> sin, cos in turn [Q, 2d] -> pos_trans -> LN -> first half [Q, d]
 * ```
 */
async function selectAnchors(
  g: GraphBuilder,
  weights: Weights,
  encoded: Value,
  { proposalCount, hiddenSize: width, decoderLayerCount }: Detector,
  levels: readonly Level[],
): Promise<Anchors> {
  const at = '/anchors'
  const { logits, valid } = anchorBoxes(levels)
  const tokens = valid.length
  const counted = valid.includes(0)
    ? mul(g, `${at}/valid`, encoded, await g.floats(`${at}/valid`, valid, [tokens, 1]))
    : encoded
  const projected = await linear(g, `${at}/enc_output`, counted, weights.affine('enc_output', [width, width]))
  const normed = await layerNorm(g, `${at}/enc_output_norm`, projected, {
    ...weights.affine('enc_output_norm', [width]),
    epsilon: EPSILON,
  })
  const classes = await linear(g, `${at}/class_embed_enc`, normed, weights.affine('class_embed_enc', [1, width])) // [T, 1]
  const [, ranked] = g.nodes('TopK', at, [reshape(g, `${at}/classes`, classes, tokens), g.integers(proposalCount)], {
    attributes: { axis: int(0), largest: int(1), sorted: int(1) }, // ties: the lower index first
    outputCount: 2,
  })
  const deltas = await boxHead(g, `${at}/bbox_embed`, normed, weights.at('bbox_embed').at(decoderLayerCount))
  const boxLogits = add(g, `${at}/logits`, deltas, await g.floats(`${at}/logits`, logits, [tokens, 4]))
  const reference = sigmoid(g, `${at}/reference`, gather(g, `${at}/best`, boxLogits, ranked!, 0)) // [Q, 4]

  const frequencies = waveLengths(width / 2).map((wave) => FULL_CIRCLE / wave)
  const waves = await g.floats(`${at}/frequencies`, Float32Array.from(frequencies), [width / 4])
  const angles = mul(g, `${at}/angles`, unsqueeze(g, `${at}/angles`, reference, 2), waves) // [Q, 4, d/4]
  const pairs = ([sin, cos] as const).map((op, i) =>
    unsqueeze(g, `${at}/waves.${i}`, op(g, `${at}/waves.${i}`, angles), 3),
  )
  const embedding = reshape(g, `${at}/embedding`, concat(g, `${at}/embedding`, 3, ...pairs), proposalCount, 2 * width)
  const transformed = await linear(g, `${at}/pos_trans`, embedding, weights.affine('pos_trans', [2 * width, 2 * width])) // [Q, 2d]
  const positions = await layerNorm(g, `${at}/pos_trans_norm`, transformed, {
    ...weights.affine('pos_trans_norm', [2 * width]),
    epsilon: EPSILON,
  })
  return { reference, positions: slice(g, `${at}/positions`, positions, 1, 0, width) }
}

/**
 * Per layer, on x [Q, d] with p = the anchors' position part; every layer looks around the same anchors:
 * ```
 *  x -+- + p = q, k; x = v -> self-attention -- + -> LN -+- + p -> deformable attention -- + -> LN -> feed-forward ->
 *     '----------------------------------------'         '--------------------------------'
 * ```
 */
async function buildDecoder(
  g: GraphBuilder,
  weights: Weights,
  encoded: Value,
  { reference, positions }: Anchors,
  detector: Detector,
  levels: readonly Level[],
): Promise<ProposalOutputs> {
  const { hiddenSize: width, decoderHeadCount: heads, decoderPointCount: points, proposalCount } = detector
  const content = weights.source('query_position_embeddings.weight', [detector.queryCount, width])
  const all = await g.weight('/decoder/queries', content)
  let x = content.shape[0] === proposalCount ? all : slice(g, '/decoder/queries', all, 0, 0, proposalCount)

  const [middle, extent] = split(
    g,
    '/decoder/reference',
    reshape(g, '/decoder/reference', reference, -1, 1, 4),
    2,
    2,
    2,
  )
  const doubled = mul(g, '/decoder/centre', middle!, g.scalar(2))
  const centre = sub(g, '/decoder/centre', doubled, g.scalar(1)) // [Q, 1, 2]
  // 2 (reference + offset / points * extent / 2) - 1
  const unit = mul(g, '/decoder/unit', extent!, g.scalar(1 / points)) // [Q, 1, 2]

  const hidden: Value[] = []
  for (let layer = 0; layer < detector.decoderLayerCount; layer++) {
    const at = `/decoder/layers.${layer}`
    const own = weights.at('decoder.layers').at(layer)
    const placed = add(g, `${at}/self_attn/query`, x, positions)
    const project = (name: string, input: Value) =>
      linear(g, `${at}/self_attn/${name}`, input, own.at('self_attn').affine(name, [width, width]))
    const mixed = attention(
      g,
      `${at}/self_attn`,
      {
        query: await project('q_proj', placed),
        key: await project('k_proj', placed),
        value: await project('v_proj', x),
      },
      { heads, width },
    )
    x = await addAndNorm(g, `${at}/self_attn_layer_norm`, x, await project('out_proj', mixed), own)
    const attended = await deformableAttention(g, `${at}/encoder_attn`, own.at('encoder_attn'), {
      query: add(g, `${at}/encoder_attn/query`, x, positions),
      values: encoded,
      levels,
      width,
      heads,
      points,
      centre,
      unit: () => unit,
    })
    x = await addAndNorm(g, `${at}/encoder_attn_layer_norm`, x, attended, own)
    x = await feedForward(g, at, x, own, detector, detector.decoderFfnSize)
    hidden.push(x)
  }
  return buildHeads(g, weights, hidden, reference, width)
}

/** The last layer's boxes refine those of the layer before it (of the anchors, where there is only one layer). */
async function buildHeads(
  g: GraphBuilder,
  weights: Weights,
  hidden: readonly Value[],
  reference: Value,
  width: number,
): Promise<ProposalOutputs> {
  const last = hidden.length - 1
  let logits = inverseSigmoid(g, '/heads/reference', reference)
  for (const layer of last > 0 ? [last - 1, last] : [last]) {
    const at = `/heads/bbox_embed.${layer}`
    const delta = await boxHead(g, at, hidden[layer]!, weights.at('bbox_embed').at(layer))
    const boxes = sigmoid(g, at, add(g, at, delta, logits))
    if (layer === last) {
      const embed = (name: string) =>
        linear(g, `/heads/${name}`, hidden[last]!, weights.at(name).affine(`${last}`, [1, width])) // [Q, 1]
      return { boxes, logitCoco: await embed('class_embed_coco'), logitSa1b: await embed('class_embed_sa1b') }
    }
    logits = inverseSigmoid(g, at, boxes)
  }
  throw new RangeError('a decoder without layers')
}

/** log(x / (1 - x)), both at least 1e-5. */
function inverseSigmoid(g: GraphBuilder, at: string, x: Value): Value {
  const [low, high] = [g.scalar(INVERSE_SIGMOID_EPSILON), g.scalar(1)]
  const inside = clip(g, `${at}/inside`, x, low, high)
  const rest = clip(g, `${at}/rest`, sub(g, `${at}/rest`, g.scalar(1), x), low, high)
  return log(g, `${at}/inverse`, div(g, `${at}/inverse`, inside, rest))
}

/** Linear -> ReLU -> Linear -> ReLU -> Linear -> [.., 4]. */
async function boxHead(g: GraphBuilder, at: string, x: Value, weights: Weights): Promise<Value> {
  const first = relu(g, `${at}/0`, await linear(g, `${at}/0`, x, weights.affine('layers.0')))
  const second = relu(g, `${at}/1`, await linear(g, `${at}/1`, first, weights.affine('layers.1')))
  return linear(g, `${at}/2`, second, weights.affine('layers.2'))
}

async function feedForward(
  g: GraphBuilder,
  at: string,
  x: Value,
  weights: Weights,
  detector: Detector,
  ffnSize: number,
): Promise<Value> {
  const expanded = await linear(g, `${at}/fc1`, x, weights.affine('fc1', [ffnSize, detector.hiddenSize]))
  const active = activations[detector.activation](g, `${at}/activation`, expanded)
  const contracted = await linear(g, `${at}/fc2`, active, weights.affine('fc2', [detector.hiddenSize, ffnSize]))
  return addAndNorm(g, `${at}/final_layer_norm`, x, contracted, weights)
}

/** LayerNorm(x + change); the norm's name ends the path. */
async function addAndNorm(g: GraphBuilder, at: string, x: Value, change: Value, weights: Weights): Promise<Value> {
  const affine = weights.affine(at.slice(at.lastIndexOf('/') + 1))
  return layerNorm(g, at, add(g, at, x, change), { ...affine, epsilon: EPSILON })
}
