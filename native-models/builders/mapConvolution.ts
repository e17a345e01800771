import { int, ints } from '../onnx/attributes.ts'
import type { GraphBuilder, Value } from '../onnx/graphBuilder.ts'
import type { Int8Weight } from '../onnx/int8.ts'
import { abs, add, cast, concat, div, gather, mul, reshape } from '../onnx/ops.ts'
import { CODE_MAX, codeSteps, ZERO_CODE } from './convolutionCodes.ts'
import { KINDS, type Kind, kindWeights, SAFE_STEP, SHARES, TAPS, TILE, tapsFirst } from './tiles.ts'
import type { Weights } from './weights.ts'

/** Tiles along a side that are looked at to learn what range a convolution's output will have. */
const SAMPLES = 7
/** How much further than was sampled what is made of a map's rows is taken to reach. */
const REACH = 1.25
/** The largest weight in 8 bits. */
const WEIGHT_MAX = 127

/** For each of KINDS int8 [C, 1, 2, 1]: what the two rows count that it is made of. The same for all maps. */
export function rowFilters(g: GraphBuilder, at: string, channels: number): Value[] {
  return KINDS.map(({ places }, kind) => {
    const two = places.filter((factor) => factor !== 0)
    const bytes = Int8Array.from({ length: channels * TILE }, (_, i) => two[i % TILE]!)
    return g.bytes(`${at}.${kind}`, 'int8', [channels, 1, TILE, 1], new Uint8Array(bytes.buffer))
  })
}

/** 3x3 weights [C, C, 3, 3] for tiles along the rows: for each kind as a convolution [C, C, 1, 3] and as a matrix [3 C, C]. */
export interface TileWeights {
  kernels: readonly Int8Weight[]
  matrices: readonly Int8Weight[]
}

export function tileWeights(g: GraphBuilder, at: string, weights: Weights, channels: number): TileWeights {
  const { shape } = weights.source('conv.weight', [channels, channels, TAPS, TAPS])
  const sources = KINDS.map((kind) => kindWeights([{ shape, read: () => weights.read('conv.weight') }], kind, 'rows'))
  return {
    kernels: sources.map((source, kind) => g.int8(`${at}/kind.${kind}`, source, [channels, channels, 1, TAPS], 'rows')),
    matrices: sources.map((source, kind) =>
      g.int8(`${at}/samples/kind.${kind}`, source, [TAPS * channels, channels], { order: tapsFirst(channels) }),
    ),
  }
}

/**
 * A 3x3 convolution of a map in codes, two rows at a time (tiles.ts), channels last.
 * ```
 *  map [1, L, L, C] -> for each kind: two rows summed [1, L/2, L, C] -> QLinearConv 1x3 [1, L/2, L, C]
 *    -> side by side [1, L/2 4, L, C] -> the kinds' shares of both rows -> codes [1, L, L, C]
 * ```
 * @param map uint8, 0 for 0, of which a step means `scale`
 * @param length L, even
 * @returns uint8 codes [1, L, L, C], ZERO_CODE for 0, what a step of each channel means, [C], and what they were made of
 */
export function convolveMap(
  g: GraphBuilder,
  at: string,
  map: Value,
  { kernels, matrices }: TileWeights,
  { scale, length, channels, filters }: { scale: Value; length: number; channels: number; filters: readonly Value[] },
): { codes: Value; step: Value; sums: TileSums } {
  const lines = length / TILE
  const places = sampledPlaces(g, `${at}/sampled`, map, length)
  const kinds = KINDS.map((kind, i) => {
    const name = `${at}/kind.${i}`
    const step = rowStep(g, `${name}/step`, places, kind)
    const rows = rowsOfKind(g, `${name}/rows`, map, kind, { filter: filters[i]!, step, channels })
    const unit = mul(g, `${name}/step`, scale, step)
    const zero = g.small('uint8', kind.zero)
    const seen = sampledProducts(g, `${name}/samples`, rows, matrices[i]!, { unit, zero, length, channels })
    return { name, rows, unit, zero, seen, kernel: kernels[i]! }
  })
  const seen = kinds.map((kind) => kind.seen)
  const { steps, unit, shares } = weightedKinds(g, `${at}/shares`, seen, channels)
  const zero = g.small('uint8', ZERO_CODE)
  const products = kinds.map(({ name, rows, kernel, ...kind }, i) => {
    const requantize = div(g, `${name}/requantize`, mul(g, `${name}/unit`, kernel.scales, kind.unit), steps[i]!)
    const inputs = [rows, g.scalar(1), kind.zero, kernel.codes, requantize, g.small('int8', 0), g.scalar(1), zero]
    const attributes = { kernel_shape: ints(1, TAPS), pads: ints(0, 1, 0, 1), channels_last: int(1) }
    const product = g.node('QLinearConv', name, inputs, { domain: 'com.microsoft', attributes })
    return reshape(g, name, product, lines, 1, length, channels)
  })
  const joined = concat(g, `${at}/kinds`, 1, ...products)
  const together = reshape(g, `${at}/kinds`, joined, 1, lines * KINDS.length, length, channels)

  const samples = SHARES.map((shares, place) => sharedBy(g, `${at}/place.${place}/samples`, seen, shares))
  const step = codeSteps(g, `${at}/range`, concat(g, `${at}/samples`, 0, ...samples))
  const sums: TileSums = { codes: together, shares, unit, length, channels }
  const factor = div(g, `${at}/factor`, unit, step)
  return { sums, step, codes: placesOf(g, `${at}/place`, sums, { factor, zero: ZERO_CODE }) }
}

/** What a convolution left of each kind: one rounding short of its result. */
export interface TileSums {
  /** uint8 [1, L/2 4, L, C], ZERO_CODE for 0 */
  codes: Value
  /** for both places of a tile int8 [C, 1, 4, 1]: what the kinds count in it */
  shares: readonly Value[]
  /** [C]: what a step of the sum means */
  unit: Value
  length: number
  channels: number
}

/** (the sums, in steps, + bias) * factor as uint8 codes, `zero` for 0: [1, L, L, C]. */
export function placesOf(
  g: GraphBuilder,
  at: string,
  { codes, shares, length, channels }: TileSums,
  { factor, zero, bias }: { factor: Value; zero: number; bias?: Value },
): Value {
  const places = shares.map((filter, i) => {
    const name = `${at}.${i}`
    const inputs = [codes, g.scalar(1), g.small('uint8', ZERO_CODE), filter, factor, g.small('int8', 0)]
    inputs.push(g.scalar(1), g.small('uint8', zero), ...(bias ? [bias] : []))
    const kernel = ints(KINDS.length, 1)
    const attributes = { kernel_shape: kernel, strides: kernel, group: int(channels), channels_last: int(1) }
    const place = g.node('QLinearConv', name, inputs, { domain: 'com.microsoft', attributes })
    return reshape(g, name, place, length / TILE, 1, length, channels)
  })
  return reshape(g, at, concat(g, at, 1, ...places), 1, length, length, channels)
}

/**
 * How the kinds' codes are to be summed, from samples [S, C] of each. Each kind has a range of its own; its step, [C], is a whole
 * multiple of `unit`, [C]: the multiples are the weights, so that nothing is lost in the sum.
 * @returns for both places of a tile int8 weights [C, 1, 4, 1]
 */
function weightedKinds(g: GraphBuilder, at: string, samples: readonly Value[], channels: number) {
  const least = samples.map((seen, i) => codeSteps(g, `${at}/range.${i}`, seen))
  const unit = mul(g, `${at}/unit`, g.node('Max', `${at}/most`, least), g.scalar(1 / WEIGHT_MAX))
  const multiples = least.map((step, i) => {
    const ratio = g.node('Ceil', `${at}/multiple.${i}`, [div(g, `${at}/multiple.${i}`, step, unit)])
    return g.node('Min', `${at}/multiple.${i}`, [ratio, g.scalar(WEIGHT_MAX)])
  })
  const columns = multiples.map((multiple, i) => reshape(g, `${at}/column.${i}`, multiple, channels, 1))
  const shares = SHARES.map((shares, place) => {
    const name = `${at}/place.${place}`
    const signed = columns.map((column, i) => mul(g, `${name}/kind.${i}`, column, g.scalar(shares[i]!)))
    return reshape(g, name, cast(g, name, concat(g, name, 1, ...signed), 'int8'), channels, 1, KINDS.length, 1)
  })
  return { unit, steps: multiples.map((multiple, i) => mul(g, `${at}/step.${i}`, multiple, unit)), shares }
}

/** The four rows of some tiles at a few columns, in floats: [1, S, S, C] each. */
function sampledPlaces(g: GraphBuilder, at: string, map: Value, length: number): Value[] {
  const tiles = evenly(0, length / TILE - 1)
  const columns = g.integers(...evenly(0, length - 1))
  return KINDS[0].places.map((_, place) => {
    const name = `${at}/place.${place}`
    const rows = tiles.map((tile) => Math.min(Math.max(tile * TILE + place - 1, 0), length - 1))
    const some = gather(g, `${name}/rows`, map, g.integers(...rows), 1)
    return cast(g, name, gather(g, name, some, columns, 2), 'float32')
  })
}

/** What a step of a kind's codes is to mean in steps of the map's: 1, at which nothing is rounded, if its range allows. */
function rowStep(g: GraphBuilder, at: string, sampled: readonly Value[], { places, zero }: Kind): Value {
  const terms = sampled.flatMap((x, i) => {
    if (places[i] === 0) return []
    return [places[i] === 1 ? x : mul(g, `${at}/place.${i}`, x, g.scalar(places[i]!))]
  })
  const size = abs(g, at, add(g, at, terms[0]!, terms[1]!))
  const most = g.node('ReduceMax', at, [size], { attributes: { keepdims: int(0) } })
  const step = mul(g, `${at}/needed`, most, g.scalar(REACH / (CODE_MAX - zero)))
  return g.node('Clip', at, [step, g.scalar(1), g.scalar(SAFE_STEP)])
}

/** What a kind makes of each tile's rows: [1, L, L, C] -> [1, L/2, L, C]. */
function rowsOfKind(
  g: GraphBuilder,
  at: string,
  map: Value,
  { places, zero }: Kind,
  { filter, step, channels }: { filter: Value; step: Value; channels: number },
): Value {
  const first = places.findIndex((factor) => factor !== 0)
  const last = places.findLastIndex((factor) => factor !== 0)
  const inputs = [map, g.scalar(1), g.small('uint8', 0), filter, g.scalar(1), g.small('int8', 0)]
  inputs.push(step, g.small('uint8', zero))
  const attributes = {
    kernel_shape: ints(2, 1),
    strides: ints(TILE, 1),
    dilations: ints(last - first, 1),
    pads: ints(first === 0 ? 1 : 0, 0, last === places.length - 1 ? 1 : 0, 0),
    group: int(channels),
    channels_last: int(1),
  }
  return g.node('QLinearConv', at, inputs, { domain: 'com.microsoft', attributes })
}

/** The kinds' shares of one place of each tile, from samples [S, C] of all: [S, C]. */
export function sharedBy(g: GraphBuilder, at: string, kinds: readonly Value[], shares: readonly number[]): Value {
  const terms = kinds.flatMap((seen, i) => {
    const share = shares[i]!
    return share === 0 ? [] : [share === 1 ? seen : mul(g, `${at}/kind.${i}`, seen, g.scalar(share))]
  })
  return g.node('Sum', at, terms)
}

/** At a few tiles of a kind's rows [1, L/2, L, C], what its convolution gives: [S, C]. */
function sampledProducts(
  g: GraphBuilder,
  at: string,
  rows: Value,
  matrix: Int8Weight,
  { unit, zero, length, channels }: { unit: Value; zero: Value; length: number; channels: number },
): Value {
  const some = gather(g, `${at}/rows`, rows, g.integers(...evenly(0, length / TILE - 1)), 1) // with both edges
  const columns = evenly(1, length - 2) // where all taps lie on the map
  const taps = Array.from({ length: TAPS }, (_, tap) =>
    gather(g, `${at}/tap.${tap}`, some, g.integers(...columns.map((column) => column + tap - 1)), 2),
  )
  const samples = reshape(g, at, concat(g, at, 3, ...taps), -1, TAPS * channels)
  const inputs = [samples, matrix.codes, unit, matrix.scales, zero]
  return g.node('MatMulIntegerToFloat', at, inputs, { domain: 'com.microsoft' })
}

/** SAMPLES whole numbers from first to last, or as many as there are; both are among them. */
function evenly(first: number, last: number): number[] {
  const count = Math.min(SAMPLES, last - first + 1)
  if (count === 1) return [first]
  return Array.from({ length: count }, (_, i) => first + Math.round((i * (last - first)) / (count - 1)))
}
