import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { convertCheckpoint } from '../../../native-models/builders/buildModel.ts'
import { verifyModel } from '../../../native-models/builders/verifyModel.ts'
import { type Feeds, floats, floatsOf, GraphSession, integers } from '../../../native-models/inference/session.ts'
import { decodeOutline } from '../../../native-models/onnx/proto.ts'
import { noise } from '../onnx/runGraph.ts'
import { makeTinyCheckpoint } from './tinyModel.ts'

it('the decoder for long prompts takes what the decoder takes and gives nearly the same', async () => {
  const root = await mkdtemp(join(tmpdir(), 'gromatic-prefill-'))
  try {
    const engine = join(root, 'engine')
    await makeTinyCheckpoint(join(root, 'checkpoint'))
    await convertCheckpoint(join(root, 'checkpoint'), engine, { prefill: true })
    expect(await verifyModel(engine)).toEqual([])
    const [plain, fast] = ['decoder', 'decoder-prefill'].map((name) => join(engine, `${name}.onnx`)) as [string, string]
    const outlines = await Promise.all([plain, fast].map(async (path) => decodeOutline(await readFile(path))))
    expect(outlines[1]!.inputs).toEqual(outlines[0]!.inputs)
    expect(outlines[1]!.outputs).toEqual(outlines[0]!.outputs)

    const lengths: Record<string, number> = { B: 1, T: 7, P: 1, C: 1, R: 1, 'P+C+T': 9 }
    const feeds: Feeds = {}
    for (const [index, { name, type, shape }] of outlines[0]!.inputs.entries()) {
      const dims = shape.map((length) => (typeof length === 'number' ? length : lengths[length]!))
      const count = dims.reduce((product, length) => product * length, 1)
      if (type === 'float32')
        feeds[name] = floats(name === 'attention_bias' ? new Float32Array(count) : noise(count, index + 1), ...dims)
      else
        feeds[name] = integers(
          Array.from({ length: count }, (_, i) => (name === 'position_ids' ? i : 6)),
          ...dims,
        )
    }
    const logits: Float32Array[] = []
    for (const path of [plain, fast]) {
      const session = await GraphSession.open(path, 1)
      logits.push(floatsOf(await session.run(feeds), 'logits'))
      await session.release()
    }
    const [one, two] = logits as [Float32Array, Float32Array]
    const squares = (x: Float32Array) => x.reduce((sum, value) => sum + value * value, 0)
    const error = Math.sqrt(squares(one.map((value, i) => value - two[i]!)) / squares(one))
    expect(error).toBeGreaterThan(0)
    expect(error).toBeLessThan(0.03)
  } finally {
    await rm(root, { recursive: true, force: true })
  }
})
