import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { convertCheckpoint } from '../../../native-models/builders/buildModel.ts'
import { verifyModel } from '../../../native-models/builders/verifyModel.ts'
import {
  type Feeds,
  floats,
  floatsOf,
  GraphSession,
  integers,
  type Tensor,
} from '../../../native-models/inference/session.ts'
import { decodeOutline, type ModelOutline } from '../../../native-models/onnx/proto.ts'
import { noise } from '../onnx/runGraph.ts'
import { makeTinyCheckpoint, unusualShape } from './tinyModel.ts'

const root = await mkdtemp(join(tmpdir(), 'gromatic-prefill-'))
afterAll(() => rm(root, { recursive: true, force: true }))

const ROWS = 7
const lengths: Record<string, number> = { B: 1, T: ROWS, P: 3, C: 1, R: 2, 'P+C+T': 4 + ROWS }

function feedOf({ name, type, shape }: ModelOutline['inputs'][number], seed: number): Tensor {
  const dims = shape.map((length) => (typeof length === 'number' ? length : lengths[length]!))
  const numbers = noise(
    dims.reduce((product, length) => product * length, 1),
    seed,
  )
  if (type === 'uint8') return { data: Uint8Array.from(numbers, (value) => 128 + 100 * value), dims }
  if (type === 'int8') return { data: Int8Array.from(numbers, (value) => 100 * value), dims }
  if (name === 'position_ids') return integers([...numbers.keys()], ...dims)
  if (name === 'last_rows') return integers([ROWS - 3, ROWS - 1], ...dims)
  if (name === 'attention_bias') return floats(new Float32Array(numbers.length), ...dims)
  return floats(/_scale/.test(name) ? numbers.fill(0.01) : numbers, ...dims)
}

/** sqrt(sum (a - b)^2 / sum b^2) */
function error(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let [apart, all] = [0, 0]
  for (let i = 0; i < b.length; i++) {
    apart += (a[i]! - b[i]!) ** 2
    all += b[i]! ** 2
  }
  return Math.sqrt(apart / all)
}

describe('the decoder for long prompts', () => {
  it.each(['fp32', 'int8'] as const)('takes what the decoder takes and gives nearly the same: %s', async (llm) => {
    const [checkpoint, engine] = [join(root, llm, 'checkpoint'), join(root, llm, 'engine')]
    await makeTinyCheckpoint(checkpoint, { ...unusualShape, headSize: 16 })
    await convertCheckpoint(checkpoint, engine, { llm, prefill: true })
    expect(await verifyModel(engine)).toEqual([])
    const [plain, fast] = ['decoder', 'decoder-prefill'].map((name) => join(engine, `${name}.onnx`)) as [string, string]
    const [inputs, fastInputs] = await Promise.all(
      [plain, fast].map(async (path) => decodeOutline(await readFile(path)).inputs),
    )
    expect(fastInputs).toEqual(inputs)
    const feeds: Feeds = Object.fromEntries(inputs!.map((input, index) => [input.name, feedOf(input, index + 1)]))
    const [exact, found] = await Promise.all(
      [plain, fast].map(async (path) => {
        const session = await GraphSession.open(path, 1)
        const outputs = await session.run(feeds)
        await session.release()
        return outputs
      }),
    )
    const apart = error(floatsOf(found!, 'logits'), floatsOf(exact!, 'logits'))
    expect(apart).toBeGreaterThan(0)
    expect(apart).toBeLessThan(0.03)
    for (const name of ['present_key.1', 'present_value.1']) {
      const { data, dims } = found![name]!
      expect(dims).toEqual(exact![name]!.dims)
      expect(error(numbersOf(found!, name, data as Codes), floatsOf(exact!, name)), name).toBeLessThan(0.03)
    }
    expect(found!['present_key.1']!.data).toBeInstanceOf(llm === 'int8' ? Uint8Array : Float32Array)
    expect(found!['present_value.1']!.data).toBeInstanceOf(llm === 'int8' ? Int8Array : Float32Array)
  })
})

type Codes = Float32Array | Uint8Array | Int8Array

/** Of keys or values that are in 8 bits, what they stand for. */
function numbersOf(outputs: Record<string, Tensor>, name: string, data: Codes): Float32Array {
  const scales = outputs[name.replace('.', '_scale.')]?.data as Float32Array | undefined
  if (!scales) return data as Float32Array
  const zero = data instanceof Uint8Array ? 128 : 0
  return Float32Array.from(data, (code, i) => (code - zero) * scales[Math.floor((i * scales.length) / data.length)]!)
}
