import { ints } from '../onnx/attributes.ts'
import type { GraphBuilder, Value } from '../onnx/graphBuilder.ts'
import { concat, groupNorm, linear, relu, reshape, resizeAlignCorners, slice, split, transpose } from '../onnx/ops.ts'
import type { Precision } from './modelFiles.ts'
import { firstRound } from './regionFirstRound.ts'
import { buildInt8Rounds } from './regionMapsInt8.ts'
import type { Weights } from './weights.ts'

/** Levels of the region encoder, and how many times finer than the patches each one is: fixed by the authors' code. */
export const REGION_LEVEL_SCALES = [4, 2, 1] as const
const GROUPS = 64
const EPSILON = 1e-5

export interface RegionMaps {
  maps: Value[]
  /** what one step of the maps' codes means, where they are int8 */
  scale?: Value
  shapes: (readonly number[])[]
  channels: number
  /** what the region head has to be */
  precision: Precision['vision']
}

/**
 * The part of the region encoder that does not depend on any box: once per image (groma.md section 6).
 * ```
 *  hidden_state.l [1 + P, C] -> + two coordinate channels -> input_conv[l] 1x1 -> bilinear to side * 4, 2, 1
 *  five rounds of: exchange quarters of the channels with the neighbouring levels -> conv 3x3 -> GroupNorm -> ReLU
 * ```
 * The 1x1 convolution comes before the enlargement here, after it in the authors' code: both are linear and enlarging
 * keeps constants and the coordinate ramps, so that the result is the same at a sixteenth of the work. The first round
 * goes the same way (regionFirstRound.ts); the others may run in 8 bits (regionMapsInt8.ts).
 * Inputs `hidden_state.0`..`.2`: hidden_states[-3], [-2], [-1].
 * @param side patches along the picture's side
 * @returns one map per level, L = side * scale, as the region head of the same precision wants it: [L, C', L] (row, channel,
 * column) in fp32, codes [L, L, C'] with one scale in int8. Without any round there is nothing to do in int8.
 */
export async function buildRegionMaps(
  g: GraphBuilder,
  weights: Weights,
  { side, width }: { side: number; width: number },
  precision: Precision['vision'] = 'fp32',
): Promise<RegionMaps> {
  const fuse = weights.at('mlvl_fuse')
  const channels = fuse.dim('input_conv.0.weight', 0)
  const ramps = await g.floats('/regions/coordinates', coordinateRamps(side), [side * side, 2])
  const scales = REGION_LEVEL_SCALES
  const projected: Value[] = [] // [P, C'] each
  for (const level of scales.keys()) {
    const at = `/regions/level.${level}`
    const state = g.input(`hidden_state.${level}`, 'float32', [1 + side * side, width])
    const patches = slice(g, `${at}/patches`, state, 0, 1, 1 + side * side) // [P, C]
    const placed = concat(g, `${at}/placed`, 1, patches, ramps) // [P, C + 2]
    const { weight, bias } = fuse.affine(`input_conv.${level}`, [channels, width + 2, 1, 1])
    const matrix = { ...weight, shape: [channels, width + 2] }
    projected.push(await linear(g, `${at}/input_conv`, placed, { weight: matrix, bias }))
  }
  const rounds = fuseRounds(fuse)
  const shape = { side, channels, scales, groups: GROUPS, epsilon: EPSILON }
  const lengths = scales.map((scale) => side * scale)
  const lines = { channels, precision: 'fp32', shapes: lengths.map((length) => [length, channels, length]) } as const
  if (rounds.length === 0) return { ...lines, maps: projected.map((rows, level) => enlarged(g, rows, level, shape)) }
  const convolved = await firstRound(g, '/regions/fuse.0', rounds[0]!, projected, shape, precision)
  if (precision === 'int8') {
    const codes = await buildInt8Rounds(g, rounds, convolved, shape)
    return { ...codes, channels, precision, shapes: lengths.map((length) => [length, length, channels]) }
  }

  let maps: Value[] = []
  for (const [level, rows] of convolved.entries()) {
    const name = `/regions/fuse.0/level.${level}`
    const length = lengths[level]!
    const planes = reshape(g, `${name}/planes`, transpose(g, `${name}/planes`, rows, 1, 0), 1, channels, length, length)
    maps.push(await normed(g, name, planes, rounds[0]!, channels, length))
  }
  for (const [index, round] of rounds.slice(1).entries()) {
    maps = await fuseRound(g, `/regions/fuse.${index + 1}`, round, maps, { side, channels })
  }
  const ordered = maps.map((map, level) => {
    const length = lengths[level]!
    const planes = reshape(g, `/regions/level.${level}/lines`, map, channels, length, length)
    return transpose(g, `/regions/level.${level}/lines`, planes, 1, 0, 2) // [L, C, L]
  })
  return { ...lines, maps: ordered }
}

/** The rounds of fusion that a checkpoint has. */
function fuseRounds(fuse: Weights): Weights[] {
  const rounds: Weights[] = []
  while (fuse.has(`fuse_convs.${rounds.length}.conv.weight`)) rounds.push(fuse.at('fuse_convs').at(rounds.length))
  return rounds
}

/** Patches [P, C] as a level [L, C, L]. */
function enlarged(
  g: GraphBuilder,
  rows: Value,
  level: number,
  { side, channels, scales }: { side: number; channels: number; scales: readonly number[] },
): Value {
  const at = `/regions/level.${level}`
  const length = side * scales[level]!
  const planes = reshape(g, `${at}/map`, transpose(g, `${at}/map`, rows, 1, 0), 1, channels, side, side)
  const map = length === side ? planes : resizeAlignCorners(g, at, planes, [1, channels, length, length])
  return transpose(g, `${at}/lines`, reshape(g, `${at}/lines`, map, channels, length, length), 1, 0, 2)
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
    fused.push(await normed(g, name, convolved, weights, channels, length))
  }
  return fused
}

/** GroupNorm and ReLU of a map [1, C, L, L]. */
async function normed(
  g: GraphBuilder,
  at: string,
  map: Value,
  weights: Weights,
  channels: number,
  length: number,
): Promise<Value> {
  const result = await groupNorm(g, `${at}/gn`, map, {
    groups: GROUPS,
    epsilon: EPSILON,
    shape: [1, channels, length, length],
    weight: weights.source('gn.weight', [channels]),
    bias: weights.source('gn.bias', [channels]),
  })
  return relu(g, at, result)
}

/** A convolution whose weight several levels share. */
function conv3x3(g: GraphBuilder, at: string, x: Value, weight: Value): Value {
  const attributes = { kernel_shape: ints(3, 3), pads: ints(1, 1, 1, 1) }
  return g.node('Conv', at, [x, weight], { attributes })
}

/** -1..1 from left to right and from top to bottom, for every patch: [P, 2]. */
function coordinateRamps(side: number): Float32Array {
  const ramp = (index: number) => (side === 1 ? -1 : -1 + (2 * index) / (side - 1))
  return Float32Array.from({ length: 2 * side * side }, (_, i) => {
    const patch = Math.floor(i / 2)
    return ramp(i % 2 === 0 ? patch % side : Math.floor(patch / side))
  })
}
