import type { LinearFormat } from '../onnx/ops.ts'
import type { Precision } from './modelFiles.ts'

/** How the parts of the language model are kept. */
export interface LlmFormats {
  /** all matrices of the layers */
  layers: LinearFormat
  /** the matrix that gives the logits */
  head: LinearFormat
}

/** What a precision means for each part. */
export const LLM_FORMATS: Record<Precision['llm'], LlmFormats> = {
  fp32: { layers: 'fp32', head: 'fp32' },
  fp16: { layers: 'fp16', head: 'fp16' },
  int8: { layers: { bits: 8, blockSize: 128 }, head: { bits: 8, blockSize: 128 } },
  int4: { layers: { bits: 4, blockSize: 32 }, head: { bits: 4, blockSize: 32 } },
}
