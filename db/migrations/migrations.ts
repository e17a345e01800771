/** The list of migrations: numbered in tens, append-only. `user_version` is the number of the last one applied. */
import { initial } from './0010_initial.ts'
import { imports } from './0020_imports.ts'

export interface Migration {
  /** What `user_version` becomes. */
  version: number
  sql: string
}

export const migrations: readonly Migration[] = [initial, imports]
