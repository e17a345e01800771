/** Folders of this machine, for the open and save dialogs of served mode. */
import { readdir, stat } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, isAbsolute, join, resolve } from 'node:path'
import type { z } from 'zod'
import type { DirectoryEntry } from '../contract/api.ts'
import { AppError } from '../contract/errors.ts'
import type { Handlers } from './handlers.ts'

export const IMAGE_FILE = /\.(jpe?g|png|webp|gif|tiff?|avif|bmp)$/i
const MAX_ENTRIES = 5_000

type Entry = z.infer<typeof DirectoryEntry>
const ORDER: Entry['kind'][] = ['directory', 'project', 'image', 'other']

/** A folder's visible entries, folders first; an empty path is the person's own folder. @throws NOT_FOUND, IO_FAILED */
export async function listFiles(path: string) {
  const folder = path === '' || path === '~' ? homedir() : resolve(path)
  if (path !== '' && path !== '~' && !isAbsolute(path))
    throw new AppError('INVALID_INPUT', `${path} is not an absolute path.`)
  let names: import('node:fs').Dirent[]
  try {
    names = await readdir(folder, { withFileTypes: true })
  } catch (error) {
    throw folderError(folder, error)
  }
  const entries: Entry[] = []
  for (const entry of names) {
    if (entry.name.startsWith('.') || entries.length >= MAX_ENTRIES) continue
    const full = join(folder, entry.name)
    const isDirectory = entry.isSymbolicLink()
      ? await stat(full).then(
          (info) => info.isDirectory(),
          () => false,
        )
      : entry.isDirectory()
    entries.push({ name: entry.name, path: full, kind: kindOf(entry.name, isDirectory) })
  }
  entries.sort(
    (a, b) => ORDER.indexOf(a.kind) - ORDER.indexOf(b.kind) || a.name.localeCompare(b.name, 'en', { numeric: true }),
  )
  const parent = dirname(folder)
  return { path: folder, parent: parent === folder ? null : parent, entries }
}

function kindOf(name: string, isDirectory: boolean): Entry['kind'] {
  if (isDirectory) return 'directory'
  if (name.endsWith('.gromatic')) return 'project'
  return IMAGE_FILE.test(name) ? 'image' : 'other'
}

/** Why a folder cannot be read, in a sentence. */
export function folderError(folder: string, error: unknown): AppError {
  const code = (error as NodeJS.ErrnoException).code
  if (code === 'ENOENT') return new AppError('NOT_FOUND', `There is no folder ${folder}.`, { cause: error })
  if (code === 'ENOTDIR') return new AppError('NOT_FOUND', `${folder} is not a folder.`, { cause: error })
  const reason =
    code === 'EACCES' || code === 'EPERM' ? 'it may not be read by this user' : String((error as Error).message)
  return new AppError('IO_FAILED', `Cannot open ${folder}: ${reason}.`, { cause: error })
}

export const fileHandlers = {
  'files.list': ({ path }) => listFiles(path),
} satisfies Partial<Handlers>
