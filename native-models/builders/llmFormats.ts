import type { GromaConfig } from '../groma/config.ts'
import type { AnyLinearFormat } from '../onnx/linearFormats.ts'
import type { LinearFormat } from '../onnx/ops.ts'
import type { Precision } from './modelFiles.ts'

/**
 * How keys and values of a prompt are kept: as they were computed, or in 8 bits with a scale for each token and head: a
 * quarter of the memory, and no slower, since what is saved in reading pays for making floats of them.
 */
export type PromptFormat = 'float32' | 'int8'

/** How the parts of the language model are kept. */
export interface LlmFormats<Format = AnyLinearFormat> {
  /** what makes queries, keys and values: where the model looks hangs on it */
  qkv: Format
  /** what joins the heads again */
  output: Format
  /** gate, up and down */
  layers: Format
  /** the matrix that gives the logits */
  head: Format
  prompt: PromptFormat
  /** how a prompt in 8 bits is multiplied: as it is, for few rows at a time, or as floats made of it */
  attention: 'integer' | 'float'
  /** how keys and values of a run's own tokens come out */
  present: PromptFormat
}

const all = <Format>(format: Format, prompt: PromptFormat): LlmFormats<Format> => ({
  qkv: format,
  output: format,
  layers: format,
  head: format,
  prompt,
  attention: prompt === 'int8' ? 'integer' : 'float',
  present: 'float32',
})

/** Width of the language model from which on speed hangs on the bytes of its weights: the release has 4096. */
const WIDE = 2048

/**
 * What a precision means for each part. Narrow models suffer most from few bits and have few bytes to lose: with 4 bits
 * throughout the demo model gives other grounded answers than with floats more often than the 5% that are allowed, so
 * only gate, up and down have 4, in short blocks (README, Precision). Wide models take blocks of 128, the
 * usual size for language models of billions of weights (AWQ, arXiv 2306.00978; GPTQ, arXiv 2210.17323).
 */
export function llmFormats(
  llm: Precision['llm'],
  { hiddenSize, headSize }: Pick<GromaConfig['llm'], 'hiddenSize' | 'headSize'>,
): LlmFormats<LinearFormat> {
  // blocks are of 16 values or a multiple
  const prompt: PromptFormat = headSize % 16 === 0 ? 'int8' : 'float32'
  switch (llm) {
    case 'fp32':
    case 'fp16':
      return all<LinearFormat>(llm, 'float32')
    case 'int8':
      return all<LinearFormat>({ bits: 8, blockSize: 128 }, prompt)
    case 'int4':
      if (hiddenSize >= WIDE) return all<LinearFormat>({ bits: 4, blockSize: 128 }, prompt)
      return { ...all<LinearFormat>({ bits: 8, blockSize: 128 }, prompt), layers: { bits: 4, blockSize: 32 } }
    default:
      return llm satisfies never
  }
}

/** Whether long prompts are worth a decoder of their own: where weights of few bits are slow and there are many. */
export function wantsPrefillGraph(llm: Precision['llm'], hiddenSize: number): boolean {
  return hiddenSize >= WIDE && (llm === 'int4' || llm === 'int8')
}

/** The graph for long prompts: twice as fast as 4 bits from some 64 rows on, slower below (README, Prefill). */
export const prefillFormats = ({ prompt }: LlmFormats): LlmFormats => ({
  ...all<AnyLinearFormat>('int8-rows', prompt),
  head: { bits: 8, blockSize: 128 }, // of one row
  attention: 'float',
  present: prompt, // as the prompt keeps them: rounding them elsewhere took a tenth of a run
})
