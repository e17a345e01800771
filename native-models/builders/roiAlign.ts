import { int, ints } from '../onnx/attributes.ts'
import type { GraphBuilder, Value } from '../onnx/graphBuilder.ts'
import { abs, add, clip, div, matMul, mul, relu, reshape, sub, transpose, unsqueeze } from '../onnx/ops.ts'

export interface RoiAlign {
  /** along a side of the result */
  bins: number
  /** of the map's side */
  length: number
  channels: number
  /** from the boxes' units to those that the pooling assumes */
  spatialScale: number
}

/** Samples along each side of a bin. */
const SAMPLES = 2

/**
 * torchvision's RoIAlign (aligned, 2 x 2 samples a bin, average) as two matrix products.
 * The samples of a box are all pairs of a row and a column place, and bilinear weights are products of a row weight and
 * a column weight, outside counting as zero in either; so pooling is `rows . map . columns^T`, exactly:
 * ```
 *  x1, x2 [N, 1] -> columns [N, bins, L] -> transposed ----.
 *  map [L, C, L] -> [L C, L] --------------------------- MatMul [N, L C, bins] -> [N, L, C bins] --.
 *  y1, y2 [N, 1] -> rows [N, bins, L] -------------------------------------------------------- MatMul
 *                                          -> [N, bins, C, bins] -> [N, C, bins, bins]
 * ```
 * Sides may be negative: bins then run backwards, and nothing is clamped.
 * @param map [L, C, L] (row, channel, column)
 * @param corners x1, y1, x2, y2, each [N, 1]
 */
export async function roiAlign(
  g: GraphBuilder,
  at: string,
  map: Value,
  [x1, y1, x2, y2]: readonly Value[],
  shape: RoiAlign,
): Promise<Value> {
  const { bins, length, channels } = shape
  const columns = await binWeights(g, `${at}/columns`, x1!, x2!, shape)
  const rows = await binWeights(g, `${at}/rows`, y1!, y2!, shape)
  const lines = reshape(g, `${at}/lines`, map, length * channels, length)
  const across = matMul(g, `${at}/across`, lines, transpose(g, `${at}/columns`, columns, 0, 2, 1)) // [N, L C, bins]
  const stacked = reshape(g, `${at}/stacked`, across, -1, length, channels * bins)
  const down = reshape(g, `${at}/down`, matMul(g, `${at}/down`, rows, stacked), -1, bins, channels, bins)
  return transpose(g, `${at}/down`, down, 0, 2, 1, 3) // [N, C, bins, bins]
}

/**
 * What each pixel along one side gives to each bin: [N, bins, L].
 * ```
 *  place p of a sample -> outside -1..L ? nothing : max(0, 1 - |clamp(p, 0, L - 1) - pixel|) -> mean over a bin's samples
 * ```
 */
export async function binWeights(
  g: GraphBuilder,
  at: string,
  from: Value,
  to: Value,
  { bins, length, spatialScale }: RoiAlign,
): Promise<Value> {
  const count = bins * SAMPLES
  const constant = (name: string, shape: readonly number[], of: (i: number) => number) =>
    g.floats(
      `${at}/${name}`,
      Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => of(i)),
      shape,
    )
  const binOfSample = await constant('bin_of_sample', [1, count], (i) => Math.floor(i / SAMPLES))
  const placeInBin = await constant('place_in_bin', [1, count], (i) => ((i % SAMPLES) + 0.5) / SAMPLES)
  const pixel = await constant('pixel', [1, 1, length], (i) => i)

  const onMap = (name: string, value: Value) =>
    sub(g, `${at}/${name}`, mul(g, `${at}/${name}`, value, g.scalar(spatialScale)), g.scalar(0.5)) // [N, 1]
  const start = onMap('start', from)
  const bin = div(g, `${at}/bin`, sub(g, `${at}/extent`, onMap('end', to), start), g.scalar(bins)) // [N, 1]
  const binStart = add(g, `${at}/bin_start`, start, mul(g, `${at}/bin_start`, binOfSample, bin))
  const place = add(g, `${at}/place`, binStart, mul(g, `${at}/place`, placeInBin, bin)) // [N, 2 bins]

  const clamped = clip(g, `${at}/clamped`, place, g.scalar(0), g.scalar(length - 1))
  const distance = abs(g, `${at}/distance`, sub(g, `${at}/distance`, unsqueeze(g, `${at}/clamped`, clamped, 2), pixel))
  const hat = relu(g, `${at}/hat`, sub(g, `${at}/hat`, g.scalar(1), distance)) // [N, 2 bins, L]
  const counted = mul(g, `${at}/counted`, hat, unsqueeze(g, `${at}/inside`, isInside(g, at, place, length), 2))
  const perBin = reshape(g, `${at}/per_bin`, counted, -1, bins, SAMPLES, length)
  return g.node('ReduceMean', at, [perBin], { attributes: { axes: ints(2), keepdims: int(0) } })
}

/** 1 where -1 <= place <= length, else 0. */
function isInside(g: GraphBuilder, at: string, place: Value, length: number): Value {
  const name = `${at}/inside`
  const notBefore = g.node('GreaterOrEqual', name, [place, g.scalar(-1)])
  const notAfter = g.node('LessOrEqual', name, [place, g.scalar(length)])
  return g.node('Cast', name, [g.node('And', name, [notBefore, notAfter])], { attributes: { to: int(1) } })
}
