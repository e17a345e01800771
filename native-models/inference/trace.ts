import { createHash } from 'node:crypto'
import type { BoxCxcywh } from '../geometry/boxes.ts'
import { buildPrompt, promptParts } from '../groma/prompt.ts'
import { bestRegionForEach, type RegionOrder, selectRegions } from '../groma/regionSelection.ts'
import type { RgbImage } from '../preprocess/image.ts'
import { generate } from './generate.ts'
import type { ImageMemory } from './imageMemory.ts'
import type { LoadedModel } from './loadModel.ts'
import { embedQuestion, splitPrompt } from './promptEmbedding.ts'
import { floats, floatsOf } from './session.ts'

export interface TraceInput {
  /** as the authors write it: special tokens in it are special */
  query: string
  boxesCxcywh?: readonly BoxCxcywh[]
  /** order of the regions: by descending score, or the other way round */
  order?: RegionOrder
  maxNewTokens?: number
  /** the pixels and every hidden state as well */
  allTensors?: boolean
  signal?: AbortSignal
}

/** One question as the engine saw it, in the words of the reference's expected.json. */
export interface TraceCase {
  width: number
  height: number
  prompt: string
  /** before regions and image are filled in */
  input_ids: number[]
  output_ids: number[]
  output_text: string
  /** per step the best five [id, logit] */
  top5: [number, number][][]
  /** in token order */
  selected_cxcywh: number[][]
  proposals: { boxes_cxcywh: number[][]; score: number[] }
}

export interface TraceTensor {
  shape: readonly number[]
  data: Float32Array
}

export interface Trace {
  case: TraceCase
  /** `image_tokens`, `region_tokens`, `first_logits`; with all tensors also `pixels` and `hidden_states.k` */
  tensors: Record<string, TraceTensor>
}

const TOP = 5
const DEFAULT_NEW_TOKENS = 24

/**
 * Runs one question and keeps what the reference keeps.
 * @throws GromaError CANCELLED, INPUT_INVALID when the question refers to more boxes than there are
 */
export async function runTrace(
  model: LoadedModel,
  memory: ImageMemory,
  image: RgbImage,
  { query, boxesCxcywh = [], order = 'score', maxNewTokens = DEFAULT_NEW_TOKENS, allTensors, signal }: TraceInput,
): Promise<Trace> {
  const { tokenizer, language, config } = model
  const key = createHash('sha256').update(`${image.width}x${image.height}:`).update(image.data).digest('hex')
  const perception = await memory.perceive(image, key, signal)
  const { proposals } = perception
  const userBoxes = boxesCxcywh.flat()
  const selection = selectRegions({ ...proposals, referBoxes: userBoxes, config, order })

  const inputIds = tokenizer.encodeParts(promptParts(query))
  const { tail } = splitPrompt(inputIds, tokenizer.tokens)
  const regionTokens = await memory.regionTokens(perception, selection.boxesCxcywh, signal)
  const referRegions = bestRegionForEach(selection.boxesCxcywh, userBoxes)
  const referFeatures = await memory.regionTokens(
    perception,
    Float32Array.from(
      referRegions.flatMap((region) => [...selection.boxesCxcywh.subarray(region * 4, region * 4 + 4)]),
    ),
    signal,
  )
  const { generated, firstLogits } = await generate(language, {
    prefix: await memory.prefix(perception, selection, { signal }),
    tails: [embedQuestion(language, tokenizer.tokens, tail, { referRegions, referFeatures })],
    maxNewTokens,
    eosTokenId: tokenizer.tokens.eos,
    topCount: TOP,
    guardCycles: false,
    timeLimitMs: Number.POSITIVE_INFINITY,
    signal,
  })
  const { ids, top } = generated[0]!
  const width = config.llm.hiddenSize
  const imageTokens = await memory.imageTokens(perception, signal)
  return {
    case: {
      width: image.width,
      height: image.height,
      prompt: buildPrompt(query),
      input_ids: inputIds,
      output_ids: ids,
      output_text: tokenizer.decode(ids),
      top5: top,
      selected_cxcywh: rowsOf(selection.boxesCxcywh, 4),
      proposals: { boxes_cxcywh: rowsOf(proposals.boxesCxcywh, 4), score: [...proposals.scores] },
    },
    tensors: {
      image_tokens: { shape: [imageTokens.length / width, width], data: imageTokens },
      region_tokens: { shape: [regionTokens.length / width, width], data: regionTokens },
      first_logits: { shape: [firstLogits[0]!.length], data: firstLogits[0]! },
      ...(allTensors ? await everyState(model, memory.pixels(perception)) : {}),
    },
  }
}

async function everyState(model: LoadedModel, pixels: Float32Array): Promise<Record<string, TraceTensor>> {
  const { imageSize, side } = model.facts
  const { layerCount, hiddenSize } = model.config.vision
  const session = await model.allStates()
  const outputs = await session.run({ pixel_values: floats(pixels, 1, 3, imageSize, imageSize) })
  const tensors: Record<string, TraceTensor> = { pixels: { shape: [3, imageSize, imageSize], data: pixels } }
  for (let k = 0; k <= layerCount; k++) {
    tensors[`hidden_states.${k}`] = {
      shape: [1 + side * side, hiddenSize],
      data: floatsOf(outputs, `hidden_state.${k}`),
    }
  }
  return tensors
}

function rowsOf(data: Float32Array, width: number): number[][] {
  return Array.from({ length: data.length / width }, (_, row) => [...data.subarray(row * width, (row + 1) * width)])
}
