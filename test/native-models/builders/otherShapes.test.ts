import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { convertCheckpoint } from '../../../native-models/builders/buildModel.ts'
import { verifyModel } from '../../../native-models/builders/verifyModel.ts'
import { writeRawSafetensors } from '../../../native-models/checkpoint/safetensors.ts'
import { GromaEngine } from '../../../native-models/inference/engine.ts'
import { formulaTensor } from '../../support/referenceWeights.ts'
import { difference } from '../onnx/runGraph.ts'
import {
  makeTinyCheckpoint,
  makeTinyModel,
  PROPOSALS,
  type TinyShape,
  testPicture,
  tinyConfig,
  tinyWeights,
  unusualShape,
} from './tinyModel.ts'

/** No size of the reference models is baked in: other widths, heads, levels, pictures run and keep their shapes. */
describe('models of other shapes', () => {
  const shapes: TinyShape[] = [
    unusualShape,
    { imageSize: 56, levels: 1, llmHeads: 3, kvHeads: 3, tied: true },
    { imageSize: 140, levels: 2, llmHeads: 4, kvHeads: 1, tied: true },
  ]

  it.each(shapes)('$imageSize px, $levels levels, $kvHeads of $llmHeads heads, tied $tied', async (shape) => {
    const model = await makeTinyModel(shape)
    try {
      expect(await verifyModel(model.engine)).toEqual([])
      const engine = await GromaEngine.open(model.engine)
      expect(engine.info).toMatchObject({ imageSize: shape.imageSize, maxRegions: 9, proposalCount: PROPOSALS })
      const trace = await engine.trace(testPicture(), { query: 'What is this?', maxNewTokens: 4, allTensors: true })
      const shapesFound = Object.fromEntries(
        Object.entries(trace.tensors).map(([name, tensor]) => [name, tensor.shape]),
      )
      const patches = (shape.imageSize / 7) ** 2
      const regions = trace.case.selected_cxcywh.length
      expect(regions).toBeGreaterThan(0)
      expect(regions).toBeLessThanOrEqual(9)
      expect(shapesFound).toMatchObject({
        pixels: [3, shape.imageSize, shape.imageSize],
        'hidden_states.6': [1 + patches, 64],
        image_tokens: [patches / 4, 48],
        region_tokens: [regions, 48],
        first_logits: [714],
      })
      for (const { data } of Object.values(trace.tensors)) expect(data.every(Number.isFinite)).toBe(true)
      for (const box of trace.case.proposals.boxes_cxcywh)
        expect(box.every((value) => value >= 0 && value <= 1)).toBe(true)
      expect(trace.case.output_ids).toHaveLength(4)
      await engine.close()
    } finally {
      await model.remove()
    }
  })

  describe('fewer key/value heads', () => {
    let few: Awaited<ReturnType<typeof makeTinyModel>>
    beforeAll(async () => {
      few = await makeTinyModel(unusualShape)
    })
    afterAll(() => few.remove())

    it('equal a model whose heads are repeated by hand', async () => {
      const many = join(few.root, 'many-checkpoint')
      await repeatHeads(many)
      await convertCheckpoint(many, join(few.root, 'many'))
      const traces = []
      for (const dir of [few.engine, join(few.root, 'many')]) {
        const engine = await GromaEngine.open(dir)
        traces.push(await engine.trace(testPicture(), { query: 'What is this?', maxNewTokens: 12 }))
        await engine.close()
      }
      const [a, b] = traces
      expect(a!.case.output_ids).toEqual(b!.case.output_ids)
      expect(difference(a!.tensors.first_logits!.data, b!.tensors.first_logits!.data)).toBeLessThan(1e-4)
    })
  })
})

/** The unusual model again, each key/value head written out as often as it is used. */
async function repeatHeads(dir: string): Promise<void> {
  const { llmHeads, kvHeads } = unusualShape
  await makeTinyCheckpoint(dir, unusualShape)
  const config = tinyConfig({ ...unusualShape, kvHeads: llmHeads })
  await writeFile(join(dir, 'config.json'), JSON.stringify(config))
  const { seed, tensors } = tinyWeights(unusualShape)
  const stored = tensors.map(({ name, shape, scale, offset }) => {
    const values = formulaTensor(seed, name, shape, scale, offset)
    if (!/^llm\..*\.[kv]_proj\.weight$/.test(name)) return { name, shape, data: values }
    const headLength = values.length / kvHeads
    const repeated = new Float32Array(headLength * llmHeads)
    for (let head = 0; head < llmHeads; head++) {
      const source = Math.floor(head / (llmHeads / kvHeads))
      repeated.set(values.subarray(source * headLength, (source + 1) * headLength), head * headLength)
    }
    return { name, shape: [(shape[0]! / kvHeads) * llmHeads, shape[1]!], data: repeated }
  })
  const file = join(dir, 'model.safetensors')
  expect((await readFile(file)).length).toBeGreaterThan(0)
  await rm(file)
  await writeRawSafetensors(
    file,
    stored.map(({ name, shape, data }) => ({
      name: name.replace(/^(perceiver\.ddetr_transformer\.)(bbox_embed|class_embed)/, '$1decoder.$2'),
      shape,
      dtype: 'F32' as const,
      bytes: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
    })),
    { format: 'pt' },
  )
}
