import type { EngineHost } from '../engine/engineHost.ts'

/** What `annotate` is asked to do, whichever way its results go. */
export const TASKS = ['propose', 'describe', 'caption', 'ground'] as const

export interface AnnotateOptions {
  model: string
  project?: string
  out?: string
  task: (typeof TASKS)[number]
  phrase?: string[]
  minScore?: number
  overwrite?: boolean
  workers?: number
}

/** The question that a description answers: the authors' own. */
export const DESCRIBE = 'Give me a concise description of the image.'

/** Whether the model failed with an image whose file is sound. */
export const isOfModel = (code: string): boolean => code === 'ENGINE_FAULT' || code === 'ENGINE_CRASHED'

/** Whether something is wrong with one image alone: it is named and skipped, the others go on. */
export function isOfOneImage(code: string, engine: Pick<EngineHost, 'failure'>): boolean {
  // A process that an image takes down is started again, unless that happens too often.
  if (code === 'ENGINE_CRASHED') return engine.failure() === null
  return isOfModel(code) || code === 'IMAGE_UNREADABLE' || code === 'NOT_FOUND'
}
