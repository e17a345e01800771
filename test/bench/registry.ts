import type { Figure } from './figure.ts'

/** Every figure by its name, in the order of the table; loaded when it is measured. */
export const figures = {
  decode: async () => (await import('./figures/decode.ts')).decode,
  prefill: async () => (await import('./figures/prefill.ts')).prefill,
  perceive: async () => (await import('./figures/perceive.ts')).perceive,
  'second-question': async () => (await import('./figures/secondQuestion.ts')).secondQuestion,
  'captions-20': async () => (await import('./figures/captions20.ts')).captions20,
  convert: async () => (await import('./figures/convert.ts')).convert,
  resident: async () => (await import('./figures/resident.ts')).resident,
  ready: async () => (await import('./figures/ready.ts')).ready,
  throughput: async () => (await import('./figures/throughput.ts')).throughput,
  precision: async () => (await import('./figures/precision.ts')).precision,
  data: async () => (await import('./figures/data.ts')).data,
  gpu: async () => (await import('./figures/gpu.ts')).gpu,
} as const satisfies Record<string, () => Promise<Figure>>

export type FigureName = keyof typeof figures
export const isFigureName = (name: string): name is FigureName => Object.hasOwn(figures, name)
