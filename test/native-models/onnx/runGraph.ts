import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { writeTensors } from '../../../native-models/builders/writeTensors.ts'
import { type Feeds, GraphSession, type Tensor } from '../../../native-models/inference/session.ts'
import { ExternalData } from '../../../native-models/onnx/externalData.ts'
import { GraphBuilder, type Value } from '../../../native-models/onnx/graphBuilder.ts'
import type { Dimension } from '../../../native-models/onnx/proto.ts'

/** Builds a graph with one output `y`, runs it once under the real runtime and returns what came out. */
export async function runGraph(
  build: (g: GraphBuilder) => Promise<Value> | Value,
  feeds: Feeds,
  outputShape: readonly Dimension[],
): Promise<Tensor> {
  const dir = await mkdtemp(join(tmpdir(), 'gromatic-graph-'))
  try {
    const data = new ExternalData('graph.data')
    const g = new GraphBuilder('test', data)
    const value = await build(g)
    await writeTensors(dir, [data])
    await writeFile(join(dir, 'graph.onnx'), g.encode({ y: { value, shape: outputShape } }))
    const session = await GraphSession.open(join(dir, 'graph.onnx'), 1)
    const outputs = await session.run(feeds)
    await session.release()
    return outputs.y!
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

/** Numbers in -1..1, the same for the same seed. */
export function noise(count: number, seed = 1): Float32Array {
  let state = seed
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0
    return state / 2 ** 31
  })
}

/** A weight source over numbers in memory. */
export const weight = (data: Float32Array, ...shape: number[]) => ({ shape, parts: () => [data] })

/** The largest difference of two arrays of one length. */
export function difference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY
  let largest = 0
  for (let i = 0; i < a.length; i++) {
    const d = Math.abs(a[i]! - b[i]!)
    if (!(d <= largest)) largest = d
  }
  return largest
}
