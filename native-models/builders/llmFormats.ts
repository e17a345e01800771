import type { AnyLinearFormat } from '../onnx/linearFormats.ts'
import type { LinearFormat } from '../onnx/ops.ts'
import type { Precision } from './modelFiles.ts'

/** How the parts of the language model are kept. */
export interface LlmFormats<Format = AnyLinearFormat> {
  /** what makes queries, keys and values: where the model looks hangs on it */
  qkv: Format
  /** all other matrices of the layers */
  layers: Format
  /** the matrix that gives the logits */
  head: Format
}

const all = <Format>(format: Format): LlmFormats<Format> => ({ qkv: format, layers: format, head: format })

/**
 * What a precision means for each part. int4 keeps queries, keys and values in 8 bits: with 4 bits throughout the demo
 * model gives other grounded answers than with floats more often than the 5% that are allowed (README, Precision).
 */
export const LLM_FORMATS: Record<Precision['llm'], LlmFormats<LinearFormat>> = {
  fp32: all<LinearFormat>('fp32'),
  fp16: all<LinearFormat>('fp16'),
  int8: all<LinearFormat>({ bits: 8, blockSize: 128 }),
  int4: { ...all<LinearFormat>({ bits: 4, blockSize: 32 }), qkv: { bits: 8, blockSize: 128 } },
}

/** The graph for long prompts: twice as fast as 4 bits from some 64 rows on, slower below (README, Prefill). */
export const PREFILL_FORMATS: LlmFormats = {
  ...all<AnyLinearFormat>('int8-rows'),
  head: { bits: 8, blockSize: 128 }, // of one row
}

/** The format of one of the checkpoint's tensors; null for what is no matrix of the language model. */
export function formatOfTensor(name: string, llm: Precision['llm']): LinearFormat | null {
  const formats = LLM_FORMATS[llm]
  if (/^llm\.model\.layers\.\d+\.self_attn\.[qkv]_proj\.weight$/.test(name)) return formats.qkv
  if (/^llm\.model\.layers\..*_proj\.weight$/.test(name)) return formats.layers
  return /^(llm\.lm_head|extra_lm_head)\.weight$/.test(name) ? formats.head : null
}
