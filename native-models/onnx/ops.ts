import { float, int, ints, text } from './attributes.ts'
import type { GraphBuilder, Value, WeightSource } from './graphBuilder.ts'
import { ELEMENT_TYPE, type ElementType } from './proto.ts'
import type { BlockFormat } from './quantize.ts'

/**
 * Operators as functions: graph, path of the node, inputs, the rest. All of them run on CPU and WebGPU alike.
 * `path` names the node; weights lie under it as `weight` and `bias`.
 */
export type Op = (g: GraphBuilder, path: string, ...inputs: Value[]) => Value

const elementwise =
  (opType: string): Op =>
  (g, path, ...inputs) =>
    g.node(opType, path, inputs)

export const add = elementwise('Add')
export const sub = elementwise('Sub')
export const mul = elementwise('Mul')
export const div = elementwise('Div')
export const abs = elementwise('Abs')
export const log = elementwise('Log')
export const sin = elementwise('Sin')
export const cos = elementwise('Cos')
export const relu = elementwise('Relu')
export const sigmoid = elementwise('Sigmoid')
/** Inputs: value, lower bound, upper bound. */
export const clip = elementwise('Clip')
/** [.., M, K] x [.., K, N] -> [.., M, N], leading axes broadcast. */
export const matMul = elementwise('MatMul')

/** 0.5 x (1 + erf(x / sqrt 2)). */
export const gelu: Op = (g, path, x) => g.node('Gelu', path, [x!], { domain: 'com.microsoft' })

export function reshape(g: GraphBuilder, path: string, x: Value, ...shape: number[]): Value {
  return g.node('Reshape', path, [x, g.integers(...shape)])
}

export function transpose(g: GraphBuilder, path: string, x: Value, ...perm: number[]): Value {
  return g.node('Transpose', path, [x], { attributes: { perm: ints(...perm) } })
}

export function concat(g: GraphBuilder, path: string, axis: number, ...parts: Value[]): Value {
  return parts.length === 1 ? parts[0]! : g.node('Concat', path, parts, { attributes: { axis: int(axis) } })
}

export function slice(g: GraphBuilder, path: string, x: Value, axis: number, start: number, end: number): Value {
  return g.node('Slice', path, [x, g.integers(start), g.integers(end), g.integers(axis)])
}

/** Consecutive parts of `x` along an axis, of the given lengths. */
export function split(g: GraphBuilder, path: string, x: Value, axis: number, ...lengths: number[]): Value[] {
  if (lengths.length === 1) return [x]
  const attributes = { axis: int(axis) }
  return g.nodes('Split', path, [x, g.integers(...lengths)], { attributes, outputCount: lengths.length })
}

export function gather(g: GraphBuilder, path: string, x: Value, indices: Value, axis: number): Value {
  return g.node('Gather', path, [x, indices], { attributes: { axis: int(axis) } })
}

export function unsqueeze(g: GraphBuilder, path: string, x: Value, ...axes: number[]): Value {
  return g.node('Unsqueeze', path, [x, g.integers(...axes)])
}

export function softmax(g: GraphBuilder, path: string, x: Value): Value {
  return g.node('Softmax', path, [x], { attributes: { axis: int(-1) } })
}

/** Sum over the last axis, which disappears. */
export function sumOverLast(g: GraphBuilder, path: string, x: Value): Value {
  return g.node('ReduceSum', path, [x, g.integers(-1)], { attributes: { keepdims: int(0) } })
}

export interface Affine {
  weight: WeightSource
  bias?: WeightSource | undefined
}

async function affineInputs(g: GraphBuilder, path: string, x: Value, { weight, bias }: Affine): Promise<Value[]> {
  const inputs = [x, await g.weight(`${path}/weight`, weight)]
  if (bias) inputs.push(await g.weight(`${path}/bias`, bias))
  return inputs
}

/** How a linear layer's weights are kept: as floats, as half floats, or rounded in blocks along each row. */
export type LinearFormat = 'fp32' | 'fp16' | BlockFormat

/** x [M, K], weight [N, K] as checkpoints store it -> [M, N]. */
export async function linear(
  g: GraphBuilder,
  path: string,
  x: Value,
  affine: Affine,
  format: LinearFormat = 'fp32',
): Promise<Value> {
  if (format === 'fp16') return halfLinear(g, path, x, affine)
  if (format !== 'fp32') return blockLinear(g, path, x, affine, format)
  const inputs = await affineInputs(g, path, x, affine)
  return g.node('Gemm', path, inputs, { attributes: { transB: int(1) } })
}

/** The product in half floats on a GPU; a CPU has no such kernel and computes it in float32, with the same weights. */
async function halfLinear(g: GraphBuilder, path: string, x: Value, { weight, bias }: Affine): Promise<Value> {
  const inputs = [cast(g, `${path}/halved`, x, 'float16'), g.halves(`${path}/weight`, weight)]
  if (bias) inputs.push(g.halves(`${path}/bias`, bias))
  return cast(g, path, g.node('Gemm', path, inputs, { attributes: { transB: int(1) } }), 'float32')
}

/** accuracy_level 4: rows of x are rounded to int8 block by block too, which twice as fast kernels take (guide: runtime). */
async function blockLinear(
  g: GraphBuilder,
  path: string,
  x: Value,
  { weight, bias }: Affine,
  format: BlockFormat,
): Promise<Value> {
  const [rows, width] = weight.shape as [number, number]
  const { codes, scales } = g.blocks(`${path}/weight`, weight, format)
  const inputs = [x, codes, scales]
  if (bias) inputs.push('', '', await g.weight(`${path}/bias`, bias)) // without zero points and the order of groups
  const attributes = {
    K: int(width),
    N: int(rows),
    bits: int(format.bits),
    block_size: int(format.blockSize),
    accuracy_level: int(4),
  }
  return g.node('MatMulNBits', path, inputs, { domain: 'com.microsoft', attributes })
}

export function cast(g: GraphBuilder, path: string, x: Value, type: ElementType): Value {
  return g.node('Cast', path, [x], { attributes: { to: int(ELEMENT_TYPE[type]) } })
}

/** Over the last axis. */
export async function layerNorm(
  g: GraphBuilder,
  path: string,
  x: Value,
  { epsilon, ...affine }: Affine & { epsilon: number },
): Promise<Value> {
  const inputs = await affineInputs(g, path, x, affine)
  return g.node('LayerNormalization', path, inputs, { attributes: { axis: int(-1), epsilon: float(epsilon) } })
}

/** x / sqrt(mean(x^2) + epsilon) * weight, over the last axis. */
export async function rmsNorm(
  g: GraphBuilder,
  path: string,
  x: Value,
  { weight, epsilon }: { weight: WeightSource; epsilon: number },
): Promise<Value> {
  const inputs = await affineInputs(g, path, x, { weight })
  const attributes = { axis: int(-1), epsilon: float(epsilon), stash_type: int(1) }
  return g.node('SimplifiedLayerNormalization', path, inputs, { attributes })
}

/** x [N, C, H, W], weight [C', C, k, k]. */
export async function conv(
  g: GraphBuilder,
  path: string,
  x: Value,
  { stride = 1, padding = 0, ...affine }: Affine & { stride?: number; padding?: number },
): Promise<Value> {
  const [height, width] = affine.weight.shape.slice(2) as [number, number]
  const inputs = await affineInputs(g, path, x, affine)
  const attributes = {
    kernel_shape: ints(height, width),
    strides: ints(stride, stride),
    pads: ints(padding, padding, padding, padding),
  }
  return g.node('Conv', path, inputs, { attributes })
}

/** x [N, C, H, W], weight [C, C', 2, 2] -> [N, C', 2H, 2W]. */
export async function doublingConvTranspose(g: GraphBuilder, path: string, x: Value, affine: Affine): Promise<Value> {
  const inputs = await affineInputs(g, path, x, affine)
  return g.node('ConvTranspose', path, inputs, { attributes: { kernel_shape: ints(2, 2), strides: ints(2, 2) } })
}

/**
 * Bilinear samples of x [N, C, H, W] at grid [N, P, Q, 2] (x then y, -1..1) -> [N, C, P, Q]; zeros outside.
 * `alignCorners`: -1 and 1 are the centres of the outermost pixels (else their outer edges).
 */
export function gridSample(g: GraphBuilder, path: string, x: Value, grid: Value, alignCorners: boolean): Value {
  const attributes = {
    mode: text('bilinear'),
    padding_mode: text('zeros'),
    align_corners: int(alignCorners ? 1 : 0),
  }
  return g.node('GridSample', path, [x, grid], { attributes })
}

/** x [N, C, h, w] -> [N, C, height, width], bilinear with aligned corners, nothing smoothed. */
export function resizeAlignCorners(
  g: GraphBuilder,
  path: string,
  x: Value,
  shape: readonly [number, number, number, number],
): Value {
  const attributes = { mode: text('linear'), coordinate_transformation_mode: text('align_corners') }
  return g.node('Resize', path, [x, '', '', g.integers(...shape)], { attributes })
}

export interface GroupNormOptions {
  groups: number
  epsilon: number
  shape: readonly [number, number, number, number]
  weight: WeightSource
  bias: WeightSource
}

/**
 * ```
 *  x [N, C, H, W] -> Reshape [N, groups, -1] -> InstanceNormalization -> Reshape [N, C, H, W] -> * weight -> + bias
 * ```
 */
export async function groupNorm(g: GraphBuilder, path: string, x: Value, options: GroupNormOptions): Promise<Value> {
  const { groups, epsilon, shape, weight, bias } = options
  const [batch, channels] = shape
  const grouped = reshape(g, `${path}/group`, x, batch, groups, -1)
  const ones = await g.floats(`${path}/ones`, new Float32Array(groups).fill(1), [groups])
  const zeros = await g.floats(`${path}/zeros`, new Float32Array(groups), [groups])
  const attributes = { epsilon: float(epsilon) }
  const normed = g.node('InstanceNormalization', path, [grouped, ones, zeros], { attributes })
  const perChannel = (source: WeightSource) => ({ ...source, shape: [channels, 1, 1] })
  const scaled = mul(
    g,
    `${path}/scale`,
    reshape(g, `${path}/ungroup`, normed, ...shape),
    await g.weight(`${path}/weight`, perChannel(weight)),
  )
  return add(g, `${path}/shift`, scaled, await g.weight(`${path}/bias`, perChannel(bias)))
}

/** softmax(q k^T / sqrt(d)) v over `heads` heads; query [N, C], key and value [M, C], `bias` [3 C] of all three -> [N, C]. */
export function attention(
  g: GraphBuilder,
  path: string,
  { query, key, value }: { query: Value; key: Value; value: Value },
  { heads, width, bias }: { heads: number; width: number; bias?: Value | undefined },
): Value {
  const batched = Object.entries({ query, key, value }).map(([name, x]) => unsqueeze(g, `${path}/${name}`, x, 0))
  const attributes = { num_heads: int(heads) }
  const inputs = bias ? [...batched, bias] : batched
  const mixed = g.node('MultiHeadAttention', path, inputs, { domain: 'com.microsoft', attributes }) // [1, N, C]
  return reshape(g, path, mixed, -1, width)
}
