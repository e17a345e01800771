/** Pictures of an imported data set, copied into the project's folder: never over a file that is there. */
import { existsSync, statSync } from 'node:fs'
import { copyFile, mkdir, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { listFilesBelow } from '../../db/formats/textFile.ts'
import { FileNames } from '../../db/imports/imageMatcher.ts'
import type { Progress } from '../contract/api.ts'
import { AppError } from '../contract/errors.ts'
import { IMAGE_FILE } from './files.ts'

export interface FoundImages {
  /** Absolute path, and the name relative to the folder they were found in. */
  files: { path: string; name: string }[]
  /** How many were not found. */
  missing: number
}

/** Looks below `folder` for the named pictures, whatever their case and folders. @throws NOT_FOUND */
export function findImages(folder: string, wanted: readonly string[]): FoundImages {
  const root = existsSync(folder) && statSync(folder).isFile() ? dirname(folder) : folder
  const known = new FileNames(listFilesBelow(root).filter((name) => IMAGE_FILE.test(name)))
  const names = new Set<string>()
  let missing = 0
  for (const name of wanted) {
    const found = known.find(name)
    if (found === null) missing++
    else names.add(found)
  }
  return { files: [...names].map((name) => ({ path: join(root, name), name })), missing }
}

/**
 * Copies into a hidden folder first, so that a copy that is cut short leaves no half picture behind.
 * @returns how many were copied; files whose name is taken are left as they are
 * @throws CANCELLED, DISK_FULL, IO_FAILED
 */
export async function bringImages(
  files: FoundImages['files'],
  imagesDir: string,
  { signal, progress }: { signal: AbortSignal; progress: (progress: Progress) => void },
): Promise<number> {
  const staging = join(imagesDir, '.gromatic-import')
  const ready: { from: string; to: string }[] = []
  await rm(staging, { recursive: true, force: true })
  try {
    for (const [index, { path, name }] of files.entries()) {
      if (signal.aborted) throw new AppError('CANCELLED', 'The import was cancelled.')
      const to = join(imagesDir, name)
      if (existsSync(to)) continue
      const from = join(staging, name)
      await mkdir(dirname(from), { recursive: true })
      await copyFile(path, from)
      ready.push({ from, to })
      progress({ done: index + 1, total: files.length, note: `Copying ${name}` })
    }
    for (const { from, to } of ready) {
      await mkdir(dirname(to), { recursive: true })
      await rename(from, to)
    }
    return ready.length
  } finally {
    await rm(staging, { recursive: true, force: true })
  }
}
