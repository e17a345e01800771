import type { Checkpoint, TensorInfo } from '../../native-models/checkpoint/checkpoint.ts'
import { formulaTensor, type ReferenceWeights } from './referenceWeights.ts'

/** A checkpoint that lies nowhere: every tensor comes from the formula when it is asked for. */
export function formulaCheckpoint({ seed, tensors }: ReferenceWeights): Checkpoint {
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]))
  const info = (name: string, shape: number[]): TensorInfo => ({ name, shape, dtype: 'F32', file: 'formula' })
  let last: { name: string; values: Float32Array } | undefined
  const read = (name: string): Float32Array => {
    if (last?.name === name) return last.values
    const found = byName.get(name)
    if (!found) throw new RangeError(`the formula has no tensor ${name}`)
    last = { name, values: formulaTensor(seed, name, found.shape, found.scale, found.offset) }
    return last.values
  }
  return {
    dir: 'formula',
    config: {},
    tensors: new Map(tensors.map(({ name, shape }) => [name, info(name, shape)])),
    has: (name) => byName.has(name),
    readFloat32: async (name) => read(name),
    readRows: async (name, start, count) => {
      const values = read(name)
      const width = values.length / byName.get(name)!.shape[0]!
      return values.subarray(start * width, (start + count) * width)
    },
    where: () => null,
    close: async () => {},
  }
}
