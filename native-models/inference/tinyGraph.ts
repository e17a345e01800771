import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { writeTensors } from '../builders/writeTensors.ts'
import { ExternalData } from '../onnx/externalData.ts'
import { GraphBuilder } from '../onnx/graphBuilder.ts'
import {
  conv,
  gelu,
  gridSample,
  groupNorm,
  layerNorm,
  linear,
  matMul,
  reshape,
  resizeAlignCorners,
  softmax,
  transpose,
} from '../onnx/ops.ts'
import { type Feeds, floats } from './session.ts'

const SIDE = 12
const CHANNELS = 16
const POINTS = 24

/** Numbers in -1..1, the same for the same seed. */
export function noise(count: number, seed = 1): Float32Array {
  let state = seed
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0
    return state / 2 ** 31
  })
}

/**
 * A graph of a few kilobytes with the operators that the real ones need, in a folder of its own:
 * ```
 *  x [1, 3, S, S] -> Conv -> GroupNorm -> Resize -> GridSample -> [P, C] -> Gemm -> LayerNorm -> GELU -> q -> softmax(q q^T) q
 * ```
 */
export async function withTinyGraph<T>(use: (path: string, feeds: Feeds) => Promise<T>): Promise<T> {
  const dir = await mkdtemp(join(tmpdir(), 'gromatic-probe-'))
  try {
    const path = join(dir, 'tiny.onnx')
    const data = new ExternalData('tiny.data')
    const g = new GraphBuilder('tiny', data)
    let seed = 1
    const weight = (...shape: number[]) => {
      const numbers = noise(
        shape.reduce((a, b) => a * b),
        seed++,
      )
      return { shape, parts: () => [numbers] }
    }
    const affine = (...shape: number[]) => ({ weight: weight(...shape), bias: weight(shape[0]!) })

    const x = g.input('x', 'float32', [1, 3, SIDE, SIDE])
    const grid = g.input('grid', 'float32', [1, POINTS, 1, 2])
    const map = await conv(g, '/conv', x, { ...affine(CHANNELS, 3, 3, 3), padding: 1 })
    const shape = [1, CHANNELS, SIDE, SIDE] as const
    const normed = await groupNorm(g, '/group_norm', map, { ...affine(CHANNELS), groups: 4, epsilon: 1e-5, shape })
    const larger = resizeAlignCorners(g, '/resize', normed, [1, CHANNELS, 2 * SIDE, 2 * SIDE])
    const sampled = reshape(g, '/sampled', gridSample(g, '/sample', larger, grid, false), CHANNELS, POINTS)
    const rows = transpose(g, '/rows', sampled, 1, 0)
    const projected = await linear(g, '/linear', rows, affine(CHANNELS, CHANNELS))
    const active = gelu(g, '/gelu', await layerNorm(g, '/norm', projected, { ...affine(CHANNELS), epsilon: 1e-5 }))
    const shares = softmax(g, '/shares', matMul(g, '/scores', active, transpose(g, '/keys', active, 1, 0)))
    const y = matMul(g, '/mix', shares, active)
    await writeTensors(dir, [data])
    await writeFile(path, g.encode({ y: { value: y, shape: [POINTS, CHANNELS] } }))
    return await use(path, {
      x: floats(noise(3 * SIDE * SIDE, 101), 1, 3, SIDE, SIDE),
      grid: floats(noise(2 * POINTS, 102), 1, POINTS, 1, 2),
    })
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}
