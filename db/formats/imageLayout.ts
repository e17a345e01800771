/** Where copied pictures go: `images/<subset>/`, each under a stem of its own. */
import { basename, dirname, extname, join } from 'node:path'

/** The subset that a file name speaks of: `instances_val.json` -> `val`, `coco.json` -> `coco`. */
export function subsetOf(path: string): string {
  return basename(path, extname(path)).replace(/^instances_/, '') || 'all'
}

/** `images/<subset>` beside the file, or beside its `annotations` folder. Absolute when `path` is. */
export function imagesFolderFor(path: string): string {
  const folder = dirname(path)
  return join(basename(folder) === 'annotations' ? dirname(folder) : folder, 'images', subsetOf(path))
}

const RESERVED = /^(con|prn|aux|nul|com[0-9]|lpt[0-9])$/i

/** Letters that Windows refuses are replaced; the rest of a name stays as people wrote it. */
function portable(stem: string): string {
  const clean = stem.replace(/[<>:"|?*\\\p{Cc}\p{Bidi_Control}]/gu, '_').replace(/[. ]+$/, '') || '_'
  return RESERVED.test(clean) ? `_${clean}` : clean
}

/** A relative path whose every part Windows takes, and that stays below its folder. */
export function portablePath(fileName: string): string {
  return fileName
    .split('/')
    .filter((part) => part !== '' && part !== '.' && part !== '..')
    .map((part) => portable(part))
    .join('/')
}

/** Gives flat names whose stems differ, even where case and composition do not count. Same order, same names. */
export class UniqueNames {
  readonly #taken = new Set<string>()

  /** `fileName` relative with `/`. The plain name if it is free, else the path joined with `_`, else with a number. */
  nameFor(fileName: string): string {
    const extension = extname(fileName)
    const whole = extension === '' ? fileName : fileName.slice(0, -extension.length)
    const candidates = [whole.slice(whole.lastIndexOf('/') + 1), whole.replaceAll('/', '_')].map(portable)
    for (let number = 2; ; number++) {
      for (const stem of candidates) {
        const key = stem.normalize('NFC').toLowerCase()
        if (this.#taken.has(key)) continue
        this.#taken.add(key)
        return stem + extension
      }
      candidates.splice(0, candidates.length, `${portable(whole.replaceAll('/', '_'))}-${number}`)
    }
  }
}
