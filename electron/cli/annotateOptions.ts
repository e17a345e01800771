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

/** What is wrong with one image alone: it is named and skipped, the others go on. */
export const SKIPPED_CODES: readonly string[] = ['IMAGE_UNREADABLE', 'NOT_FOUND', 'ENGINE_FAULT']
