/** What stands behind each call of the contract: a function of its parsed input. */
import type { CallName, JobName, Output, ParsedInput, ProgressOf } from '../contract/api.ts'

export interface JobContext<K extends CallName> {
  signal: AbortSignal
  progress: (progress: K extends JobName ? ProgressOf<K> : never) => void
}

export type Handler<K extends CallName> = (
  input: ParsedInput<K>,
  context: JobContext<K>,
) => Output<K> | Promise<Output<K>>
export type Handlers = { [K in CallName]: Handler<K> }
