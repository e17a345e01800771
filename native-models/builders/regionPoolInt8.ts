import { int, ints } from '../onnx/attributes.ts'
import type { GraphBuilder, Value } from '../onnx/graphBuilder.ts'
import { MIDDLE } from '../onnx/int8.ts'
import { add, concat, div, gather, matMul, mul, reshape, split, sub, unsqueeze } from '../onnx/ops.ts'
import { CODE_MAX } from './convolutionCodes.ts'
import { SIGNED_ZERO } from './regionMapsInt8.ts'
import { binWeights, type RoiAlign } from './roiAlign.ts'
import { KINDS, type Kind, SAFE_STEP, TAPS, TILE } from './tiles.ts'

/** Pooled channels at a time: the runtime holds their sums in 32 bits. */
const CHANNELS_AT_A_TIME = 256
const INT64 = 7
const BOOL = 9

/** One level of the maps: int8 [L, L, C] (row, column, channel), SIGNED_ZERO for 0. */
export interface Level {
  at: string
  map: Value
  align: RoiAlign
}

export interface Tiles {
  /** for each of KINDS uint8 [R + 1, count, 3 C], a row of bins each, where its tiles begin in every row */
  kinds: readonly { codes: Value; first: number; count: number }[]
  /** int64 [N, bins + 2]: the row of each row of bins, and of the padding above and below them */
  rows: Value
  /** int64 [1]: R, the row of nothing */
  none: Value
  /** floats [N, bins, tiles], 0 where a tile's convolution meets nothing, else 1 */
  busy: Value
}

/**
 * RoIAlign of maps in codes, as products of integers (roiAlign.ts), rows first: all boxes in one product. Rows of bins that lie
 * outside the maps (SCALE_ODDITY) are left out; one row of nothing stands for all of them. Columns come out as tiles.
 * ```
 *  rows [R + 1, L] . map [L, L C] -> [R + 1, L, C];  columns [R + 1, tiles, L] . that -> [R + 1, tiles, C]
 * ```
 */
export async function pooledTiles(
  g: GraphBuilder,
  levels: readonly Level[],
  [x1, y1, x2, y2]: readonly Value[],
): Promise<Tiles> {
  const { bins, channels } = levels[0]!.align
  const tiles = Math.ceil(bins / TILE)
  const rows: Value[] = []
  const columns: Value[] = []
  for (const { at, align } of levels) {
    rows.push(await binWeights(g, `${at}/rows`, y1!, y2!, align))
    columns.push(await binWeights(g, `${at}/columns`, x1!, x2!, align))
  }
  const seenRows = touched(g, '/roi/seen/rows', rows) // [N, bins]
  const place = placeAmong(g, '/roi/seen/place', seenRows)
  const flags = reshape(g, '/roi/seen/flags', seenRows, -1)
  const seen = reshape(g, '/roi/seen', g.node('NonZero', '/roi/seen', [flags]), -1) // [R] of [N bins]
  const boxes = withLast(g, '/roi/seen/boxes', div(g, '/roi/seen/boxes', seen, g.integers(bins))) // [R + 1]

  const sums: Value[] = []
  const differences: Value[] = []
  for (const [level, { at, map, align }] of levels.entries()) {
    const { length } = align
    const share = g.scalar(1 / CODE_MAX)
    const rowCodes = g.node('QuantizeLinear', `${at}/rows/codes`, [rows[level]!, share, g.small('uint8', 0)])
    const all = reshape(g, `${at}/rows`, rowCodes, -1, length) // [N bins, L]
    const some = withLast(g, `${at}/rows/seen`, gather(g, `${at}/rows/seen`, all, seen, 0), 0) // [R + 1, L]
    const tilesOf = async (name: string, kinds: readonly Kind[], zero: number) => {
      const name_ = `${at}/${name}`
      const matrix = await g.floats(`${name_}/transform`, transform(kinds, bins), [kinds.length * tiles, bins])
      const floats = matMul(g, name_, matrix, columns[level]!) // [N, kinds tiles, L]
      const share = g.scalar(2 / (zero === 0 ? CODE_MAX : CODE_MAX - 1)) // sums of two shares, differences of them
      const zeroCode = g.small('uint8', zero)
      const codes = g.node('QuantizeLinear', `${name_}/codes`, [floats, share, zeroCode])
      const ofRows = gather(g, `${name_}/seen`, codes, boxes, 0) // [R + 1, kinds tiles, L]
      return (part: string, down: Value) =>
        g.node('QLinearMatMul', `${name_}/${part}`, [
          ofRows,
          share,
          zeroCode,
          down,
          g.scalar(1),
          g.small('uint8', 0),
          g.scalar(SAFE_STEP),
          zeroCode,
        ])
    }
    const [first, second, third, fourth] = KINDS
    const sumOf = await tilesOf('sums', [second], 0)
    const differenceOf = await tilesOf('differences', [first, third, fourth], MIDDLE)
    for (const [part, width, codes] of inParts(g, at, map, channels)) {
      const lines = reshape(g, `${at}/${part}/lines`, codes, length, length * width)
      const inputs = [some, share, g.small('uint8', 0), lines, g.scalar(1), g.small('int8', SIGNED_ZERO)]
      const product = g.node('QLinearMatMul', `${at}/${part}/down`, [...inputs, g.scalar(1), g.small('uint8', 0)])
      const down = reshape(g, `${at}/${part}/down`, product, -1, length, width) // [R + 1, L, C]
      sums.push(sumOf(part, down))
      differences.push(differenceOf(part, down))
    }
  }
  const sum = concat(g, '/roi/sums', 2, ...sums) // [R + 1, tiles, 3 C]
  const difference = concat(g, '/roi/differences', 2, ...differences) // [R + 1, 3 tiles, 3 C]
  const signed = (order: number) => ({ codes: difference, first: order * tiles, count: 3 * tiles })
  return {
    kinds: [signed(0), { codes: sum, first: 0, count: tiles }, signed(1), signed(2)],
    rows: paddedRows(g, place, bins),
    none: place.count,
    busy: busyTiles(g, seenRows, touched(g, '/roi/seen/columns', columns), bins),
  }
}

/** x [M, ..] and one more row of zeros: [M + 1, ..]. */
function withLast(g: GraphBuilder, at: string, x: Value, ...others: 0[]): Value {
  return g.node('Pad', at, [x, g.integers(0, ...others, 1, ...others)])
}

/** The channels of a map, so many at a time: the name of each part, its channels, its codes [L, L, channels]. */
function inParts(g: GraphBuilder, at: string, map: Value, channels: number): [string, number, Value][] {
  const count = Math.ceil(channels / CHANNELS_AT_A_TIME)
  const widths = Array.from({ length: count }, (_, i) =>
    Math.min(CHANNELS_AT_A_TIME, channels - i * CHANNELS_AT_A_TIME),
  )
  return split(g, `${at}/parts`, map, 2, ...widths).map((codes, i) => [`part.${i}`, widths[i]!, codes])
}

/** The columns of bins as tiles, kind by kind: [kinds tiles, bins]. */
function transform(kinds: readonly Kind[], bins: number): Float32Array {
  const tiles = Math.ceil(bins / TILE)
  const matrix = new Float32Array(kinds.length * tiles * bins)
  for (const [kind, { places: factors }] of kinds.entries()) {
    for (let tile = 0; tile < tiles; tile++) {
      for (const [i, factor] of factors.entries()) {
        const bin = tile * TILE - 1 + i
        if (bin >= 0 && bin < bins) matrix[(kind * tiles + tile) * bins + bin] = factor
      }
    }
  }
  return matrix
}

/** 1 for the bins that any level gives something, else 0: [N, bins]. */
function touched(g: GraphBuilder, at: string, weights: readonly Value[]): Value {
  const sums = weights.map((shares, i) =>
    g.node('ReduceSum', `${at}/${i}`, [shares, g.integers(2)], { attributes: { keepdims: int(0) } }),
  )
  return g.node('Sign', at, [g.node('Sum', at, sums)])
}

/** Of flags of 0 and 1 those that are 1, numbered from 1 on; 0 stays 0. Flat, int64. */
function numbered(g: GraphBuilder, at: string, flags: Value): { flags: Value; numbers: Value } {
  const whole = g.node('Cast', `${at}/flags`, [reshape(g, `${at}/flags`, flags, -1)], {
    attributes: { to: int(INT64) },
  })
  const order = g.node('CumSum', at, [whole, g.node('Squeeze', `${at}/axis`, [g.integers(0)])])
  return { flags: whole, numbers: mul(g, at, order, whole) }
}

/** For each entry of flags of 0 and 1 its place among those that are 1; for the others how many there are. Flat. */
function placeAmong(g: GraphBuilder, at: string, flags: Value): { places: Value; count: Value } {
  const { flags: whole, numbers } = numbered(g, at, flags)
  const count = g.node('ReduceSum', `${at}/count`, [whole], { attributes: { keepdims: int(1) } }) // [1]
  const isOne = g.node('Cast', `${at}/is_one`, [whole], { attributes: { to: int(BOOL) } })
  return { places: g.node('Where', at, [isOne, sub(g, at, numbers, g.integers(1)), count]), count }
}

function paddedRows(g: GraphBuilder, { places, count }: { places: Value; count: Value }, bins: number): Value {
  const perBox = reshape(g, '/roi/rows', places, -1, bins)
  const nothing = g.node('Squeeze', '/roi/rows/nothing', [count])
  return g.node('Pad', '/roi/rows', [perBox, g.integers(0, 1, 0, 1), nothing])
}

/** [N, bins, tiles]: whether any of the bins under a tile's convolution is touched. */
function busyTiles(g: GraphBuilder, rows: Value, columns: Value, bins: number): Value {
  const widest = (name: string, x: Value, kernel: number, stride: number, behind: number) =>
    g.node('MaxPool', `/roi/busy/${name}`, [unsqueeze(g, `/roi/busy/${name}`, x, 1)], {
      attributes: { kernel_shape: ints(kernel), strides: ints(stride), pads: ints(1, behind) },
    })
  const nearRows = widest('rows', rows, TAPS, 1, 1) // [N, 1, bins]
  const down = g.node('Transpose', '/roi/busy/rows', [nearRows], { attributes: { perm: ints(0, 2, 1) } })
  const across = widest('columns', columns, TILE + 2, TILE, 1 + (bins % TILE)) // [N, 1, tiles]
  return mul(g, '/roi/busy', down, across)
}

/** The M tiles whose convolution meets something, and a last one over nothing, so that there is one. */
export interface TileList {
  /** int64 [M + 1, 3]: the rows of bins under each */
  rows: Value
  /** int64 [M + 1, 1]: which tile of its row it is */
  columns: Value
  /** int64 [N bins tiles]: the number of each tile, counted from 1 on; 0 for those that are not listed */
  numbers: Value
}

export function listTiles(g: GraphBuilder, at: string, { rows, busy, none }: Tiles, bins: number): TileList {
  const found = g.node('NonZero', at, [busy]) // [3, M]: box, row, tile
  const transposed = g.node('Transpose', at, [found], { attributes: { perm: ints(1, 0) } })
  const [box, row, tile] = split(g, at, transposed, 1, 1, 1, 1) // [M, 1] each
  const above = add(g, `${at}/above`, mul(g, `${at}/box`, box!, g.integers(bins + 2)), row!)
  const under = gather(
    g,
    `${at}/under`,
    reshape(g, `${at}/rows`, rows, -1),
    add(g, `${at}/under`, above, g.integers(0, 1, 2)),
    0,
  )
  const nothing = g.node('Expand', `${at}/nothing`, [none, g.integers(1, TAPS)])
  return {
    rows: concat(g, `${at}/rows`, 0, under, nothing),
    columns: withLast(g, `${at}/columns`, tile!, 0),
    numbers: numbered(g, `${at}/number`, busy).numbers,
  }
}
