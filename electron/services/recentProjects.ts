/** The projects that were open lately, newest first. */
import { z } from 'zod'
import { readJsonFile, writeJsonFile } from './jsonFile.ts'

const RecentProject = z.object({ path: z.string(), name: z.string(), openedAt: z.number() })
export type RecentProject = z.infer<typeof RecentProject>

const MAX_RECENT = 20

export class RecentProjects {
  readonly #path: string | null

  /** `path` null keeps nothing: one call of the command line leaves no trace. */
  constructor(path: string | null) {
    this.#path = path
  }

  list(): RecentProject[] {
    return this.#path === null ? [] : readJsonFile(this.#path, z.array(RecentProject), [])
  }

  note(project: RecentProject): void {
    if (this.#path === null) return
    try {
      writeJsonFile(
        this.#path,
        [project, ...this.list().filter(({ path }) => path !== project.path)].slice(0, MAX_RECENT),
      )
    } catch {
      // A list for convenience: a full disk or a read-only home must not keep anyone from opening a project.
    }
  }
}
