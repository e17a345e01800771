import type { GromaConfig } from '../groma/config.ts'
import type { GraphBuilder, Value, WeightSource } from '../onnx/graphBuilder.ts'
import { add, attention, concat, conv, gelu, layerNorm, linear, mul, reshape, split, transpose } from '../onnx/ops.ts'
import { encoderLayerInt8 } from './encoderLayerInt8.ts'
import type { Precision } from './modelFiles.ts'
import { resizePositionGrid } from './positionGrid.ts'
import type { Weights } from './weights.ts'

/**
 * DINOv2 up to its last layer, without the final norm (groma.md section 2).
 * ```
 *  pixel_values [1, 3, S, S] -> Conv p x p -> [P, C] --.
 *  cls_token [1, C] --------------------------- Concat -> + positions -> hidden_states[0] -> layer .. -> [layers]
 * ```
 * @param imageSize side of the square picture, pixels
 * @returns hidden_states[0..layers], each [1 + P, C] (CLS first, patches row-major)
 */
export async function buildVisionEncoder(
  g: GraphBuilder,
  weights: Weights,
  vision: GromaConfig['vision'],
  imageSize: number,
  precision: Precision['vision'] = 'fp32',
): Promise<Value[]> {
  const { patchSize, hiddenSize: width } = vision
  const side = Math.floor(imageSize / patchSize)
  const at = '/vision'
  const embeddings = weights.at('embeddings')
  const pixels = g.input('pixel_values', 'float32', [1, 3, imageSize, imageSize])

  const patches = await conv(g, `${at}/embeddings/projection`, pixels, {
    ...embeddings.affine('patch_embeddings.projection', [width, vision.channelCount, patchSize, patchSize]),
    stride: patchSize,
  }) // [1, C, side, side]
  const rows = transpose(g, `${at}/embeddings/rows`, reshape(g, `${at}/embeddings/rows`, patches, width, -1), 1, 0)
  const cls = await g.weight(`${at}/embeddings/cls_token`, {
    ...embeddings.source('cls_token', [1, 1, width]),
    shape: [1, width],
  })
  const tokens = concat(g, `${at}/embeddings`, 0, cls, rows) // [1 + P, C]

  const stored = await embeddings.read('position_embeddings')
  const positions = resizePositionGrid(stored, width, side) // [1 + P, C]
  const positionValue = await g.floats(`${at}/embeddings/positions`, positions, [1 + side * side, width])

  const encode = precision === 'int8' && width >= INT8_FROM_WIDTH ? encoderLayerInt8 : encoderLayer
  const states = [add(g, `${at}/embeddings/positions`, tokens, positionValue)]
  for (let layer = 0; layer < vision.layerCount; layer++) {
    const own = weights.at('encoder.layer').at(layer)
    states.push(await encode(g, `${at}/layers.${layer}`, states.at(-1)!, own, vision))
  }
  return states
}

/** Narrower encoders stay in float: 8 bits make them no faster and move the boxes that they are unsure of (README). */
export const INT8_FROM_WIDTH = 512

/**
 * ```
 *  x -+- norm1 -> qkv -> attention -> dense -> * lambda1 -- + -+- norm2 -> fc1 -> GELU -> fc2 -> * lambda2 -- + ->
 *     '------------------------------------------------------' '--------------------------------------------'
 * ```
 */
async function encoderLayer(
  g: GraphBuilder,
  at: string,
  x: Value,
  weights: Weights,
  { hiddenSize: width, headCount: heads, mlpSize, qkvBias, layerNormEps: epsilon }: GromaConfig['vision'],
): Promise<Value> {
  const normed = await layerNorm(g, `${at}/norm1`, x, { ...weights.affine('norm1', [width]), epsilon })
  const stack = (kind: 'weight' | 'bias', expected: readonly number[]) =>
    weights
      .at('attention.attention')
      .stacked(...['query', 'key', 'value'].map((name) => ({ name: `${name}.${kind}`, expected })))
  const projections = { weight: stack('weight', [width, width]), ...(qkvBias ? { bias: stack('bias', [width]) } : {}) }
  const qkv = await linear(g, `${at}/attn/qkv`, normed, projections) // [1 + P, 3C]
  const [query, key, value] = split(g, `${at}/attn/qkv`, qkv, 1, width, width, width)
  const mixed = attention(g, `${at}/attn`, { query: query!, key: key!, value: value! }, { heads, width })
  const attended = await linear(g, `${at}/attn/dense`, mixed, weights.affine('attention.output.dense', [width, width]))
  const middle = add(
    g,
    `${at}/attn`,
    x,
    await scaled(g, `${at}/scale1`, attended, weights.source('layer_scale1.lambda1', [width])),
  )

  const normed2 = await layerNorm(g, `${at}/norm2`, middle, { ...weights.affine('norm2', [width]), epsilon })
  const expanded = gelu(
    g,
    `${at}/mlp`,
    await linear(g, `${at}/mlp/fc1`, normed2, weights.affine('mlp.fc1', [mlpSize, width])),
  )
  const contracted = await linear(g, `${at}/mlp/fc2`, expanded, weights.affine('mlp.fc2', [width, mlpSize]))
  return add(
    g,
    `${at}/mlp`,
    middle,
    await scaled(g, `${at}/scale2`, contracted, weights.source('layer_scale2.lambda1', [width])),
  )
}

async function scaled(g: GraphBuilder, at: string, x: Value, lambda: WeightSource): Promise<Value> {
  return mul(g, at, x, await g.weight(`${at}/lambda`, lambda))
}

/** The hidden states that the later stages read, by index: the last four and the one for image tokens. */
export function neededStates(layers: number, imageTokenState: number): number[] {
  const last = [layers - 3, layers - 2, layers - 1, layers]
  return [...new Set([imageTokenState, ...last])].sort((a, b) => a - b)
}
