import type { Figure } from '../figure.ts'
import { perceive as measure, row } from '../perceive.ts'

export const perceive: Figure = {
  work: "image to proposals and 100 region tokens, release shapes, beside the training folder's PyTorch model",
  rows: [row],
  measure,
}
