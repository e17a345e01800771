import { createHash } from 'node:crypto'
import { open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import type { Checkpoint } from '../checkpoint/checkpoint.ts'
import { type EngineFile, enginePath, hashFile } from '../checkpoint/manifest.ts'

const PROGRESS_FILE = '.progress.json'
const Progress = z.object({
  key: z.string(),
  parts: z.array(
    z.object({
      name: z.string(),
      files: z.array(z.object({ path: enginePath, bytes: z.number(), sha256: z.string() })),
      facts: z.unknown().optional(),
    }),
  ),
})
type Progress = z.infer<typeof Progress>

/**
 * A model folder that is being written, part by part. What is finished is written down beside it with its hashes, so that
 * a conversion that was cancelled or killed goes on where it was.
 */
export class PartialModel {
  readonly folder: string
  readonly #progress: Progress
  /** of files in work, told by who wrote them */
  readonly #hashed = new Map<string, EngineFile>()

  private constructor(folder: string, progress: Progress) {
    this.folder = folder
    this.#progress = progress
  }

  /**
   * Opens a folder, new or left by an earlier conversion. Parts stay that were made under the same key and are still,
   * byte for byte, what was written; everything else in the folder is removed.
   * @param key names the checkpoint and everything that decides what is made of it
   */
  static async open(folder: string, key: string, signal?: AbortSignal): Promise<PartialModel> {
    const found = await readProgress(folder)
    const parts: Progress['parts'] = []
    for (const part of found?.key === key ? found.parts : []) {
      const whole = await Promise.all(part.files.map((file) => isWhole(folder, file, signal)))
      if (whole.includes(false)) break // later parts may rest on it
      parts.push(part)
    }
    const kept = new Set(parts.flatMap(({ files }) => files.map(({ path }) => path)))
    for (const name of await readdir(folder)) {
      if (!kept.has(name)) await rm(join(folder, name), { recursive: true, force: true })
    }
    return new PartialModel(folder, { key, parts })
  }

  /** All finished files. */
  get files(): EngineFile[] {
    return this.#progress.parts.flatMap(({ files }) => files)
  }

  /** Saves reading a file again that was hashed while it was written. */
  tell(file: EngineFile): void {
    this.#hashed.set(file.path, file)
  }

  /**
   * Writes a part, unless it is there, and makes it safe on the disk.
   * @param write puts files into the folder; what it returns must survive JSON
   */
  async part<T>(name: string, write: () => Promise<T>): Promise<T> {
    const done = this.#progress.parts.find((part) => part.name === name)
    if (done) return done.facts as T
    const before = new Set(await readdir(this.folder))
    const facts = await write()
    const added = (await readdir(this.folder)).filter((file) => !before.has(file)).sort()
    await Promise.all(added.map((file) => flush(join(this.folder, file)))) // together: they share the disk's journal
    const files: EngineFile[] = []
    for (const path of added) {
      files.push(this.#hashed.get(path) ?? { path, ...(await hashFile(join(this.folder, path))) })
    }
    this.#progress.parts.push({ name, files, facts })
    const path = join(this.folder, PROGRESS_FILE)
    await writeFile(`${path}.new`, JSON.stringify(this.#progress), { flush: true })
    await rename(`${path}.new`, path)
    return facts
  }

  /** Removes the notes: the folder holds the model alone. */
  async finish(): Promise<void> {
    await rm(join(this.folder, PROGRESS_FILE), { force: true })
  }
}

/** A name for a checkpoint's content that needs no reading of all of it: its tensors, and each file's size and time. */
export async function checkpointKey(checkpoint: Checkpoint, ...decisions: string[]): Promise<string> {
  const hash = createHash('sha256').update(JSON.stringify([decisions, checkpoint.config, [...checkpoint.tensors]]))
  for (const name of (await readdir(checkpoint.dir)).sort()) {
    const { size, mtimeNs } = await stat(join(checkpoint.dir, name), { bigint: true })
    hash.update(`${name} ${size} ${mtimeNs}\n`)
  }
  return hash.digest('hex')
}

async function readProgress(folder: string): Promise<Progress | null> {
  try {
    return Progress.parse(JSON.parse(await readFile(join(folder, PROGRESS_FILE), 'utf8')))
  } catch {
    return null // none, or half a one: nothing is kept then
  }
}

async function isWhole(folder: string, file: EngineFile, signal?: AbortSignal): Promise<boolean> {
  const path = join(folder, file.path)
  const size = await stat(path).then(
    (found) => found.size,
    () => -1,
  )
  if (size !== file.bytes) return false
  return (await hashFile(path, signal ? { signal } : {})).sha256 === file.sha256
}

/** Waits until a file or folder is safe on the disk. */
export async function flush(path: string): Promise<void> {
  const isFolder = (await stat(path)).isDirectory()
  if (isFolder && process.platform === 'win32') return // folders cannot be opened there
  const file = await open(path, isFolder ? 'r' : 'r+')
  try {
    await file.sync()
  } finally {
    await file.close()
  }
}
