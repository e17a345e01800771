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

const SKIPPED_CODES: readonly string[] = ['IMAGE_UNREADABLE', 'NOT_FOUND', 'ENGINE_FAULT']

/** Whether something is wrong with one image alone: it is named and skipped, the others go on. */
export function isOfOneImage(code: string, engine: Pick<EngineHost, 'failure'>): boolean {
  // A process that an image takes down is started again, unless that happens too often.
  return SKIPPED_CODES.includes(code) || (code === 'ENGINE_CRASHED' && engine.failure() === null)
}
