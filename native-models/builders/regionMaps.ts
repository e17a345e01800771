import { ints } from '../onnx/attributes.ts'
import type { GraphBuilder, Value } from '../onnx/graphBuilder.ts'
import { concat, conv, groupNorm, relu, reshape, resizeAlignCorners, slice, split, transpose } from '../onnx/ops.ts'
import type { Weights } from './weights.ts'

/** Levels of the region encoder, and how many times finer than the patches each one is: fixed by the authors' code. */
export const REGION_LEVEL_SCALES = [4, 2, 1] as const
const GROUPS = 64
const EPSILON = 1e-5

/**
 * The part of the region encoder that does not depend on any box: once per image (groma.md section 6).
 * ```
 *  hidden_state.l [1 + P, C] -> + two coordinate channels -> input_conv[l] 1x1 -> bilinear to side * 4, 2, 1
 *  five rounds of: exchange quarters of the channels with the neighbouring levels -> conv 3x3 -> GroupNorm -> ReLU
 * ```
 * The 1x1 convolution comes before the enlargement here, after it in the authors' code: both are linear and enlarging
 * keeps constants and the coordinate ramps, so that the result is the same at a sixteenth of the work.
 * Inputs `hidden_state.0`..`.2`: hidden_states[-3], [-2], [-1].
 * @param side patches along the picture's side
 * @returns one map [side * scale, C', side * scale] (row, channel, column) per level: the order that pooling wants
 */
export async function buildRegionMaps(
  g: GraphBuilder,
  weights: Weights,
  { side, width }: { side: number; width: number },
): Promise<{ maps: Value[]; channels: number }> {
  const fuse = weights.at('mlvl_fuse')
  const channels = fuse.dim('input_conv.0.weight', 0)
  const ramps = await g.floats('/regions/coordinates', coordinateRamps(side), [1, 2, side, side])

  let maps: Value[] = []
  for (const [level, scale] of REGION_LEVEL_SCALES.entries()) {
    const at = `/regions/level.${level}`
    const state = g.input(`hidden_state.${level}`, 'float32', [1 + side * side, width])
    const patches = slice(g, `${at}/patches`, state, 0, 1, 1 + side * side) // [P, C]
    const map = reshape(g, `${at}/map`, transpose(g, `${at}/map`, patches, 1, 0), 1, width, side, side)
    const placed = concat(g, `${at}/placed`, 1, map, ramps) // [1, C + 2, side, side]
    const projected = await conv(
      g,
      `${at}/input_conv`,
      placed,
      fuse.affine(`input_conv.${level}`, [channels, width + 2, 1, 1]),
    )
    const length = side * scale
    maps.push(scale === 1 ? projected : resizeAlignCorners(g, at, projected, [1, channels, length, length]))
  }
  for (let round = 0; fuse.has(`fuse_convs.${round}.conv.weight`); round++) {
    maps = await fuseRound(g, `/regions/fuse.${round}`, fuse.at('fuse_convs').at(round), maps, { side, channels })
  }
  const lines = maps.map((map, level) => {
    const length = side * REGION_LEVEL_SCALES[level]!
    const planes = reshape(g, `/regions/level.${level}/lines`, map, channels, length, length)
    return transpose(g, `/regions/level.${level}/lines`, planes, 1, 0, 2) // [L, C, L]
  })
  return { maps: lines, channels }
}

/**
 * ```
 *  level l:    channels 0..C/2 -------------------------.
 *  level l+1:  last quarter -> resized to level l ---- Concat -> conv 3x3 -> GroupNorm -> ReLU
 *  level l-1:  third quarter -> resized to level l -----'          (at the ends: the level itself)
 * ```
 */
async function fuseRound(
  g: GraphBuilder,
  at: string,
  weights: Weights,
  maps: readonly Value[],
  { side, channels }: { side: number; channels: number },
): Promise<Value[]> {
  const quarter = Math.floor(channels / 4)
  const parts = maps.map((map, level) =>
    split(g, `${at}/level.${level}/parts`, map, 1, channels - 2 * quarter, quarter, quarter),
  )
  const weight = await g.weight(`${at}/conv/weight`, weights.source('conv.weight', [channels, channels, 3, 3]))
  const fused: Value[] = []
  for (const [level, scale] of REGION_LEVEL_SCALES.entries()) {
    const name = `${at}/level.${level}`
    const length = side * scale
    const fetch = (from: number, part: number, word: string) => {
      const value = parts[from]![part]!
      return from === level ? value : resizeAlignCorners(g, `${name}/${word}`, value, [1, quarter, length, length])
    }
    const top = fetch(Math.min(level + 1, maps.length - 1), 2, 'top')
    const down = fetch(Math.max(level - 1, 0), 1, 'down')
    const exchanged = concat(g, `${name}/exchanged`, 1, parts[level]![0]!, top, down)
    const convolved = conv3x3(g, name, exchanged, weight)
    const normed = await groupNorm(g, `${name}/gn`, convolved, {
      groups: GROUPS,
      epsilon: EPSILON,
      shape: [1, channels, length, length],
      weight: weights.source('gn.weight', [channels]),
      bias: weights.source('gn.bias', [channels]),
    })
    fused.push(relu(g, name, normed))
  }
  return fused
}

/** A convolution whose weight several levels share. */
function conv3x3(g: GraphBuilder, at: string, x: Value, weight: Value): Value {
  const attributes = { kernel_shape: ints(3, 3), pads: ints(1, 1, 1, 1) }
  return g.node('Conv', at, [x, weight], { attributes })
}

/** -1..1 from left to right, then from top to bottom: [2, side, side]. */
function coordinateRamps(side: number): Float32Array {
  const ramp = (index: number) => (side === 1 ? -1 : -1 + (2 * index) / (side - 1))
  const plane = side * side
  return Float32Array.from({ length: 2 * plane }, (_, i) =>
    i < plane ? ramp(i % side) : ramp(Math.floor((i - plane) / side)),
  )
}
