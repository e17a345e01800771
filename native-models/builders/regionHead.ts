import { GromaError } from '../errors.ts'
import type { GraphBuilder, Value } from '../onnx/graphBuilder.ts'
import { add, conv, layerNorm, linear, mul, relu, reshape, split } from '../onnx/ops.ts'
import type { Precision } from './modelFiles.ts'
import { pooledFeatures } from './regionConvInt8.ts'
import { REGION_LEVEL_SCALES } from './regionMaps.ts'
import type { Level } from './regionPoolInt8.ts'
import { roiAlign } from './roiAlign.ts'
import type { Weights } from './weights.ts'

const EPSILON = 1e-5
/** How much larger a map the authors' pooling scales assume than the maps are. */
const SCALE_ODDITY = 2

export interface RegionHeadShape {
  /** patches along the picture's side */
  side: number
  patchSize: number
  imageSize: number
  /** of the language model */
  hiddenSize: number
  /** of the region maps */
  channels: number
}

/**
 * Boxes -> region tokens, on the maps of `buildRegionMaps` (groma.md section 6).
 * ```
 *  map.l -> RoIAlign 14x14 -> pconvs[l] 3x3 [N, C, 14, 14] --+ over l -> ReLU -> flatten -> flatten_linear --.
 *  boxes_cxcywh [N, 4] -> Linear -> ReLU -> LN -> Linear -> ReLU -> LN ------------------------------------ + -> updims
 * ```
 * Inputs `map.0`..`.2` [side * scale, C, side * scale] and `boxes_cxcywh` [N, 4] in 0..1; in int8 the maps are codes
 * [side * scale, side * scale, C], and `map.scale` is what a step of them means.
 * @returns tokens [N, H], and how many bins a region has along its side
 * @throws GromaError CHECKPOINT_INVALID when `flatten_linear` does not fit a square of the maps' channels
 */
export async function buildRegionHead(
  g: GraphBuilder,
  weights: Weights,
  shape: RegionHeadShape,
  precision: Precision['vision'] = 'fp32',
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

  const levels = REGION_LEVEL_SCALES.map((scale, level) => {
    const length = side * scale
    const spatialScale = (scale * SCALE_ODDITY) / shape.patchSize
    const map =
      precision === 'int8'
        ? g.input(`map.${level}`, 'int8', [length, length, channels])
        : g.input(`map.${level}`, 'float32', [length, channels, length])
    return { at: `/roi/level.${level}`, map, align: { bins, length, channels, spatialScale } }
  })
  const features = await (precision === 'int8'
    ? pooledFeatures(g, roi, levels, corners, g.input('map.scale', 'float32', []))
    : floatFeatures(g, roi, levels, corners))

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
  return {
    tokens: await linear(
      g,
      '/roi/updims',
      joined,
      roi.affine('updims', [shape.hiddenSize, roi.dim('flatten_linear.weight', 0)]),
    ),
    bins,
  }
}

async function floatFeatures(
  g: GraphBuilder,
  roi: Weights,
  levels: readonly Level[],
  corners: readonly Value[],
): Promise<Value> {
  const { bins, channels } = levels[0]!.align
  let pooled: Value | undefined
  for (const [level, { at, map, align }] of levels.entries()) {
    const aligned = await roiAlign(g, at, map, corners, align)
    const convolved = await conv(g, `${at}/pconv`, aligned, {
      ...roi.affine(`pconvs.${level}`, [channels, channels, 3, 3]),
      padding: 1,
    })
    pooled = pooled === undefined ? convolved : add(g, `${at}/sum`, pooled, convolved)
  }
  const flat = reshape(g, '/roi/flatten', relu(g, '/roi', pooled!), -1, channels * bins * bins)
  return linear(g, '/roi/flatten_linear', flat, roi.affine('flatten_linear'))
}
