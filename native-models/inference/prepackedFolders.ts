import { randomBytes } from 'node:crypto'
import { readdir, rm, rmdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { isRunning } from '../isRunning.ts'

/** Folders of laid-out weights in the cache (`prepacked/MODEL/KEY`), finished ones and those that a process is writing. */

/** A process that writes nothing for so long does not get on with it. One graph may take minutes on a slow disk. */
const SILENCE_MS = 600_000

export const partialName = () => `.${process.pid}-${randomBytes(4).toString('hex')}.partial`

/** Removes finished folders that are of no use, and unfinished ones whose process is gone. */
export async function sweep(root: string, isUseful: (path: string) => Promise<boolean>): Promise<void> {
  for (const model of await foldersIn(root)) {
    for (const key of await foldersIn(join(root, model))) {
      const path = join(root, model, key)
      const owner = ownerOf(key)
      if (owner === null ? await isUseful(path) : isRunning(owner)) continue
      await rm(path, { recursive: true, force: true })
    }
    await rmdir(join(root, model)).catch(() => {}) // what others use is not empty
  }
}

/** None where another process has just removed the folder. */
async function foldersIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => [])
  return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name)
}

/** The process that writes a folder; null when the folder is finished. */
function ownerOf(name: string): number | null {
  const pid = /^\.(\d+)-[0-9a-f]{8}\.partial$/.exec(name)?.[1]
  return pid === undefined ? null : Number(pid)
}

/** Whether another process lays out the same model, and gets on with it. */
export async function isBeingMade(parent: string): Promise<boolean> {
  for (const name of await foldersIn(parent)) {
    const owner = ownerOf(name)
    if (owner === null || owner === process.pid || !isRunning(owner)) continue
    const path = join(parent, name)
    const files = await readdir(path).catch(() => [])
    const found = await Promise.all(['.', ...files].map((file) => stat(join(path, file)).catch(() => null)))
    const changedAt = Math.max(...found.map((file) => file?.mtimeMs ?? 0)) // 0: gone meanwhile
    if (Date.now() - changedAt < SILENCE_MS) return true
  }
  return false
}
