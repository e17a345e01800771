import type { GromaConfig } from '../groma/config.ts'
import { float, int } from '../onnx/attributes.ts'
import type { GraphBuilder, Value, WeightSource } from '../onnx/graphBuilder.ts'
import { int8Linears, rowCodes, signedRowCodes } from '../onnx/int8.ts'
import { type AnyLinearFormat, linearIn } from '../onnx/linearFormats.ts'
import {
  add,
  concat,
  gather,
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
import { attendPrompt, type LayerPrompt, promptInputs } from './promptAttention.ts'
import type { Weights } from './weights.ts'

type Llm = GromaConfig['llm']

/** One layer's keys and values, each [G, B, T, d] (G key/value heads), of the tokens of this run. */
export interface LayerCache {
  key: Value
  value: Value
}

/** The same as they come out; in 8 bits as a prompt keeps them, with their scales [G, B, T]. */
export interface LayerPresent extends LayerCache {
  scales: LayerCache | null
}

export interface DecoderOutputs {
  /** [R, vocabulary] after each of the rows asked for */
  logits: Value
  present: LayerPresent[]
}

/** cos and sin, [maxPositions, d / 2] each. */
interface RotaryTables {
  cos: Value
  sin: Value
}

/** What all layers of one run share. */
interface Run {
  llm: Llm
  formats: LlmFormats
  /** for keys */
  rotary: RotaryTables
  /** for queries: times 1/sqrt(d), so that scores need no scaling of their own */
  scaledRotary: RotaryTables
  positions: Value
  /** [1, 1, T, P + C + T], 0 where a token may look, very negative elsewhere */
  bias: Value
  /** shapes [B, T, heads * d] */
  queryRows: Value
  keyRows: Value
  /** shapes [B, T, heads, d] */
  queryHeads: Value
  keyHeads: Value
  /** shapes [h, B, T, any] and [G, B, T, any] */
  perHead: Value
  perKeyHead: Value
  /** shape [G, B, T] */
  perKey: Value
  /** the same, or [G, h/G, B, T, any] where several heads share keys */
  perGroup: Value
  /** shape [G, 1, h/G B T, P] */
  prefixRows: Value
  /** [P, C, T] */
  segments: Value
}

/**
 * LLaMA over embeddings (groma.md section 7). Keys and values of earlier tokens come in two segments that are read only,
 * and only those of this run's tokens go out: nothing is copied that was there before (guide: runtime, KV cache).
 * ```
 *  inputs_embeds [B, T, H] -> layer .. -> last layer's attention -> rows `last_rows` of the flattened [B T, H]
 *    -> the rest of that layer -> RMSNorm -> lm_head | extra_lm_head
 * ```
 * Inputs beside `inputs_embeds`: `position_ids` [B, T], `attention_bias` [1, 1, T, P + C + T], `last_rows` [R] (any rows);
 * per layer `prefix_key.i` and `prefix_value.i` [G, 1, P, d] (in 8 bits with `prefix_key_scale.i` and `prefix_value_scale.i`
 * [G, 1, 1, P]), shared by the whole batch, and `past_key.i` and
 * `past_value.i` [G, B, C, d]. P and C are at least 1: mask what is not there.
 *
 * Heads come before sequences, so that the rows of all sequences lie below each other for the prefix: its keys and values
 * are read once a head, however many sequences there are.
 *
 * Keys lie as values do. onnxruntime turns Transpose + MatMul into one product that reads them row by row: 12 -> 20 GB/s
 * for one query of 600 keys, since the kernel for a single row wants no packing (and no factor, hence `scaledRotary`).
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
  const lastRows = g.input('last_rows', 'int64', ['R'])
  const groups = llm.kvHeadCount
  const earlier = Array.from({ length: llm.layerCount }, (_, layer) => ({
    prefix: promptInputs(g, llm, formats.prompt, layer),
    past: {
      key: g.input(`past_key.${layer}`, 'float32', [groups, 'B', 'C', llm.headSize]),
      value: g.input(`past_value.${layer}`, 'float32', [groups, 'B', 'C', llm.headSize]),
    },
  }))

  const batchAndLength = g.node('Shape', `${at}/batch_and_length`, [embeds], {
    attributes: { start: int(0), end: int(2) },
  })
  const lengthOf = (name: string, value: Value, axis: number) =>
    g.node('Shape', `${at}/${name}`, [value], { attributes: { start: int(axis), end: int(axis + 1) } })
  const shapeOf = (name: string, ...lengths: number[]) =>
    concat(g, `${at}/${name}`, 0, batchAndLength, g.integers(...lengths))
  const first = earlier[0]!
  const width = [llm.hiddenSize]
  const leading = (name: string, ...lengths: number[]) =>
    concat(g, `${at}/${name}`, 0, g.integers(...lengths), batchAndLength, g.integers(-1))
  const perHead = leading('per_head', llm.headCount)
  const prefixLength = lengthOf('prefix_length', first.prefix.value, 2)
  const segments = concat(
    g,
    `${at}/segments`,
    0,
    prefixLength,
    lengthOf('past_length', first.past.value, 2),
    lengthOf('new_length', embeds, 1),
  )
  const tableShape = [llm.maxPositions, llm.headSize / 2]
  const { cos, sin } = rotaryTables(llm)
  const rotary: RotaryTables = {
    cos: await g.floats(`${at}/rotary/cos`, cos, tableShape),
    sin: await g.floats(`${at}/rotary/sin`, sin, tableShape),
  }
  const scale = g.scalar(1 / Math.sqrt(llm.headSize)) // onnxruntime multiplies constants when it loads the graph
  const scaledRotary: RotaryTables = {
    cos: mul(g, `${at}/scaled_rotary/cos`, rotary.cos, scale),
    sin: mul(g, `${at}/scaled_rotary/sin`, rotary.sin, scale),
  }
  const run: Run = {
    llm,
    formats,
    rotary,
    scaledRotary,
    positions,
    bias,
    queryRows: shapeOf('query_rows', llm.headCount * llm.headSize),
    keyRows: shapeOf('key_rows', groups * llm.headSize),
    queryHeads: shapeOf('query_heads', llm.headCount, llm.headSize),
    keyHeads: shapeOf('key_heads', groups, llm.headSize),
    perHead,
    perKeyHead: groups === llm.headCount ? perHead : leading('per_key_head', groups),
    perKey: concat(g, `${at}/per_key`, 0, g.integers(groups), batchAndLength),
    perGroup: groups === llm.headCount ? perHead : leading('per_group', groups, llm.headCount / groups),
    prefixRows: concat(g, `${at}/prefix_rows`, 0, g.integers(groups, 1, -1), prefixLength),
    segments,
  }

  let stream: Stream = { x: reshape(g, `${at}/rows`, embeds, -1, llm.hiddenSize) } // [B T, H]
  const present: LayerPresent[] = []
  for (const [layer, { prefix, past }] of earlier.entries()) {
    const own = weights.at('llm.model.layers').at(layer)
    const path = `${at}/layers.${layer}`
    const attending = await addAndNorm(
      g,
      `${path}/input_norm`,
      stream,
      own.source('input_layernorm.weight', width),
      run,
    )
    const attended = await selfAttention(g, path, attending.normed, own, run, [prefix, past])
    present.push(presentOf(g, `${path}/attn`, attended.present, run))
    // what is behind the last attention is computed for the rows asked for only: [R, ..]
    const rows = (name: string, value: Value) =>
      layer === llm.layerCount - 1 ? gather(g, `${at}/${name}`, value, lastRows, 0) : value
    const output = own.matrix('self_attn.o_proj', [llm.hiddenSize, llm.headCount * llm.headSize])
    const mixed = rows('last_mixed', attended.mixed)
    const update = await linearIn(formats.output, g, `${path}/attn/o_proj`, mixed, output)
    stream = { x: rows('last', attending.sum), update }
    const norm = own.source('post_attention_layernorm.weight', width)
    const feeding = await addAndNorm(g, `${path}/mlp/norm`, stream, norm, run)
    stream = { x: feeding.sum, update: await feedForward(g, `${path}/mlp`, feeding.normed, own, run) }
  }
  const { normed } = await addAndNorm(g, `${at}/norm`, stream, weights.source('llm.model.norm.weight', width), run)
  const head = { weight: outputTable(weights, config) }
  return { logits: await linearIn(formats.head, g, `${at}/lm_head`, normed, head), present }
}

/** The residual stream, and what the last sublayer adds to it. */
interface Stream {
  x: Value
  update?: Value
}

/** x + update, and RMSNorm of that, in one operator. */
async function addAndNorm(
  g: GraphBuilder,
  at: string,
  { x, update }: Stream,
  weight: WeightSource,
  { llm: { rmsNormEps: epsilon } }: Run,
): Promise<{ normed: Value; sum: Value }> {
  if (update === undefined) return { normed: await rmsNorm(g, at, x, { weight, epsilon }), sum: x }
  const inputs = [x, update, await g.weight(`${at}/weight`, weight)]
  const options = { domain: 'com.microsoft', attributes: { epsilon: float(epsilon) }, outputCount: 4 }
  const [normed, , , sum] = g.nodes('SkipSimplifiedLayerNormalization', at, inputs, options)
  return { normed: normed!, sum: sum! }
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
 *  normed [B T, H] -> q | k | v
 *    q -> rotary / sqrt(d) [h, B, T, d] -------.-- all rows x prefix_key^T --.
 *    k -> rotary -> [G, B, T, d] = present ----+-- x past_key^T -------------- Concat -> + bias -> Softmax -> Split
 *    v -> [G, B, T, d] = present               '-- x present^T --------------'                                |
 *    [B T, h d] <- sum of (part x prefix_value, part x past_value, part x present_value) <--------------------'
 * ```
 * With fewer key/value heads than query heads, queries go as [G, h/G, B, T, d] and keys get an axis to broadcast over.
 */
async function selfAttention(
  g: GraphBuilder,
  at: string,
  normed: Value,
  weights: Weights,
  run: Run,
  [prefix, past]: readonly [LayerPrompt, LayerCache],
): Promise<{ mixed: Value; present: LayerCache }> {
  const { headCount: heads, kvHeadCount: groups, headSize, hiddenSize } = run.llm
  const lengths = [heads * headSize, groups * headSize, groups * headSize]
  const own = weights.at('self_attn')
  const projections = ['q_proj', 'k_proj', 'v_proj'].map((name, i) => ({
    name: `${name}.weight`,
    expected: [lengths[i]!, hiddenSize],
  }))
  const [query, key, value] = await linears(run.formats.qkv, g, `${at}/attn/qkv`, normed, own, projections)

  const shaped = (name: string, x: Value, shape: Value) => g.node('Reshape', `${at}/attn/${name}`, [x, shape])
  const rotary = (name: string, rows: Value, { cos, sin }: RotaryTables) =>
    g.node('RotaryEmbedding', `${at}/attn/${name}`, [rows, run.positions, cos, sin], { domain: 'com.microsoft' })
  const headsFirst = (name: string, rows: Value, shape: Value) =>
    transpose(g, `${at}/attn/${name}`, shaped(name, rows, shape), 2, 0, 1, 3)
  const turned = rotary('q', shaped('q_rows', query!, run.queryRows), run.scaledRotary)
  const q = headsFirst('q', turned, run.queryHeads) // [h, B, T, d]
  const turnedKey = rotary('k', shaped('k_rows', key!, run.keyRows), run.rotary)
  // Reshape to what it is: onnxruntime would else join this transpose with that of the product, and compute both.
  const k = shaped('present_key', headsFirst('k', turnedKey, run.keyHeads), run.perKeyHead)
  const present = { key: k, value: headsFirst('v', value!, run.keyHeads) } // [G, B, T, d]

  const grouped = heads !== groups
  const asked = grouped ? shaped('grouped', q, run.perGroup) : q
  const shared = (name: string, x: Value) => (grouped ? unsqueeze(g, `${at}/attn/${name}`, x, 1) : x)
  const parts = [past, present].map(({ key, value }, i) => ({
    key: shared(`key.${i + 1}`, key),
    value: shared(`value.${i + 1}`, value),
  }))
  const transposed = (name: string, x: Value, rank: number) =>
    transpose(g, `${at}/attn/${name}`, x, ...(rank === 5 ? [0, 1, 2, 4, 3] : [0, 1, 3, 2]))
  const flat = reshape(g, `${at}/attn/asked`, q, groups, 1, -1, headSize) // [G, 1, h/G B T, d]
  const prompt = attendPrompt(g, `${at}/attn`, prefix, run.formats.attention)
  const scores = [
    shaped('scores.0', prompt.scores(flat), run.perGroup),
    ...parts.map(({ key }, i) =>
      matMul(g, `${at}/attn/scores.${i + 1}`, asked, transposed(`key.${i + 1}`, key, grouped ? 5 : 4)),
    ),
  ]
  const biased = add(g, `${at}/attn/bias`, concat(g, `${at}/attn/scores`, -1, ...scores), run.bias) // [.., T, P+C+T]
  const shares = g.nodes('Split', `${at}/attn/shares`, [softmax(g, `${at}/attn`, biased), run.segments], {
    attributes: { axis: int(-1) },
    outputCount: scores.length,
  })
  const mixes = [
    shaped('mix.0', prompt.mix(shaped('shares.0', shares[0]!, run.prefixRows)), run.perGroup),
    ...parts.map(({ value }, i) => matMul(g, `${at}/attn/mix.${i + 1}`, shares[i + 1]!, value)),
  ]
  const mixed = mixes.reduce((sum, mix, i) => add(g, `${at}/attn/mix/${i}`, sum, mix)) // [.., T, d]
  const ungrouped = grouped ? shaped('ungrouped', mixed, run.perHead) : mixed
  const merged = transpose(g, `${at}/attn/merge`, ungrouped, 1, 2, 0, 3) // [B, T, h, d]
  return { mixed: reshape(g, `${at}/attn/merge`, merged, -1, heads * headSize), present }
}

/** Keys and values as they come out; rounding them outside of the graph takes a tenth of a long run. */
function presentOf(g: GraphBuilder, at: string, { key, value }: LayerCache, run: Run): LayerPresent {
  if (run.formats.present === 'float32') return { key, value, scales: null }
  const rounded = (name: string, x: Value, codesOf: typeof signedRowCodes) => {
    const path = `${at}/present_${name}`
    const { codes, step } = codesOf(g, path, reshape(g, `${path}/rows`, x, -1, run.llm.headSize)) // [G B T, d]
    return {
      codes: g.node('Reshape', `${path}/codes`, [codes, run.perKeyHead]),
      scale: g.node('Reshape', `${path}/scale`, [step, run.perKey]),
    }
  }
  const [keys, values] = [rounded('key', key, rowCodes), rounded('value', value, signedRowCodes)]
  return { key: keys.codes, value: values.codes, scales: { key: keys.scale, value: values.scale } }
}

/** Products of x [M, K] with several matrices [rows, K]: as one where weights lie in blocks, which reads x once. */
async function linears(
  format: AnyLinearFormat,
  g: GraphBuilder,
  at: string,
  x: Value,
  weights: Weights,
  matrices: readonly { name: string; expected: readonly number[] }[],
): Promise<Value[]> {
  if (format === 'int8-rows') {
    const sources = matrices.map(({ name, expected }) => [name, weights.source(name, expected)])
    return int8Linears(g, `${at}_proj`, x, Object.fromEntries(sources))
  }
  const packed = await linearIn(format, g, `${at}_proj`, x, { weight: weights.stacked(...matrices) })
  return split(g, at, packed, 1, ...matrices.map(({ expected }) => expected[0]!))
}

/** down(silu(gate(normed)) * up(normed)). */
async function feedForward(g: GraphBuilder, at: string, normed: Value, weights: Weights, run: Run): Promise<Value> {
  const { llm, formats } = run
  const own = weights.at('mlp')
  const expected = [llm.intermediateSize, llm.hiddenSize]
  const matrices = ['gate_proj', 'up_proj'].map((name) => ({ name: `${name}.weight`, expected }))
  const [gate, up] = await linears(formats.layers, g, `${at}/gate_up`, normed, own, matrices) // [B T, I] each
  const active = mul(g, `${at}/silu`, gate!, sigmoid(g, `${at}/silu`, gate!))
  const gated = mul(g, `${at}/gated`, active, up!)
  const down = own.matrix('down_proj', [llm.hiddenSize, llm.intermediateSize])
  return linearIn(formats.layers, g, `${at}/down_proj`, gated, down)
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
