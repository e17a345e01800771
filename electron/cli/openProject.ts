/** A project for a command, and what lies in its folder. */
import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import type { Context } from './context.ts'

const PROJECT_EXTENSION = '.gromatic'

/** The project's file, whether its ending was written or not. */
export function projectPath(file: string): string {
  const path = resolve(file)
  return existsSync(path) || path.endsWith(PROJECT_EXTENSION) ? path : path + PROJECT_EXTENSION
}

/** Opens a project for a command, and tells what is wrong with it; nothing else is started. */
export async function openProject({ services, progress }: Context, file: string): Promise<void> {
  const { warning } = await services.client.call('project.open', { path: projectPath(file) })
  if (warning !== null) progress.note(warning)
}

/** Reads the project's folder; files that are skipped are named on stderr with the reason. */
export async function scan({ services, progress, signal }: Context) {
  const report = await services.client.run('project.scan', {}, { onProgress: (at) => progress.show(at), signal })
  for (const { fileName, reason } of report.skipped) progress.note(`skipped ${fileName}: ${reason}`)
  return report
}
