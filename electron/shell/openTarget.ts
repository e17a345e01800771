/** What the person asked to open: a file or folder on the command line, a double-clicked project, a second start. */
import { statSync } from 'node:fs'
import { isAbsolute, resolve } from 'node:path'

export type OpenTarget = { kind: 'project' | 'folder'; path: string }

/** A project file or a folder, by what it is on the disk; null for anything else. */
export function openTarget(path: string): OpenTarget | null {
  try {
    const stats = statSync(path)
    if (stats.isDirectory()) return { kind: 'folder', path }
    return stats.isFile() && path.toLowerCase().endsWith('.gromatic') ? { kind: 'project', path } : null
  } catch {
    // A project that is gone is still worth an error that names it; a stray word is not.
    return path.toLowerCase().endsWith('.gromatic') ? { kind: 'project', path } : null
  }
}

/**
 * Finds the thing to open in a command line. The program itself is passed over, and so is the application's folder, which
 * is an argument when it runs from a clone. Chromium reorders and adds switches in a second start: passed over too.
 */
export function openTargetFromArgs(
  argv: readonly string[],
  workingDirectory: string,
  applicationDir: string | null,
): OpenTarget | null {
  for (const argument of argv.slice(1)) {
    if (argument.startsWith('-')) continue
    const path = isAbsolute(argument) ? argument : resolve(workingDirectory, argument)
    if (applicationDir !== null && resolve(path) === resolve(applicationDir)) continue
    const target = openTarget(path)
    if (target !== null) return target
  }
  return null
}
