import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { EngineFile } from '../checkpoint/manifest.ts'
import type { GromaConfig } from '../groma/config.ts'
import { ExternalData } from '../onnx/externalData.ts'
import { GraphBuilder, type Value } from '../onnx/graphBuilder.ts'
import { buildDecoder, inputTable } from './decoder.ts'
import { buildImageTokens } from './imageTokens.ts'
import { type LlmFormats, llmFormats, prefillFormats } from './llmFormats.ts'
import {
  ALL_STATES_FILE,
  type AnyGraphName,
  dataFile,
  embeddingsFile,
  type GraphFacts,
  graphFile,
  PREFILL_GRAPH,
  type Precision,
} from './modelFiles.ts'
import { buildProposalHead } from './proposalHead.ts'
import { buildRegionHead } from './regionHead.ts'
import { buildRegionMaps } from './regionMaps.ts'
import { buildVisionEncoder, neededStates } from './visionEncoder.ts'
import type { Weights } from './weights.ts'
import { type WriteOptions, writeTensors } from './writeTensors.ts'

type Outputs = Parameters<GraphBuilder['encode']>[0]
/** What is the same for all graphs of one model. */
export interface ModelParts {
  weights: Weights
  config: GromaConfig
  precision: Precision
  /** also the decoder for long prompts */
  prefill: boolean
  /** of the square picture, pixels */
  imageSize: number
}

/** All graphs and tables of a model, planned: their weights are read when the data files are written. */
export class GraphPlan {
  readonly data: ExternalData[] = []
  /** model files, to be encoded when the data files are written */
  readonly #models: { path: string; encode: () => Uint8Array }[] = []
  readonly parts: ModelParts

  constructor(parts: ModelParts) {
    this.parts = parts
  }

  /** Length of all data files. */
  get bytes(): number {
    return this.data.reduce((sum, { bytes }) => sum + bytes, 0)
  }

  /** Plans one graph. @returns its builder */
  async graph(name: AnyGraphName, build: (g: GraphBuilder) => Promise<Outputs>): Promise<GraphBuilder> {
    const g = new GraphBuilder(name, this.table(dataFile(name)))
    const outputs = await build(g)
    this.model(graphFile(name), () => g.encode(outputs))
    return g
  }

  /** A data file, still empty. */
  table(path: string): ExternalData {
    const data = new ExternalData(path)
    this.data.push(data)
    return data
  }

  model(path: string, encode: () => Uint8Array): void {
    this.#models.push({ path, encode })
  }

  /** Writes everything into a folder. @returns the files, with their hashes where they are known */
  async write(folder: string, options?: WriteOptions): Promise<{ paths: string[]; hashed: EngineFile[] }> {
    const hashed = await writeTensors(folder, this.data, options)
    for (const { path, encode } of this.#models) await writeFile(join(folder, path), encode())
    return { paths: [...hashed, ...this.#models].map(({ path }) => path), hashed }
  }
}

/** Plans all graphs and the embedding table of one model. */
export async function planModel(parts: ModelParts): Promise<{ plan: GraphPlan; facts: GraphFacts }> {
  const plan = new GraphPlan(parts)
  const facts = await planVision(plan)
  const { precision, config, weights, prefill } = parts
  const formats = llmFormats(precision.llm, config.llm)
  await planDecoder(plan, 'decoder', formats)
  if (prefill) await planDecoder(plan, PREFILL_GRAPH, prefillFormats(formats))
  const path = embeddingsFile(precision.llm)
  const embeddings = plan.table(path)
  const table = inputTable(weights, config)
  const values = table.shape.reduce((product, extent) => product * extent, 1)
  if (precision.llm === 'fp32') embeddings.add(table, { kind: 'floats', to: embeddings.place(4 * values) })
  else embeddings.add(table, { kind: 'halves', to: embeddings.place(2 * values) })
  return { plan, facts }
}

/** Plans the graphs that look at pixels. */
export async function planVision(plan: GraphPlan): Promise<GraphFacts> {
  const { weights, config, imageSize, precision } = plan.parts
  const side = imageSize / config.vision.patchSize
  const hiddenStates = await planVisionEncoder(plan, side)
  await plan.graph('proposal-head', async (g) => {
    const queries = config.detector.proposalCount
    const { boxes, logitCoco, logitSa1b } = await buildProposalHead(g, weights.at('perceiver'), config, side)
    return {
      boxes_cxcywh: { value: boxes, shape: [queries, 4] },
      logit_coco: { value: logitCoco, shape: [queries, 1] },
      logit_sa1b: { value: logitSa1b, shape: [queries, 1] },
    }
  })
  const shape = { side, width: config.vision.hiddenSize }
  await plan.graph('image-tokens', async (g) => {
    const tokens = await buildImageTokens(g, weights.at('img_txt_bridge'), {
      ...shape,
      hiddenSize: config.llm.hiddenSize,
    })
    return { image_tokens: { value: tokens, shape: [(side * side) / 4, config.llm.hiddenSize] } }
  })
  const regions = weights.at('region_encoder')
  let channels = 0
  let headPrecision = precision.vision
  await plan.graph('region-maps', async (g) => {
    const built = await buildRegionMaps(g, regions, shape, precision.vision)
    channels = built.channels
    headPrecision = built.precision
    const { maps, shapes, scale } = built
    const type = scale === undefined ? 'float32' : 'int8'
    const outputs: Outputs = {}
    for (const [level, value] of maps.entries()) outputs[`region_map.${level}`] = { value, type, shape: shapes[level]! }
    if (scale !== undefined) outputs['region_map.scale'] = { value: scale, shape: [] }
    return outputs
  })
  let bins = 0
  await plan.graph('region-head', async (g) => {
    const { patchSize } = config.vision
    const hiddenSize = config.llm.hiddenSize
    const sizes = { side, patchSize, imageSize, channels, hiddenSize }
    const built = await buildRegionHead(g, regions, sizes, headPrecision)
    bins = built.bins
    return { region_tokens: { value: built.tokens, shape: ['N', config.llm.hiddenSize] } }
  })
  return { imageSize, side, hiddenStates, regionChannels: channels, regionBins: bins }
}

/** The graph whose outputs the later graphs need, and another over the same weights with all hidden states. */
async function planVisionEncoder(plan: GraphPlan, side: number): Promise<number[]> {
  const { config, weights, imageSize, precision } = plan.parts
  const { vision } = config
  const needed = neededStates(vision.layerCount, config.imageTokenLayer)
  const encoder = weights.at('perceiver.vis_encoder')
  const shape = [1 + side * side, vision.hiddenSize]
  let states: readonly Value[] = []
  const outputs = (indices: Iterable<number>): Outputs =>
    Object.fromEntries(Array.from(indices, (k) => [`hidden_state.${k}`, { value: states[k]!, shape }]))
  const g = await plan.graph('vision-encoder', async (g) => {
    states = await buildVisionEncoder(g, encoder, vision, imageSize, precision.vision)
    return outputs(needed)
  })
  plan.model(ALL_STATES_FILE, () => g.encode(outputs(states.keys())))
  return needed
}

async function planDecoder(plan: GraphPlan, name: AnyGraphName, formats: LlmFormats): Promise<void> {
  const { config, weights } = plan.parts
  const { llm, vocabSize } = config
  await plan.graph(name, async (g) => {
    const { logits, present } = await buildDecoder(g, weights, config, formats)
    const outputs: Outputs = { logits: { value: logits, shape: ['R', vocabSize] } }
    for (const [layer, { key, value, scales }] of present.entries()) {
      const shape = [llm.kvHeadCount, 'B', 'T']
      outputs[`present_key.${layer}`] = {
        value: key,
        type: scales ? 'uint8' : 'float32',
        shape: [...shape, llm.headSize],
      }
      outputs[`present_value.${layer}`] = { value, type: scales ? 'int8' : 'float32', shape: [...shape, llm.headSize] }
      if (!scales) continue
      outputs[`present_key_scale.${layer}`] = { value: scales.key, shape }
      outputs[`present_value_scale.${layer}`] = { value: scales.value, shape }
    }
    return outputs
  })
}
