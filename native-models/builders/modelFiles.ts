import { z } from 'zod'

/** How weights of the language model are stored: int8 and int4 in blocks along each row, with a scale a block. */
export const LLM_PRECISIONS = ['fp32', 'fp16', 'int8', 'int4'] as const
/** The same for everything that looks at pixels: vision encoder and region encoder. */
export const VISION_PRECISIONS = ['fp32', 'int8'] as const
export interface Precision {
  llm: (typeof LLM_PRECISIONS)[number]
  vision: (typeof VISION_PRECISIONS)[number]
}

/** Graphs of an engine folder, in the order in which data flows; each lies in `<name>.onnx` and `<name>.onnx.data`. */
export const GRAPHS = [
  'vision-encoder',
  'proposal-head',
  'image-tokens',
  'region-maps',
  'region-head',
  'decoder',
] as const
export type GraphName = (typeof GRAPHS)[number]

/** The decoder once more with int8 weights, same inputs and outputs, for long prompts on a CPU; not every folder has it. */
export const PREFILL_GRAPH = 'decoder-prefill'
export const ALL_GRAPHS = [...GRAPHS, PREFILL_GRAPH] as const
export type AnyGraphName = (typeof ALL_GRAPHS)[number]

export const graphFile = (name: AnyGraphName): string => `${name}.onnx`
export const dataFile = (name: AnyGraphName): string => `${name}.onnx.data`
/** The vision encoder again with every hidden state as an output, over the same data: for traces. */
export const ALL_STATES_FILE = 'vision-encoder.all-states.onnx'
/**
 * [vocabulary, hidden], row-major, little-endian: one row is read for each token. float32 or, for weights of fewer bits,
 * float16, which is what the release stores: nothing is lost and nothing gained by fewer, since rows are not kept in memory.
 */
export const embeddingsFile = (llm: string): string => `token-embeddings.${llm === 'fp32' ? 'f32' : 'f16'}`
export const CONFIG_FILE = 'config.json'
/** Copied as they are where the checkpoint has them. */
export const COPIED_FILES = [
  CONFIG_FILE,
  'preprocessor_config.json',
  'generation_config.json',
  'tokenizer.model',
  'tokenizer_config.json',
  'added_tokens.json',
  'special_tokens_map.json',
] as const

const size = z.int().positive()
/** What the graphs expect beyond the checkpoint's own configuration: `engine` in the manifest's config. */
export const GraphFacts = z.object({
  /** side of the square picture, pixels */
  imageSize: size,
  /** patches along it */
  side: size,
  /** outputs `hidden_state.k` of the vision encoder */
  hiddenStates: z.array(z.int().nonnegative()),
  /** of the maps that the region head reads */
  regionChannels: size,
  /** bins along a region's side */
  regionBins: size,
})
export type GraphFacts = z.infer<typeof GraphFacts>
