import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { GromaConfig } from '../groma/config.ts'
import { ExternalDataWriter } from '../onnx/externalData.ts'
import { GraphBuilder } from '../onnx/graphBuilder.ts'
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
import type { PartialModel } from './partialModel.ts'
import { buildProposalHead } from './proposalHead.ts'
import { buildRegionHead } from './regionHead.ts'
import { buildRegionMaps } from './regionMaps.ts'
import { buildVisionEncoder, neededStates } from './visionEncoder.ts'
import type { Weights } from './weights.ts'

/** Called after every write with the graph in work and the bytes written; throwing stops the conversion. */
export type OnBytes = (step: string, bytes: number) => void

type Outputs = Parameters<GraphBuilder['encode']>[0]
/** What is the same for all graphs of one model. */
export interface Job {
  /** the folder, and what is finished in it */
  partial: PartialModel
  weights: Weights
  config: GromaConfig
  precision: Precision
  /** also write the decoder for long prompts */
  prefill: boolean
  imageSize: number
  side: number
  onBytes: OnBytes
  /** makes what collects a graph; another than the usual writes other weights */
  builder?: (name: string, data: ExternalDataWriter) => GraphBuilder
}

/** Writes all graphs and the embedding table of one model into a folder. */
export async function buildGraphs(input: Omit<Job, 'side'>): Promise<GraphFacts> {
  const job: Job = { ...input, side: input.imageSize / input.config.vision.patchSize }
  const facts = await job.partial.part('vision', () => buildVisionGraphs(job))
  const formats = llmFormats(job.precision.llm, job.config.llm)
  await job.partial.part('decoder', () => writeDecoder(job, 'decoder', formats))
  if (job.prefill)
    await job.partial.part(PREFILL_GRAPH, () => writeDecoder(job, PREFILL_GRAPH, prefillFormats(formats)))
  await job.partial.part('token-embeddings', () => writeEmbeddings(job))
  return facts
}

/** Writes the graphs that look at pixels. */
export async function buildVisionGraphs(job: Job): Promise<GraphFacts> {
  const { weights, config, imageSize, side, precision } = job
  const hiddenStates = await writeVisionEncoder(job)
  await writeGraph(job, 'proposal-head', async (g) => {
    const queries = config.detector.proposalCount
    const { boxes, logitCoco, logitSa1b } = await buildProposalHead(g, weights.at('perceiver'), config, side)
    return {
      boxes_cxcywh: { value: boxes, shape: [queries, 4] },
      logit_coco: { value: logitCoco, shape: [queries, 1] },
      logit_sa1b: { value: logitSa1b, shape: [queries, 1] },
    }
  })
  const shape = { side, width: config.vision.hiddenSize }
  await writeGraph(job, 'image-tokens', async (g) => {
    const tokens = await buildImageTokens(g, weights.at('img_txt_bridge'), {
      ...shape,
      hiddenSize: config.llm.hiddenSize,
    })
    return { image_tokens: { value: tokens, shape: [(side * side) / 4, config.llm.hiddenSize] } }
  })
  const regions = weights.at('region_encoder')
  let channels = 0
  let headPrecision = precision.vision
  await writeGraph(job, 'region-maps', async (g) => {
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
  await writeGraph(job, 'region-head', async (g) => {
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
async function writeVisionEncoder(job: Job): Promise<number[]> {
  const { config, weights, side, imageSize, partial, precision } = job
  const needed = neededStates(config.vision.layerCount, config.imageTokenLayer)
  await writeGraph(job, 'vision-encoder', async (g) => {
    const states = await buildVisionEncoder(
      g,
      weights.at('perceiver.vis_encoder'),
      config.vision,
      imageSize,
      precision.vision,
    )
    const shape = [1 + side * side, config.vision.hiddenSize]
    const outputs = (indices: readonly number[]) =>
      Object.fromEntries(indices.map((k) => [`hidden_state.${k}`, { value: states[k]!, shape }]))
    await writeFile(join(partial.folder, ALL_STATES_FILE), g.encode(outputs([...states.keys()])))
    return outputs(needed)
  })
  return needed
}

async function writeDecoder(job: Job, name: AnyGraphName, formats: LlmFormats): Promise<void> {
  const { llm, vocabSize } = job.config
  await writeGraph(job, name, async (g) => {
    const { logits, present } = await buildDecoder(g, job.weights, job.config, formats)
    const outputs: Outputs = { logits: { value: logits, shape: ['R', vocabSize] } }
    for (const [layer, { key, value }] of present.entries()) {
      outputs[`present_key.${layer}`] = { value: key, shape: [llm.kvHeadCount, 'B', 'T', llm.headSize] }
      outputs[`present_value.${layer}`] = { value, shape: [llm.kvHeadCount, 'B', 'T', llm.headSize] }
    }
    return outputs
  })
}

async function writeEmbeddings(job: Job): Promise<void> {
  const { weights, config, precision } = job
  const table = inputTable(weights, config)
  await writeData(job, embeddingsFile(precision.llm), 'token-embeddings', async (file) => {
    if (precision.llm === 'fp32') await file.appendFloats(table)
    else await file.appendHalves(table)
  })
}

async function writeGraph(job: Job, name: AnyGraphName, build: (g: GraphBuilder) => Promise<Outputs>): Promise<void> {
  await writeData(job, dataFile(name), name, async (data) => {
    const g = job.builder?.(name, data) ?? new GraphBuilder(name, data)
    const outputs = await build(g)
    await writeFile(join(job.partial.folder, graphFile(name)), g.encode(outputs))
  })
}

async function writeData(
  { partial, onBytes }: Job,
  path: string,
  step: string,
  write: (file: ExternalDataWriter) => Promise<void>,
): Promise<void> {
  const file = await ExternalDataWriter.create(join(partial.folder, path), path, (bytes) => onBytes(step, bytes))
  try {
    await write(file)
  } catch (error) {
    await file.close().catch(() => {}) // the first failure is the one to tell
    throw error
  }
  partial.tell({ path, ...(await file.close()) })
}
