import { GromaError } from '../errors.ts'
import { ints } from '../onnx/attributes.ts'
import type { GraphBuilder, Value } from '../onnx/graphBuilder.ts'
import {
  add,
  clip,
  concat,
  conv,
  div,
  greater,
  gridSample,
  layerNorm,
  less,
  linear,
  mul,
  or,
  relu,
  reshape,
  split,
  sub,
  transpose,
  where,
} from '../onnx/ops.ts'
import { REGION_LEVEL_SCALES } from './regionMaps.ts'
import type { Weights } from './weights.ts'

const EPSILON = 1e-5
/** Samples along each side of a bin. */
const SAMPLES = 2
/** How much larger a map the authors' pooling scales assume than the maps are. */
const SCALE_ODDITY = 2
/** In GridSample's -1..1: a place without any pixel near it. */
const FAR_AWAY = -3

export interface RegionHeadShape {
  /** patches along the picture's side */
  side: number
  patchSize: number
  imageSize: number
  /** of the region maps */
  channels: number
}

/**
 * Boxes -> region tokens, on the maps of `buildRegionMaps` (groma.md section 6).
 * ```
 *  map.l -> RoIAlign 14x14 -> pconvs[l] 3x3 [N, C, 14, 14] --+ over l -> ReLU -> flatten -> flatten_linear --.
 *  boxes_cxcywh [N, 4] -> Linear -> ReLU -> LN -> Linear -> ReLU -> LN ------------------------------------ + -> updims
 * ```
 * Inputs `map.0`..`.2` [1, C, side * scale, ..] and `boxes_cxcywh` [N, 4] in 0..1.
 * @returns tokens [N, H], and how many bins a region has along its side
 * @throws GromaError CHECKPOINT_INVALID when `flatten_linear` does not fit a square of the maps' channels
 */
export async function buildRegionHead(
  g: GraphBuilder,
  weights: Weights,
  shape: RegionHeadShape,
): Promise<{ tokens: Value; bins: number }> {
  const { side, channels } = shape
  const roi = weights.at('roi_align')
  const bins = Math.round(Math.sqrt(roi.dim('flatten_linear.weight', 1) / channels))
  if (bins * bins * channels !== roi.dim('flatten_linear.weight', 1)) {
    throw new GromaError('CHECKPOINT_INVALID', 'region_encoder.roi_align.flatten_linear does not fit the region maps')
  }
  const boxes = g.input('boxes_cxcywh', 'float32', ['N', 4])
  // the authors hand cxcywh to a function that reads x1, y1, x2, y2
  const corners = split(g, '/roi/corners', mul(g, '/roi/pixels', boxes, g.scalar(shape.imageSize)), 1, 1, 1, 1, 1)

  let pooled: Value | undefined
  for (const [level, scale] of REGION_LEVEL_SCALES.entries()) {
    const at = `/roi/level.${level}`
    const length = side * scale
    const map = g.input(`map.${level}`, 'float32', [1, channels, length, length])
    const stride = shape.patchSize / (scale * SCALE_ODDITY)
    const aligned = await roiAlign(g, at, map, corners, { bins, length, channels, spatialScale: 1 / stride })
    const convolved = await conv(g, `${at}/pconv`, aligned, { ...roi.affine(`pconvs.${level}`), padding: 1 })
    pooled = pooled === undefined ? convolved : add(g, `${at}/sum`, pooled, convolved)
  }
  const flat = reshape(g, '/roi/flatten', relu(g, '/roi', pooled!), -1, channels * bins * bins)
  const features = await linear(g, '/roi/flatten_linear', flat, roi.affine('flatten_linear'))

  let position = boxes
  for (const [linearIndex, normIndex] of [
    [0, 2],
    [3, 5],
  ] as const) {
    const at = `/roi/pos_embedd.${linearIndex}`
    const hidden = relu(g, at, await linear(g, at, position, roi.affine(`pos_embedd.${linearIndex}`)))
    position = await layerNorm(g, `/roi/pos_embedd.${normIndex}`, hidden, {
      ...roi.affine(`pos_embedd.${normIndex}`),
      epsilon: EPSILON,
    })
  }
  const joined = add(g, '/roi/position', features, position)
  return { tokens: await linear(g, '/roi/updims', joined, roi.affine('updims')), bins }
}

interface RoiAlign {
  bins: number
  /** of the map's side */
  length: number
  channels: number
  /** from picture pixels to the scale that the pooling assumes */
  spatialScale: number
}

/**
 * torchvision's RoIAlign (aligned, 2 x 2 samples a bin, average) by way of GridSample, which more providers run.
 * ```
 *  start, end of each box on the map -> places of the 2 * bins samples of each side [N, 2 bins]
 *      outside -1..length -> far away (GridSample's zero); else clamped to 0..length - 1 -> GridSample's -1..1
 *  map [1, C, L, L] -> GridSample at [1, N * 2 bins, 2 bins, 2] -> AveragePool 2 x 2 -> [N, C, bins, bins]
 * ```
 * Sides may be negative: bins then run backwards, and nothing is clamped.
 */
async function roiAlign(
  g: GraphBuilder,
  at: string,
  map: Value,
  [x1, y1, x2, y2]: Value[],
  { bins, length, channels, spatialScale }: RoiAlign,
): Promise<Value> {
  const samples = bins * SAMPLES
  const place = await samplePlaces(g, at, bins)
  const onMap = (name: string, value: Value) =>
    sub(g, `${at}/${name}`, mul(g, `${at}/${name}`, value, g.scalar(spatialScale)), g.scalar(0.5)) // [N, 1]
  const along = (axis: string, from: Value, to: Value) => {
    const name = `${at}/${axis}`
    const start = onMap(`${axis}_start`, from)
    const extent = sub(g, `${name}/extent`, onMap(`${axis}_end`, to), start)
    const bin = div(g, `${name}/bin`, extent, g.scalar(bins)) // [N, 1]
    const inBin = mul(g, `${name}/in_bin`, place.inBin, bin)
    const beforeSample = add(g, `${name}/before`, start, mul(g, `${name}/before`, place.bin, bin))
    return toGrid(g, name, add(g, `${name}/sample`, beforeSample, inBin), length) // [N, 2 bins]
  }
  // each sample row pairs with each sample column: [N, 2 bins, 2 bins, 1] both, then x and y side by side
  const spreadRows = await g.floats(`${at}/spread_rows`, new Float32Array(samples), [1, samples, 1, 1])
  const spreadColumns = await g.floats(`${at}/spread_columns`, new Float32Array(samples), [1, 1, samples, 1])
  const columns = reshape(g, `${at}/columns`, along('x', x1!, x2!), -1, 1, samples, 1)
  const rows = reshape(g, `${at}/rows`, along('y', y1!, y2!), -1, samples, 1, 1)
  const pairs = concat(
    g,
    `${at}/pairs`,
    3,
    add(g, `${at}/columns`, columns, spreadRows),
    add(g, `${at}/rows`, rows, spreadColumns),
  )
  const grid = reshape(g, `${at}/grid`, pairs, 1, -1, samples, 2) // [1, N 2 bins, 2 bins, 2]
  const sampled = gridSample(g, at, map, grid, true) // [1, C, N 2 bins, 2 bins]
  const pooled = g.node('AveragePool', at, [sampled], {
    attributes: { kernel_shape: ints(SAMPLES, SAMPLES), strides: ints(SAMPLES, SAMPLES) },
  }) // [1, C, N bins, bins]
  const perBox = reshape(g, `${at}/per_box`, pooled, channels, -1, bins, bins)
  return transpose(g, `${at}/per_box`, perBox, 1, 0, 2, 3) // [N, C, bins, bins]
}

/** For each of the 2 * bins samples of a side: which bin it is in, and how far in, as a fraction of the bin. */
async function samplePlaces(g: GraphBuilder, at: string, bins: number): Promise<{ bin: Value; inBin: Value }> {
  const count = bins * SAMPLES
  const bin = Float32Array.from({ length: count }, (_, i) => Math.floor(i / SAMPLES))
  const inBin = Float32Array.from({ length: count }, (_, i) => ((i % SAMPLES) + 0.5) / SAMPLES)
  return {
    bin: await g.floats(`${at}/bin_of_sample`, bin, [1, count]),
    inBin: await g.floats(`${at}/place_in_bin`, inBin, [1, count]),
  }
}

/** Map coordinates [N, samples] -> GridSample's, with aligned corners. */
function toGrid(g: GraphBuilder, at: string, position: Value, length: number): Value {
  const outside = or(
    g,
    `${at}/outside`,
    less(g, `${at}/outside`, position, g.scalar(-1)),
    greater(g, `${at}/outside`, position, g.scalar(length)),
  )
  const inside = clip(g, `${at}/inside`, position, g.scalar(0), g.scalar(length - 1))
  const normalised = sub(g, `${at}/grid`, mul(g, `${at}/grid`, inside, g.scalar(2 / (length - 1))), g.scalar(1))
  return where(g, `${at}/grid`, outside, g.scalar(FAR_AWAY), normalised)
}
