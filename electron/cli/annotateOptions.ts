/** What `annotate` is asked to do, whichever way its results go. */
import { type Context, loadModel } from './context.ts'

export const TASKS = ['propose', 'describe', 'caption', 'ground'] as const

export interface AnnotateOptions {
  model: string
  project?: string
  out?: string
  task: (typeof TASKS)[number]
  phrase?: string[]
  minScore?: number
  overwrite?: boolean
}

/** The question that a description answers: the authors' own. */
export const DESCRIBE = 'Give me a concise description of the image.'

/** What is wrong with one image alone: it is named and skipped, the others go on. */
export const SKIPPED_CODES: readonly string[] = ['IMAGE_UNREADABLE', 'NOT_FOUND', 'ENGINE_FAULT']

/** Loads the model once there is something for it to do. */
export async function needModel(context: Context, model: string): Promise<void> {
  if (context.services.engine.state().status === 'stopped') await loadModel(context, model)
}
