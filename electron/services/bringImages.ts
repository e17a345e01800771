/** Pictures of an imported data set, copied into the project's folder: never over a file that is there. */
import { existsSync, statSync } from 'node:fs'
import { copyFile, mkdir, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { listFilesBelow } from '../../db/formats/textFile.ts'
import { FileNames } from '../../db/imports/imageMatcher.ts'
import type { Progress } from '../contract/api.ts'
import { AppError } from '../contract/errors.ts'
import { IMAGE_FILE } from './files.ts'
import { probeImage } from './pixels.ts'

export interface FoundImages {
  /** Absolute path, the name relative to the folder they were found in, and what the data set calls it. */
  files: { path: string; name: string; wanted: string }[]
  /** How many were not found. */
  missing: number
}

/** Looks below `folder` for the named pictures, whatever their case and folders. @throws NOT_FOUND */
export function findImages(folder: string, wanted: readonly string[]): FoundImages {
  const root = existsSync(folder) && statSync(folder).isFile() ? dirname(folder) : folder
  const known = new FileNames(listFilesBelow(root).filter((name) => IMAGE_FILE.test(name)))
  const files = new Map<string, FoundImages['files'][number]>()
  let missing = 0
  for (const name of wanted) {
    const found = known.find(name)
    if (found === null) missing++
    else files.set(found, { path: join(root, found), name: found, wanted: name })
  }
  return { files: [...files.values()], missing }
}

interface Job {
  signal: AbortSignal
  progress: (progress: Progress) => void
}

/** Sides of pictures by what the data set calls them; those that cannot be read are left out. @throws CANCELLED */
export async function sizesOf(
  files: FoundImages['files'],
  { signal, progress }: Job,
): Promise<Map<string, { width: number; height: number }>> {
  const sizes = new Map<string, { width: number; height: number }>()
  for (const [index, { path, wanted, name }] of files.entries()) {
    if (signal.aborted) throw new AppError('CANCELLED', 'The import was cancelled.')
    const size = await probeImage(path).catch(() => null)
    if (size !== null) sizes.set(wanted, size)
    if (index % 32 === 0) progress({ done: index, total: files.length, note: `Looking at ${name}` })
  }
  return sizes
}

/**
 * Copies into a hidden folder first, so that a copy that is cut short leaves no half picture behind.
 * @returns how many were copied; files whose name is taken are left as they are
 * @throws CANCELLED, DISK_FULL, IO_FAILED
 */
export async function bringImages(
  files: FoundImages['files'],
  imagesDir: string,
  { signal, progress }: Job,
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
