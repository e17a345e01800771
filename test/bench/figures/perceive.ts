import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { type BenchContext, type Figure, type FigureRecord, Missing, type Row } from '../figure.ts'

const row: Row = {
  case: '',
  unit: 's',
  referenceName: 'PyTorch fp32',
  ratio: 'reference/value',
  goal: { of: 'ratio', at: '>=', limit: 5 },
}
const ENTRY = new URL('../perceive.ts', import.meta.url)

export const perceive: Figure = {
  work: "image to proposals and 100 region tokens, release shapes, beside the training folder's PyTorch model",
  rows: [row],
  async measure(context) {
    if (!existsSync(fileURLToPath(ENTRY))) throw new Missing('test/bench/perceive.ts is not part of this copy.')
    const { perceive } = (await import(ENTRY.href)) as { perceive: (context: BenchContext) => Promise<FigureRecord[]> }
    return perceive(context)
  },
}
