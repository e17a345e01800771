import { createHash } from 'node:crypto'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { writeTensors } from '../../../native-models/builders/writeTensors.ts'
import { floats } from '../../../native-models/inference/session.ts'
import { ExternalData } from '../../../native-models/onnx/externalData.ts'
import { GraphBuilder } from '../../../native-models/onnx/graphBuilder.ts'
import { add, groupNorm, linear, relu, resizeAlignCorners, rmsNorm, split } from '../../../native-models/onnx/ops.ts'
import { decodeOutline } from '../../../native-models/onnx/proto.ts'
import { difference, noise, runGraph, weight } from './runGraph.ts'

describe('external data', () => {
  let dir: string
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'gromatic-data-'))
  })
  afterEach(() => rm(dir, { recursive: true, force: true }))

  it('aligns tensors, large ones to pages, and keeps their bytes', async () => {
    const told: number[] = []
    const file = new ExternalData('weights')
    const small = noise(5)
    const large = noise(40_000, 2)
    const sources = [
      weight(small, 5),
      weight(small, 5),
      { shape: [40_000], parts: () => [large.subarray(0, 7), large.subarray(7)] },
    ]
    const places = sources.map((source) => {
      const to = file.place(4 * source.shape[0]!)
      file.add(source, { kind: 'floats', to })
      return to
    })
    expect(places.map(({ offset }) => offset)).toEqual([0, 64, 4096])
    const [written] = await writeTensors(dir, [file], { onBytes: (_, bytes) => told.push(bytes) })
    expect(told.reduce((sum, bytes) => sum + bytes)).toBe(40 + 160_000)
    const bytes = await readFile(join(dir, 'weights'))
    expect(written).toEqual({
      path: 'weights',
      bytes: 164_096,
      sha256: createHash('sha256').update(bytes).digest('hex'),
    })
    const read = new Float32Array(bytes.buffer.slice(bytes.byteOffset + 4096, bytes.byteOffset + 4096 + 160_000))
    expect(difference(read, large)).toBe(0)
  })

  it.each([5, 7])('refuses a tensor of %i numbers where 6 were announced', async (count) => {
    const file = new ExternalData('weights')
    file.add(weight(noise(count), 6), { kind: 'floats', to: file.place(24) })
    await expect(writeTensors(dir, [file])).rejects.toThrow(`${4 * count} bytes where 24`)
  })

  it('places large weights outside, small ones inside, and says where they are', async () => {
    const g = new GraphBuilder('test', new ExternalData('weights'))
    const x = g.input('x', 'float32', ['N', 100])
    const y = await linear(g, '/big', x, { weight: weight(noise(5000), 50, 100), bias: weight(noise(50), 50) })
    const unused = await linear(g, '/unused', x, { weight: weight(noise(5000), 50, 100) })
    const outline = decodeOutline(g.encode({ y: { value: relu(g, '/relu', y), shape: ['N', 50] } }))
    expect(outline.inputs).toEqual([{ name: 'x', type: 'float32', shape: ['N', 100] }])
    expect(outline.outputs).toEqual([{ name: 'y', type: 'float32', shape: ['N', 50] }])
    expect(outline.externalTensors).toEqual([
      { name: '/big/weight', type: 'float32', shape: [50, 100], location: 'weights', offset: 0, length: 20_000 },
    ])
    expect(unused).toBe('/unused/Gemm/output_0')
  })

  it('refuses two nodes of one name', () => {
    const g = new GraphBuilder('test', new ExternalData('weights'))
    const x = g.input('x', 'float32', [1])
    relu(g, '/a', x)
    expect(() => relu(g, '/a', x)).toThrow('two things called /a/Relu')
  })

  it('finds no graph in other bytes', () => {
    expect(() => decodeOutline(new Uint8Array())).toThrow('holds no graph')
    expect(() => decodeOutline(new TextEncoder().encode('<!doctype html>'))).toThrow()
  })
})

describe('operators under the real runtime', () => {
  it('linear: weights as checkpoints store them', async () => {
    const [x, w, b] = [noise(6), noise(12, 2), noise(4, 3)]
    const y = await runGraph(
      (g) => linear(g, '/fc', g.input('x', 'float32', ['N', 3]), { weight: weight(w, 4, 3), bias: weight(b, 4) }),
      { x: floats(x, 2, 3) },
      ['N', 4],
    )
    const expected = [0, 1].flatMap((row) =>
      [0, 1, 2, 3].map((out) => [0, 1, 2].reduce((sum, i) => sum + x[row * 3 + i]! * w[out * 3 + i]!, b[out]!)),
    )
    expect(difference(y.data as Float32Array, expected)).toBeLessThan(1e-6)
  })

  it('rmsNorm', async () => {
    const [x, w] = [noise(10), noise(5, 2)]
    const y = await runGraph(
      (g) => rmsNorm(g, '/norm', g.input('x', 'float32', ['N', 5]), { weight: weight(w, 5), epsilon: 1e-3 }),
      { x: floats(x, 2, 5) },
      ['N', 5],
    )
    const expected = [0, 1].flatMap((row) => {
      const values = [...x.subarray(row * 5, row * 5 + 5)]
      const scale = 1 / Math.sqrt(values.reduce((sum, v) => sum + v * v, 0) / 5 + 1e-3)
      return values.map((value, i) => value * scale * w[i]!)
    })
    expect(difference(y.data as Float32Array, expected)).toBeLessThan(1e-6)
  })

  it.each([2, 4])('groupNorm: 4 channels in %i groups', async (groups) => {
    const [x, w, b] = [noise(4 * 6), noise(4, 2), noise(4, 3)]
    const shape = [1, 4, 2, 3] as const
    const options = { groups, epsilon: 1e-5, shape, weight: weight(w, 4), bias: weight(b, 4) }
    const y = await runGraph(
      (g) => groupNorm(g, '/gn', g.input('x', 'float32', shape), options),
      { x: floats(x, ...shape) },
      shape,
    )
    const size = x.length / groups
    const expected = Array.from(x, (value, i) => {
      const group = [...x.subarray(Math.floor(i / size) * size, (Math.floor(i / size) + 1) * size)]
      const mean = group.reduce((sum, v) => sum + v, 0) / size
      const variance = group.reduce((sum, v) => sum + (v - mean) ** 2, 0) / size
      const channel = Math.floor(i / 6)
      return ((value - mean) / Math.sqrt(variance + 1e-5)) * w[channel]! + b[channel]!
    })
    expect(difference(y.data as Float32Array, expected)).toBeLessThan(1e-5)
  })

  it('resizeAlignCorners: corners stay, a ramp stays a ramp', async () => {
    const x = Float32Array.from({ length: 16 }, (_, i) => (i % 4) + 10 * Math.floor(i / 4))
    const y = await runGraph(
      (g) => resizeAlignCorners(g, '/up', g.input('x', 'float32', [1, 1, 4, 4]), [1, 1, 7, 7]),
      { x: floats(x, 1, 1, 4, 4) },
      [1, 1, 7, 7],
    )
    const expected = Array.from({ length: 49 }, (_, i) => (i % 7) / 2 + 5 * Math.floor(i / 7))
    expect(difference(y.data as Float32Array, expected)).toBeLessThan(1e-5)
  })

  it('split and shared constants', async () => {
    const y = await runGraph(
      (g) => {
        const [a, b] = split(g, '/s', g.input('x', 'float32', [1, 3]), 1, 1, 2)
        return add(g, '/sum', add(g, '/a', a!, g.scalar(1)), add(g, '/b', b!, g.scalar(1)))
      },
      { x: floats(Float32Array.of(1, 10, 100), 1, 3) },
      [1, 2],
    )
    expect([...(y.data as Float32Array)]).toEqual([13, 103])
  })
})
