import { GromaError } from '../errors.ts'
import type { GraphBuilder, Value } from '../onnx/graphBuilder.ts'
import { conv, doublingConvTranspose, gelu, layerNorm, reshape, transpose } from '../onnx/ops.ts'
import type { Level } from './sinePositions.ts'
import type { Weights } from './weights.ts'

/** Of the channel-first norm that the authors define themselves. */
const EPSILON = 1e-6

interface Step {
  kind: 'conv' | 'double' | 'norm' | 'gelu'
  stride?: number
  padding?: number
}

const conv1x1: Step = { kind: 'conv' }
const conv3x3: Step = { kind: 'conv', padding: 1 }
const halve: Step = { kind: 'conv', stride: 2, padding: 1 }
const double: Step = { kind: 'double' }
const norm: Step = { kind: 'norm' }

/** What makes a level of each kind; a step's place in its list is its number among the weights. */
const STEPS: readonly (readonly Step[])[] = [
  [halve, norm],
  [conv1x1, norm],
  [double, conv1x1, norm, conv3x3],
  [double, norm, { kind: 'gelu' }, double, conv1x1, norm, conv3x3],
]
const SINGLE_LEVEL_KIND = 1

/** The kinds of `count` levels in stored order: finest first. */
export function levelKinds(count: number): number[] {
  return count === 1 ? [SINGLE_LEVEL_KIND] : Array.from({ length: count }, (_, index) => count - 1 - index)
}

/** The maps that `side` x `side` patches become. */
export function levelSizes(count: number, side: number): Level[] {
  return levelKinds(count).map((kind) => {
    const length = [Math.ceil(side / 2), side, side * 2, side * 4][kind]!
    return { height: length, width: length }
  })
}

/**
 * Patch features [1, C, side, side] through one level's projection -> its pixels as rows [H * W, d].
 * @throws GromaError CHECKPOINT_INVALID where the weights belong to another kind of level
 */
export async function buildLevel(
  g: GraphBuilder,
  at: string,
  weights: Weights,
  features: Value,
  { kind, height, width }: Level & { kind: number },
): Promise<Value> {
  const steps = STEPS[kind]
  if (!steps) throw new GromaError('CHECKPOINT_INVALID', `no feature level of kind ${kind} is known`)
  let x = features
  let channels = 0
  let side = kind >= 2 ? height / 2 ** (kind - 1) : height
  for (const [index, { kind: step, ...options }] of steps.entries()) {
    const name = `${at}/${index}`
    if (step === 'gelu') x = gelu(g, name, x)
    else if (step === 'norm')
      x = await channelNorm(g, name, x, weights.affine(`${index}`, [channels]), { channels, side })
    else if (step === 'double') {
      channels = weights.dim(`${index}.weight`, 1)
      side *= 2
      x = await doublingConvTranspose(g, name, x, {
        weight: weights.source(`${index}.weight`),
        bias: weights.source(`${index}.bias`, [channels]),
      })
    } else {
      channels = weights.dim(`${index}.weight`, 0)
      x = await conv(g, name, x, { ...weights.affine(`${index}`), ...options })
    }
  }
  return transpose(g, `${at}/rows`, reshape(g, `${at}/rows`, x, channels, height * width), 1, 0) // [H W, d]
}

/** [1, C, s, s] normed over C at every pixel: channels go last for the norm and come back. */
async function channelNorm(
  g: GraphBuilder,
  at: string,
  x: Value,
  affine: ReturnType<Weights['affine']>,
  { channels, side }: { channels: number; side: number },
): Promise<Value> {
  const rows = transpose(g, `${at}/in`, reshape(g, `${at}/in`, x, channels, side * side), 1, 0) // [s s, C]
  const normed = await layerNorm(g, at, rows, { ...affine, epsilon: EPSILON })
  return reshape(g, `${at}/out`, transpose(g, `${at}/out`, normed, 1, 0), 1, channels, side, side)
}
