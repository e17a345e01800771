import { describe, expect, it } from 'vitest'
import { deformableAttention } from '../../../native-models/builders/deformableAttention.ts'
import type { Level } from '../../../native-models/builders/sinePositions.ts'
import { Weights } from '../../../native-models/builders/weights.ts'
import { floats } from '../../../native-models/inference/session.ts'
import { difference, noise, runGraph } from '../onnx/runGraph.ts'

const WIDTH = 6
const QUERIES = 5

/** y = W x + b */
function affine(x: ArrayLike<number>, weight: Float32Array, bias: Float32Array): number[] {
  return Array.from(bias, (b, out) =>
    Array.from(x).reduce((sum, value, i) => sum + value * weight[out * x.length + i]!, b),
  )
}

interface Setup {
  levels: Level[]
  heads: number
  points: number
}

/** Plain loops over queries, heads, levels and points. */
function reference(
  tensors: Map<string, Float32Array>,
  query: Float32Array,
  values: Float32Array,
  places: Float32Array,
  { levels, heads, points }: Setup,
) {
  const size = WIDTH / heads
  const rows = (data: Float32Array, name: string) =>
    Array.from({ length: data.length / WIDTH }, (_, i) =>
      affine(data.subarray(i * WIDTH, (i + 1) * WIDTH), tensors.get(`${name}.weight`)!, tensors.get(`${name}.bias`)!),
    )
  const projected = rows(values, 'value_proj')
  const offsets = rows(query, 'sampling_offsets')
  const logits = rows(query, 'attention_weights')
  const starts = levels.map((_, level) =>
    levels.slice(0, level).reduce((sum, { height, width }) => sum + height * width, 0),
  )
  const output: number[] = []
  for (let q = 0; q < QUERIES; q++) {
    const mixed = new Array<number>(WIDTH).fill(0)
    for (let head = 0; head < heads; head++) {
      const count = levels.length * points
      const own = logits[q]!.slice(head * count, (head + 1) * count).map(Math.exp)
      const total = own.reduce((sum, value) => sum + value, 0)
      for (const [level, { height, width }] of levels.entries()) {
        for (let point = 0; point < points; point++) {
          const at = ((head * levels.length + level) * points + point) * 2
          const x = (places[q * 2]! + offsets[q]![at]! / width) * width - 0.5
          const y = (places[q * 2 + 1]! + offsets[q]![at + 1]! / height) * height - 0.5
          const share = own[level * points + point]! / total
          for (const [dy, dx] of [
            [0, 0],
            [0, 1],
            [1, 0],
            [1, 1],
          ] as const) {
            const [row, column] = [Math.floor(y) + dy, Math.floor(x) + dx]
            if (row < 0 || column < 0 || row >= height || column >= width) continue
            const part = (1 - Math.abs(y - row)) * (1 - Math.abs(x - column)) * share
            const pixel = projected[starts[level]! + row * width + column]!
            for (let c = 0; c < size; c++) mixed[head * size + c]! += part * pixel[head * size + c]!
          }
        }
      }
    }
    output.push(...affine(mixed, tensors.get('output_proj.weight')!, tensors.get('output_proj.bias')!))
  }
  return output
}

describe('deformableAttention', () => {
  it.each<Setup>([
    { levels: [{ height: 4, width: 4 }], heads: 2, points: 3 },
    {
      levels: [
        { height: 8, width: 6 },
        { height: 4, width: 3 },
        { height: 2, width: 2 },
      ],
      heads: 3,
      points: 2,
    },
  ])('equals the loops: $heads heads, $points points, levels $levels', async (setup) => {
    const { levels, heads, points } = setup
    const samples = heads * levels.length * points
    const shapes: Record<string, number> = {
      value_proj: WIDTH,
      output_proj: WIDTH,
      sampling_offsets: samples * 2,
      attention_weights: samples,
    }
    const tensors = new Map<string, Float32Array>()
    for (const [index, [name, outputs]] of Object.entries(shapes).entries()) {
      tensors.set(
        `${name}.weight`,
        noise(outputs * WIDTH, index + 1).map((value) => value * 2),
      )
      tensors.set(
        `${name}.bias`,
        noise(outputs, index + 20).map((value) => value * 2),
      )
    }
    const pixels = levels.reduce((sum, { height, width }) => sum + height * width, 0)
    const [query, values] = [noise(QUERIES * WIDTH, 7), noise(pixels * WIDTH, 8)]
    const places = noise(QUERIES * 2, 9).map((value) => (value + 1) / 2)

    const y = await runGraph(
      async (g) => {
        const units = levels.map(({ width, height }, level) =>
          g.floats(`/unit.${level}`, Float32Array.of(2 / width, 2 / height), [2]),
        )
        const unit = await Promise.all(units)
        return deformableAttention(g, '/attn', weightsOf(tensors), {
          query: g.input('query', 'float32', [QUERIES, WIDTH]),
          values: g.input('values', 'float32', [pixels, WIDTH]),
          levels,
          width: WIDTH,
          heads,
          points,
          centre: await g.floats(
            '/centre',
            places.map((place) => 2 * place - 1),
            [QUERIES, 1, 2],
          ),
          unit: (level) => unit[level]!,
        })
      },
      { query: floats(query, QUERIES, WIDTH), values: floats(values, pixels, WIDTH) },
      [QUERIES, WIDTH],
    )
    expect(difference(y.data as Float32Array, reference(tensors, query, values, places, setup))).toBeLessThan(1e-4)
  })
})

/** Weights over tensors in memory; those named `.weight` are matrices with WIDTH columns. */
function weightsOf(tensors: Map<string, Float32Array>): Weights {
  const shapeOf = (name: string, data: Float32Array) =>
    name.endsWith('.weight') ? [data.length / WIDTH, WIDTH] : [data.length]
  const infos = [...tensors].map(
    ([name, data]) => [name, { name, shape: shapeOf(name, data), dtype: 'F32', file: '' }] as const,
  )
  return new Weights({
    dir: '',
    config: {},
    tensors: new Map(infos),
    has: (name) => tensors.has(name),
    readFloat32: async (name) => tensors.get(name)!,
    readRows: async (name, start, count) => tensors.get(name)!.subarray(start * WIDTH, (start + count) * WIDTH),
    where: () => null,
    close: async () => {},
  })
}
