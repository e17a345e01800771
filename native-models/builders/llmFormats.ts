import type { LinearFormat } from '../onnx/ops.ts'
import type { Precision } from './modelFiles.ts'

/** How the parts of the language model are kept. */
export interface LlmFormats {
  /** what makes queries, keys and values: where the model looks hangs on it */
  qkv: LinearFormat
  /** all other matrices of the layers */
  layers: LinearFormat
  /** the matrix that gives the logits */
  head: LinearFormat
}

const all = (format: LinearFormat): LlmFormats => ({ qkv: format, layers: format, head: format })

/**
 * What a precision means for each part. int4 keeps queries, keys and values in 8 bits: with 4 bits throughout the demo
 * model gives other grounded answers than with floats more often than the 5% that are allowed (README, Precision).
 */
export const LLM_FORMATS: Record<Precision['llm'], LlmFormats> = {
  fp32: all('fp32'),
  fp16: all('fp16'),
  int8: all({ bits: 8, blockSize: 128 }),
  int4: { ...all({ bits: 4, blockSize: 32 }), qkv: { bits: 8, blockSize: 128 } },
}

/** The format of one of the checkpoint's tensors; null for what is no matrix of the language model. */
export function formatOfTensor(name: string, llm: Precision['llm']): LinearFormat | null {
  const formats = LLM_FORMATS[llm]
  if (/^llm\.model\.layers\.\d+\.self_attn\.[qkv]_proj\.weight$/.test(name)) return formats.qkv
  if (/^llm\.model\.layers\..*_proj\.weight$/.test(name)) return formats.layers
  return /^(llm\.lm_head|extra_lm_head)\.weight$/.test(name) ? formats.head : null
}
