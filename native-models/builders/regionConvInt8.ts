import { int, ints } from '../onnx/attributes.ts'
import type { GraphBuilder, Value, WeightSource } from '../onnx/graphBuilder.ts'
import type { Int8Weight } from '../onnx/int8.ts'
import { abs, add, concat, div, gather, matMul, mul, relu, reshape, slice, sub, unsqueeze } from '../onnx/ops.ts'
import { CODE_MAX, codeSteps, rectifiedCodes, scaleOfPeaks, ZERO_CODE } from './convolutionCodes.ts'
import { sharedBy } from './mapConvolution.ts'
import { type Level, listTiles, pooledTiles, type TileList } from './regionPoolInt8.ts'
import { KINDS, kindWeights, SAFE_STEP, SHARES, TAPS, TILE, tapsFirst } from './tiles.ts'
import type { Weights } from './weights.ts'

/** Places that are looked at to learn what range the convolution's output will have. */
const SAMPLES = 64
/** A channel's codes lie at least this part of its bias apart. */
const SMALLEST_STEP = 1e-3
const INT64_MAX = 2 ** 53

/**
 * Pooled regions through `pconvs` (3x3, one for each level, summed), ReLU and `flatten_linear`, in 8 bits.
 * Bins are convolved by twos, as tiles (regionPoolInt8.ts). Many lie outside the maps and hold nothing but zeros: where the
 * convolution of a tile would see only those, its result is its bias. What comes of that is known beforehand; rounded, it would
 * be off by the same in all those bins, which adds up.
 * ```
 *  pooled tiles -> for each kind the three rows under each tile where something is [1, M + 1, 3, 3 C] -> QLinearConv 1x3
 *    -> the kinds' shares of both bins, + bias, ReLU -> codes [(M + 1) 2, C] -> all places [N, bins bins C] -> product --.
 *  tiles of nothing [N, bins tiles] . what each gives [bins tiles, width] ------------------------------------------- + = [N, width]
 * ```
 * @param scale what one step of the maps means
 * @returns [N, width]
 */
export async function pooledFeatures(
  g: GraphBuilder,
  weights: Weights,
  levels: readonly Level[],
  corners: readonly Value[],
  scale: Value,
): Promise<Value> {
  const { bins, channels } = levels[0]!.align
  const tiles = await pooledTiles(g, levels, corners)
  const list = listTiles(g, '/roi/tiles', tiles, bins)
  const width = levels.length * channels
  const patches = tiles.kinds.map(({ codes, first, count }, kind): Value => {
    const at = `/roi/kind.${kind}`
    const start = add(g, `${at}/start`, mul(g, `${at}/row`, list.rows, g.integers(count)), list.columns)
    const places = first === 0 ? start : add(g, `${at}/place`, start, g.integers(first))
    return gather(g, `${at}/patches`, reshape(g, `${at}/pixels`, codes, -1, width), places, 0) // [M + 1, 3, 3 C]
  })
  const unit = mul(g, '/roi/unit', scale, g.scalar(SAFE_STEP))
  const active = await convolved(g, weights, patches, unit, { levels: levels.length, channels })
  const codes = g.node('Pad', '/roi/codes', [active.codes, g.integers(TILE, 0, 0, 0)]) // a tile of zeros before the others
  const everywhere = gather(g, '/roi/flatten', codes, binPlaces(g, '/roi/place', list, bins), 0) // [N, bins, bins, C]
  const flat = reshape(g, '/roi/flatten', everywhere, -1, bins * bins * channels)

  const { weight, bias } = weights.affine('flatten_linear')
  const matrix = g.int8('/roi/flatten_linear/weight', weight, [bins * bins * channels, weight.shape[0]!], {
    order: binsFirst(bins, channels),
  })
  const inputs = [flat, matrix.codes, active.scale, matrix.scales, g.small('uint8', 0)]
  const features = g.node('MatMulIntegerToFloat', '/roi/flatten_linear', inputs, { domain: 'com.microsoft' })
  const source = tilesOfNothing(weights, weight, levels.length, { bins, channels })
  const table = await g.weight('/roi/nothing/table', source)
  const idle = reshape(g, '/roi/nothing', sub(g, '/roi/nothing/idle', g.scalar(1), tiles.busy), -1, source.shape[0]!)
  const nothing = matMul(g, '/roi/nothing', idle, table)
  const both = add(g, '/roi/flatten_linear/sum', features, nothing)
  return add(g, '/roi/flatten_linear/bias', both, await g.weight('/roi/flatten_linear/bias', bias))
}

/** What `flatten_linear` makes of each tile whose bins hold but ReLU(bias): [bins tiles, width]. */
function tilesOfNothing(
  weights: Weights,
  flatten: WeightSource,
  levels: number,
  { bins, channels }: { bins: number; channels: number },
): WeightSource {
  const tiles = Math.ceil(bins / TILE)
  const width = flatten.shape[0]!
  return {
    shape: [bins * tiles, width],
    async *parts() {
      const constant = (await sumOfBiases(weights, levels, channels)).map((value) => Math.max(0, value))
      const table = new Float32Array(bins * tiles * width)
      const perBin = new Float64Array(bins * bins)
      let output = 0
      for await (const rows of flatten.parts()) {
        for (let start = 0; start < rows.length; start += channels * perBin.length, output++) {
          perBin.fill(0)
          addRows(perBin, rows, start, constant)
          for (const [bin, value] of perBin.entries()) {
            const tile = Math.floor(bin / bins) * tiles + Math.floor((bin % bins) / TILE)
            table[tile * width + output]! += value
          }
        }
      }
      yield table
    },
  }
}

/** To sums [n] adds factors [m] times a matrix [m, n] that begins at `start`. A plain loop: the release's has 200 million numbers. */
function addRows(sums: Float64Array, matrix: Float32Array, start: number, factors: Float32Array): void {
  for (let row = 0, i = start; row < factors.length; row++) {
    const factor = factors[row]!
    for (let column = 0; column < sums.length; column++, i++) sums[column]! += factor * matrix[i]!
  }
}

/** For each bin of each box where it is among the bins of the listed tiles, or of the zeros before them: [N, bins, bins]. */
function binPlaces(g: GraphBuilder, at: string, { numbers }: TileList, bins: number): Value {
  const firsts = mul(g, `${at}/firsts`, unsqueeze(g, `${at}/places`, numbers, 1), g.integers(TILE))
  const both = add(g, `${at}/both`, firsts, g.integers(...Array.from({ length: TILE }, (_, i) => i))) // [.., 2]
  const whole = reshape(g, at, both, -1, bins, Math.ceil(bins / TILE) * TILE)
  return bins % TILE === 0 ? whole : slice(g, at, whole, 2, 0, bins)
}

/**
 * ReLU(`pconvs`) of the kinds of each tile, [M, 3, 3 C] each.
 * @param scale what a step of them means
 * @returns codes [M 2, C], 0 for 0, and their scale
 */
async function convolved(
  g: GraphBuilder,
  weights: Weights,
  patches: readonly Value[],
  scale: Value,
  { levels, channels }: { levels: number; channels: number },
): Promise<{ codes: Value; scale: Value }> {
  const at = '/roi/pconvs'
  const width = levels * channels
  const tensors = Array.from({ length: levels }, (_, level) => {
    const name = `pconvs.${level}.weight`
    return { shape: weights.source(name, [channels, channels, TAPS, TAPS]).shape, read: () => weights.read(name) }
  })
  const products: { line: Value; kernel: Int8Weight; zero: Value }[] = []
  const seen: Value[] = []
  for (const [kind, rows] of patches.entries()) {
    const name = `${at}/kind.${kind}`
    const source = kindWeights(tensors, KINDS[kind]!, 'columns')
    const kernel = g.int8(`${name}/weight`, source, [channels, width, 1, TAPS], 'rows')
    const matrix = g.int8(`${name}/matrix`, source, [TAPS * width, channels], { order: tapsFirst(width) })
    const zero = g.small('uint8', KINDS[kind]!.zero)
    const samples = reshape(g, `${name}/samples`, someRows(g, `${name}/samples`, rows), -1, TAPS * width)
    const inputs = [samples, matrix.codes, scale, matrix.scales, zero]
    seen.push(g.node('MatMulIntegerToFloat', `${name}/samples`, inputs, { domain: 'com.microsoft' })) // [S, C]
    products.push({ line: unsqueeze(g, `${name}/line`, rows, 0), kernel, zero })
  }
  const bias = await g.floats(`${at}/bias`, await sumOfBiases(weights, levels, channels), [channels])
  const least = mul(g, `${at}/least`, abs(g, `${at}/least`, bias), g.scalar(SMALLEST_STEP))
  const ranges = seen.map((rows, kind) => codeSteps(g, `${at}/kind.${kind}/range`, rows))
  const step = g.node('Max', `${at}/step`, [...ranges, least]) // [C]

  const codes = products.map(({ line, kernel, zero }, kind) => {
    const name = `${at}/kind.${kind}`
    const unit = div(g, `${name}/requantize`, mul(g, `${name}/unit`, kernel.scales, scale), step)
    const inputs = [line, g.scalar(1), zero, kernel.codes, unit, g.small('int8', 0), g.scalar(1)]
    const attributes = { kernel_shape: ints(1, TAPS), channels_last: int(1) }
    inputs.push(g.small('uint8', ZERO_CODE))
    return g.node('QLinearConv', name, inputs, { domain: 'com.microsoft', attributes }) // [1, M, 1, C]
  })
  const line = concat(g, `${at}/kinds`, 2, ...codes) // [1, M, 4, C]
  const peaks = SHARES.map((shares, bin) => highestSeen(g, `${at}/bin.${bin}`, seen, shares, bias))
  const active = scaleOfPeaks(g, `${at}/active`, peaks)
  const rectified: Value[] = []
  for (const [bin, shares] of SHARES.entries()) {
    const name = `${at}/bin.${bin}`
    const zeroSum = -ZERO_CODE * shares.reduce<number>((sum, share) => sum + share, 0)
    const shift = add(g, `${name}/shift`, mul(g, `${name}/start`, step, g.scalar(zeroSum)), bias)
    rectified.push(await rectifiedCodes(g, name, line, { gain: step, shift, scale: active, channels, shares }))
  }
  const joined = concat(g, `${at}/bins`, 2, ...rectified) // [1, M, 2, C]
  return { codes: reshape(g, `${at}/bins`, joined, -1, channels), scale: active }
}

/** How far ReLU(bin) is taken to reach in any channel, from samples [S, C] of its kinds. */
function highestSeen(
  g: GraphBuilder,
  at: string,
  seen: readonly Value[],
  shares: readonly number[],
  bias: Value,
): Value {
  const step = codeSteps(g, `${at}/range`, sharedBy(g, `${at}/seen`, seen, shares))
  const highest = add(g, `${at}/highest`, mul(g, `${at}/highest`, step, g.scalar(CODE_MAX - ZERO_CODE)), bias)
  return g.node('ReduceMax', `${at}/highest`, [relu(g, `${at}/highest`, highest)], { attributes: { keepdims: int(0) } })
}

/** About SAMPLES of the rows, evenly spaced. */
function someRows(g: GraphBuilder, at: string, rows: Value): Value {
  const shape = g.node('Shape', `${at}/shape`, [rows], { attributes: { start: int(0), end: int(1) } })
  const step = g.node('Max', `${at}/step`, [div(g, `${at}/step`, shape, g.integers(SAMPLES)), g.integers(1)])
  return g.node('Slice', `${at}/some`, [rows, g.integers(0), g.integers(INT64_MAX), g.integers(0), step])
}

/** [C] */
async function sumOfBiases(weights: Weights, levels: number, channels: number): Promise<Float32Array> {
  const sum = new Float32Array(channels)
  for (let level = 0; level < levels; level++) {
    weights.source(`pconvs.${level}.bias`, [channels])
    for (const [i, value] of (await weights.read(`pconvs.${level}.bias`)).entries()) sum[i]! += value
  }
  return sum
}

/** From (channel, bin) to (bin, channel). */
function binsFirst(bins: number, channels: number): Int32Array {
  const places = bins * bins
  return Int32Array.from({ length: channels * places }, (_, i) => (i % places) * channels + Math.floor(i / places))
}
