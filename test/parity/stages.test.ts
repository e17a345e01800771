import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { boxCxcywh } from '../../native-models/geometry/boxes.ts'
import { promptParts } from '../../native-models/groma/prompt.ts'
import { bestRegionForEach, selectRegions } from '../../native-models/groma/regionSelection.ts'
import { physicalCores } from '../../native-models/inference/cores.ts'
import { generate } from '../../native-models/inference/generate.ts'
import { type LoadedModel, loadModel } from '../../native-models/inference/loadModel.ts'
import { embedParts, embedQuestion, prefixPieces, splitPrompt } from '../../native-models/inference/promptEmbedding.ts'
import { runProposalHead } from '../../native-models/inference/proposals.ts'
import { floats, floatsOf, type Tensor } from '../../native-models/inference/session.ts'
import { referenceExpectation, referenceTensors } from '../support/referenceCases.ts'
import { convertReference, LOGITS_TOLERANCE, relativeError, TOLERANCE } from './parity.ts'

/** Each stage from the expected input of that stage, so that an early rounding cannot hide or cause a later error. */
describe('stages apart: one-level', () => {
  const { images } = referenceExpectation('one-level')
  let model: LoadedModel
  let expected: Awaited<ReturnType<typeof referenceTensors>>
  let remove = async () => {}
  const tensor = (name: string) => expected.get(name)!
  const state = (k: number): Tensor => ({
    data: tensor(`hidden_states.${k}`).data,
    dims: tensor(`hidden_states.${k}`).shape,
  })
  const close = (actual: ArrayLike<number>, name: string, tolerance = TOLERANCE) =>
    expect(relativeError(actual, tensor(name).data), name).toBeLessThanOrEqual(tolerance)

  beforeAll(async () => {
    const converted = await convertReference('one-level')
    remove = converted.remove
    model = await loadModel(converted.dir, { threads: physicalCores() })
    expected = await referenceTensors('one-level', images[0]!.expected)
  })
  afterAll(async () => {
    await model?.close()
    await remove()
  })

  it('pixels -> hidden states', async () => {
    const session = await model.allStates()
    const outputs = await session.run({ pixel_values: floats(tensor('pixels').data, 1, 3, 448, 448) })
    for (let k = 0; k <= 4; k++) close(floatsOf(outputs, `hidden_state.${k}`), `hidden_states.${k}`)
  })

  it('hidden states -> proposals', async () => {
    const states = [1, 2, 3, 4].map(state)
    const proposals = await runProposalHead(model.graphs['proposal-head'], states)
    close(proposals.boxesCxcywh, 'proposals.boxes_cxcywh')
    close(proposals.scores, 'proposals.score')
    const feeds = Object.fromEntries(states.map((value, i) => [`hidden_state.${i}`, value]))
    const logits = await model.graphs['proposal-head'].run(feeds)
    close(floatsOf(logits, 'logit_coco'), 'proposals.logit_coco')
    close(floatsOf(logits, 'logit_sa1b'), 'proposals.logit_sa1b')
  })

  it('hidden state -> image tokens', async () => {
    const outputs = await model.graphs['image-tokens'].run({ hidden_state: state(4) })
    close(floatsOf(outputs, 'image_tokens'), 'image_tokens')
  })

  it.each(images[0]!.cases)('proposals -> regions: $case', ({ case: name, refer_boxes_cxcywh: boxes, order }) => {
    const { boxesCxcywh } = selectRegions({
      boxesCxcywh: tensor('proposals.boxes_cxcywh').data,
      scores: tensor('proposals.score').data,
      referBoxes: boxes?.flat() ?? null,
      config: model.config,
      order,
    })
    expect(relativeError(boxesCxcywh, tensor(`${name}.selected_cxcywh`).data)).toBeLessThanOrEqual(1e-6)
  })

  it('hidden states and boxes -> region tokens', async () => {
    const states = [2, 3, 4].map(state)
    const maps = await model.graphs['region-maps'].run(
      Object.fromEntries(states.map((s, i) => [`hidden_state.${i}`, s])),
    )
    const feeds = Object.fromEntries(states.map((_, i) => [`map.${i}`, maps[`region_map.${i}`]!]))
    const cases = images[0]!.cases.filter((entry) => expected.has(`${entry.case}.region_tokens`))
    expect(cases.length).toBeGreaterThan(2)
    for (const { case: name } of cases) {
      const { data, shape } = tensor(`${name}.selected_cxcywh`)
      const outputs = await model.graphs['region-head'].run({ ...feeds, boxes_cxcywh: { data, dims: shape } })
      close(floatsOf(outputs, 'region_tokens'), `${name}.region_tokens`)
    }
  })

  it('image and region tokens -> text', async () => {
    const cases = images[0]!.cases.filter((entry) => expected.has(`${entry.case}.region_tokens`))
    for (const wanted of cases) {
      const { tokens } = model.tokenizer
      const stretches = splitPrompt(model.tokenizer.encodeParts(promptParts(wanted.query)), tokens)
      const boxes = (wanted.refer_boxes_cxcywh ?? []).map((box) =>
        boxCxcywh(...(box as [number, number, number, number])),
      )
      const selected = tensor(`${wanted.case}.selected_cxcywh`).data
      const referRegions = bestRegionForEach(selected, boxes.flat())
      const imageTokens = tensor('image_tokens').data
      const { hiddenSize } = model.config.llm
      const imageRows = imageTokens.length / hiddenSize
      const features = tensor(`${wanted.case}.region_tokens`).data
      const feature = (region: number) => features.subarray(region * hiddenSize, (region + 1) * hiddenSize)
      const regionKeys = Array.from({ length: selected.length / 4 }, (_, region) => `${region}`)
      const pieces = prefixPieces(stretches, tokens, { imageKey: '', imageRows, regionKeys })
      const parts = pieces.map(({ part }) => {
        return typeof part === 'number' ? part : part === 'image' ? imageTokens : feature(part.region)
      })
      const prefix = await model.language.extend(null, embedParts(model.language, parts))
      const referFeatures = Float32Array.from(referRegions.flatMap((region) => [...feature(region)]))
      const { generated, firstLogits } = await generate(model.language, {
        prefix,
        tails: [embedQuestion(model.language, tokens, stretches.tail, { referRegions, referFeatures })],
        maxNewTokens: wanted.max_new_tokens,
        eosTokenId: tokens.eos,
        guardCycles: false,
      })
      close(firstLogits[0]!, `${wanted.case}.first_logits`, LOGITS_TOLERANCE)
      expect(generated[0]!.ids, wanted.case).toEqual(wanted.output_ids)
    }
  })
})
