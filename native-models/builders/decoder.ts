import type { GromaConfig } from '../groma/config.ts'
import { int } from '../onnx/attributes.ts'
import type { GraphBuilder, Value, WeightSource } from '../onnx/graphBuilder.ts'
import {
  add,
  concat,
  gather,
  linear,
  matMul,
  mul,
  reshape,
  rmsNorm,
  sigmoid,
  softmax,
  split,
  transpose,
  unsqueeze,
} from '../onnx/ops.ts'
import type { LlmFormats } from './llmFormats.ts'
import type { Weights } from './weights.ts'

type Llm = GromaConfig['llm']

/** One layer's keys [B, G, d, T] and values [B, G, T, d] (G key/value heads) of the tokens of this run. */
export interface LayerCache {
  key: Value
  value: Value
}

export interface DecoderOutputs {
  /** [B, vocabulary] after each sequence's last token */
  logits: Value
  present: LayerCache[]
}

/** What all layers of one run share. */
interface Run {
  llm: Llm
  formats: LlmFormats
  cos: Value
  sin: Value
  positions: Value
  /** [1, 1, T, P + C + T], 0 where a token may look, very negative elsewhere */
  bias: Value
  /** shapes [B, T, heads, d] */
  queryShape: Value
  keyShape: Value
  /** [P, C, T] */
  segments: Value
}

/**
 * LLaMA over embeddings (groma.md section 7). Keys and values of earlier tokens come in two segments that are read only,
 * and only those of this run's tokens go out: nothing is copied that was there before (guide: runtime, KV cache).
 * ```
 *  inputs_embeds [B, T, H] -> layer .. -> row `last_rows[b]` of each sequence -> RMSNorm -> lm_head | extra_lm_head
 * ```
 * Inputs beside `inputs_embeds`: `position_ids` [B, T], `attention_bias` [1, 1, T, P + C + T], `last_rows` [B] (rows of
 * the flattened [B * T]); per layer `prefix_key.i` [1, G, d, P], `prefix_value.i` [1, G, P, d], shared by the whole
 * batch, and `past_key.i` [B, G, d, C], `past_value.i` [B, G, C, d]. P and C are at least 1: mask what is not there.
 */
export async function buildDecoder(
  g: GraphBuilder,
  weights: Weights,
  config: VocabularySizes,
  formats: LlmFormats,
): Promise<DecoderOutputs> {
  const { llm } = config
  const at = '/llm'
  const embeds = g.input('inputs_embeds', 'float32', ['B', 'T', llm.hiddenSize])
  const positions = g.input('position_ids', 'int64', ['B', 'T'])
  const bias = g.input('attention_bias', 'float32', [1, 1, 'T', 'P+C+T'])
  const lastRows = g.input('last_rows', 'int64', ['B'])
  const groups = llm.kvHeadCount
  const earlier = Array.from({ length: llm.layerCount }, (_, layer) => ({
    prefix: {
      key: g.input(`prefix_key.${layer}`, 'float32', [1, groups, llm.headSize, 'P']),
      value: g.input(`prefix_value.${layer}`, 'float32', [1, groups, 'P', llm.headSize]),
    },
    past: {
      key: g.input(`past_key.${layer}`, 'float32', ['B', groups, llm.headSize, 'C']),
      value: g.input(`past_value.${layer}`, 'float32', ['B', groups, 'C', llm.headSize]),
    },
  }))

  const batchAndLength = g.node('Shape', `${at}/batch_and_length`, [embeds], {
    attributes: { start: int(0), end: int(2) },
  })
  const lengthOf = (name: string, value: Value, axis: number) =>
    g.node('Shape', `${at}/${name}`, [value], { attributes: { start: int(axis), end: int(axis + 1) } })
  const shapeOf = (name: string, heads: number) =>
    concat(g, `${at}/${name}`, 0, batchAndLength, g.integers(heads, llm.headSize))
  const first = earlier[0]!
  const segments = concat(
    g,
    `${at}/segments`,
    0,
    lengthOf('prefix_length', first.prefix.value, 2),
    lengthOf('past_length', first.past.value, 2),
    lengthOf('new_length', embeds, 1),
  )
  const { cos, sin } = rotaryTables(llm)
  const tableShape = [llm.maxPositions, llm.headSize / 2]
  const run: Run = {
    llm,
    formats,
    cos: await g.floats(`${at}/rotary/cos`, cos, tableShape),
    sin: await g.floats(`${at}/rotary/sin`, sin, tableShape),
    positions,
    bias: groups === llm.headCount ? bias : unsqueeze(g, `${at}/bias`, bias, 2),
    queryShape: shapeOf('query_shape', llm.headCount),
    keyShape: shapeOf('key_shape', groups),
    segments,
  }

  let x = reshape(g, `${at}/rows`, embeds, -1, llm.hiddenSize) // [B T, H]
  const present: LayerCache[] = []
  for (const [layer, { prefix, past }] of earlier.entries()) {
    const own = weights.at('llm.model.layers').at(layer)
    const attended = await selfAttention(g, `${at}/layers.${layer}`, x, own, run, [prefix, past])
    present.push(attended.present)
    x = await feedForward(g, `${at}/layers.${layer}/mlp`, attended.output, own, run)
  }
  const last = gather(g, `${at}/last`, x, lastRows, 0) // [B, H]
  const norm = { weight: weights.source('llm.model.norm.weight', [llm.hiddenSize]), epsilon: llm.rmsNormEps }
  const normed = await rmsNorm(g, `${at}/norm`, last, norm)
  const head = { weight: outputTable(weights, config) }
  return { logits: await linear(g, `${at}/lm_head`, normed, head, formats.head), present }
}

/** Both halves of the vocabulary as one matrix. */
function outputTable(weights: Weights, config: VocabularySizes): WeightSource {
  const own = weights.has('llm.lm_head.weight') || !config.llm.tieWordEmbeddings
  return vocabularyTable(weights, own ? 'llm.lm_head.weight' : EMBEDDINGS, 'extra_lm_head.weight', config)
}

/** The rows of `input_ids`: the language model's own vocabulary, then Groma's tokens. */
export function inputTable(weights: Weights, config: VocabularySizes): WeightSource {
  return vocabularyTable(weights, EMBEDDINGS, 'new_input_embs.weight', config)
}

const EMBEDDINGS = 'llm.model.embed_tokens.weight'
type VocabularySizes = Pick<GromaConfig, 'llm' | 'newTokenCount'>

function vocabularyTable(weights: Weights, base: string, added: string, { llm, newTokenCount }: VocabularySizes) {
  return weights.stacked(
    { name: base, expected: [llm.vocabSize, llm.hiddenSize] },
    { name: added, expected: [newTokenCount, llm.hiddenSize] },
  )
}

/**
 * ```
 *  x [B T, H] -> RMSNorm -> q | k | v
 *    q -> rotary -> * 1/sqrt(d) [B, h, T, d] --.-- x prefix_key --.
 *    k -> rotary -> [B, G, d, T] = present ----+-- x past_key ---- Concat -> + bias -> Softmax -> Split
 *    v -> [B, G, T, d] = present               '-- x present -----'                                |
 *    sum of (part x prefix_value, part x past_value, part x present_value) -> o_proj -> + x <------'
 * ```
 * With fewer key/value heads than query heads, queries go as [B, G, h/G, T, d] and keys get an axis to broadcast over.
 */
async function selfAttention(
  g: GraphBuilder,
  at: string,
  x: Value,
  weights: Weights,
  run: Run,
  earlier: readonly LayerCache[],
): Promise<{ output: Value; present: LayerCache }> {
  const { headCount: heads, kvHeadCount: groups, headSize, hiddenSize, rmsNormEps: epsilon } = run.llm
  const own = weights.at('self_attn')
  const normed = await rmsNorm(g, `${at}/input_norm`, x, {
    weight: weights.source('input_layernorm.weight', [hiddenSize]),
    epsilon,
  })
  const lengths = [heads * headSize, groups * headSize, groups * headSize]
  const projections = ['q_proj', 'k_proj', 'v_proj'].map((name, i) => ({
    name: `${name}.weight`,
    expected: [lengths[i]!, hiddenSize],
  }))
  const weight = own.stacked(...projections)
  const qkv = await linear(g, `${at}/attn/qkv_proj`, normed, { weight }, run.formats.layers)
  const [query, key, value] = split(g, `${at}/attn/qkv`, qkv, 1, ...lengths)

  const perHead = (name: string, rows: Value, shape: Value) =>
    transpose(g, `${at}/attn/${name}`, g.node('Reshape', `${at}/attn/${name}`, [rows, shape]), 0, 2, 1, 3)
  const rotary = (name: string, states: Value) =>
    g.node('RotaryEmbedding', `${at}/attn/${name}`, [states, run.positions, run.cos, run.sin], {
      domain: 'com.microsoft',
    })
  const q = rotary('q', perHead('q', query!, run.queryShape)) // [B, h, T, d]
  const scaled = mul(g, `${at}/attn/scale`, q, g.scalar(1 / Math.sqrt(headSize)))
  const k = transpose(g, `${at}/attn/present_key`, rotary('k', perHead('k', key!, run.keyShape)), 0, 1, 3, 2)
  const present = { key: k, value: perHead('v', value!, run.keyShape) }

  const grouped = heads !== groups
  const asked = grouped ? reshape(g, `${at}/attn/group`, scaled, 0, groups, heads / groups, -1, headSize) : scaled
  const parts = [...earlier, present].map(({ key, value }, i) => ({
    key: grouped ? unsqueeze(g, `${at}/attn/key.${i}`, key, 2) : key,
    value: grouped ? unsqueeze(g, `${at}/attn/value.${i}`, value, 2) : value,
  }))
  const scores = parts.map((part, i) => matMul(g, `${at}/attn/scores.${i}`, asked, part.key))
  const biased = add(g, `${at}/attn/bias`, concat(g, `${at}/attn/scores`, -1, ...scores), run.bias) // [.., T, P+C+T]
  const shares = g.nodes('Split', `${at}/attn/shares`, [softmax(g, `${at}/attn`, biased), run.segments], {
    attributes: { axis: int(-1) },
    outputCount: parts.length,
  })
  const mixed = parts
    .map((part, i) => matMul(g, `${at}/attn/mix.${i}`, shares[i]!, part.value))
    .reduce((total, part, i) => add(g, `${at}/attn/mix.${i}`, total, part)) // [.., T, d]
  const ungrouped = grouped ? reshape(g, `${at}/attn/ungroup`, mixed, 0, heads, -1, headSize) : mixed
  const rows = reshape(
    g,
    `${at}/attn/merge`,
    transpose(g, `${at}/attn/merge`, ungrouped, 0, 2, 1, 3),
    -1,
    heads * headSize,
  )
  const output = own.matrix('o_proj', [hiddenSize, heads * headSize])
  const projected = await linear(g, `${at}/attn/o_proj`, rows, output, run.formats.layers)
  return { output: add(g, `${at}/attn/residual`, x, projected), present }
}

/** x + down(silu(gate(norm x)) * up(norm x)). */
async function feedForward(g: GraphBuilder, at: string, x: Value, weights: Weights, run: Run): Promise<Value> {
  const { llm, formats } = run
  const norm = { weight: weights.source('post_attention_layernorm.weight', [llm.hiddenSize]), epsilon: llm.rmsNormEps }
  const normed = await rmsNorm(g, `${at}/norm`, x, norm)
  const own = weights.at('mlp')
  const expected = [llm.intermediateSize, llm.hiddenSize]
  const weight = own.stacked({ name: 'gate_proj.weight', expected }, { name: 'up_proj.weight', expected })
  const packed = await linear(g, `${at}/gate_up_proj`, normed, { weight }, formats.layers) // [B T, 2 I]
  const [gate, up] = split(g, `${at}/gate_up`, packed, 1, llm.intermediateSize, llm.intermediateSize)
  const active = mul(g, `${at}/silu`, gate!, sigmoid(g, `${at}/silu`, gate!))
  const contracted = await linear(
    g,
    `${at}/down_proj`,
    mul(g, `${at}/gated`, active, up!),
    own.matrix('down_proj', [llm.hiddenSize, llm.intermediateSize]),
    formats.layers,
  )
  return add(g, `${at}/residual`, x, contracted)
}

/** cos and sin of position * theta^(-2i / d): [maxPositions, d / 2], angles rounded to float32 as torch does. */
function rotaryTables({ maxPositions, headSize, ropeTheta }: Llm): { cos: Float32Array; sin: Float32Array } {
  const half = headSize / 2
  const frequencies = Array.from({ length: half }, (_, i) =>
    Math.fround(1 / Math.fround(ropeTheta ** ((2 * i) / headSize))),
  )
  const angle = (index: number) => Math.fround(Math.floor(index / half) * frequencies[index % half]!)
  const table = (wave: (angle: number) => number) =>
    Float32Array.from({ length: maxPositions * half }, (_, index) => wave(angle(index)))
  return { cos: table(Math.cos), sin: table(Math.sin) }
}
