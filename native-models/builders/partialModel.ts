import { createHash } from 'node:crypto'
import { appendFileSync } from 'node:fs'
import { open, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import type { Checkpoint } from '../checkpoint/checkpoint.ts'
import { COPIED_FILES } from './modelFiles.ts'
import type { Written } from './tensorOutput.ts'

/** What `stat` counts in. */
const BLOCK_BYTES = 512
const NOTES_FILE = '.progress.jsonl'
const Key = z.object({ key: z.string() })
const Note = z.object({ id: z.string(), bytes: z.number(), written: z.array(z.union([z.number(), z.string()])) })
type Note = z.infer<typeof Note>

/**
 * A model folder that is being written, tensor by tensor. What is written is noted in it with checksums, so that a
 * conversion that was cancelled or killed goes on where it was. Notes are not flushed, and need not be: what they say
 * is checked before it is relied on.
 */
export class PartialModel {
  readonly folder: string
  /** what was written, by tensor */
  readonly written = new Map<string, readonly Written[]>()
  /** bytes of all that */
  #bytes = 0
  #hasGrown = false

  private constructor(folder: string, notes: readonly Note[]) {
    this.folder = folder
    for (const note of notes) this.#remember(note)
  }

  get bytes(): number {
    return this.#bytes
  }

  get isWorthKeeping(): boolean {
    return this.written.size > 0
  }

  /** Whether anything was written since it was opened. */
  get hasGrown(): boolean {
    return this.#hasGrown
  }

  /** What the folder takes of the disk: files have holes where nothing is written yet. */
  async bytesOnDisk(): Promise<number> {
    const names = await readdir(this.folder)
    const stats = await Promise.all(names.map((name) => stat(join(this.folder, name))))
    return stats.reduce((sum, { blocks }) => sum + blocks * BLOCK_BYTES, 0)
  }

  /**
   * Opens a folder, new or left by an earlier conversion; what is in it and was not made under the same key is removed.
   * @param key names the checkpoint and everything that decides what is made of it
   */
  static async open(folder: string, key: string): Promise<PartialModel> {
    const notes = await readNotes(folder, key)
    if (notes.length === 0) {
      for (const name of await readdir(folder)) await rm(join(folder, name), { recursive: true, force: true })
    }
    const lines = [{ key }, ...notes].map((line) => `${JSON.stringify(line)}\n`) // without a last one that was cut short
    await writeFile(join(folder, NOTES_FILE), lines.join(''))
    return new PartialModel(folder, notes)
  }

  note(id: string, bytes: number, written: readonly Written[]): void {
    if (this.written.get(id) === written) return // as it was
    const note = { id, bytes, written: [...written] }
    appendFileSync(join(this.folder, NOTES_FILE), `${JSON.stringify(note)}\n`)
    this.#remember(note)
    this.#hasGrown = true
  }

  /** Removes everything but the model's files, and makes them safe on the disk. */
  async finish(paths: readonly string[]): Promise<void> {
    for (const name of await readdir(this.folder)) {
      if (!paths.includes(name)) await rm(join(this.folder, name), { recursive: true, force: true })
    }
    await Promise.all(paths.map((path) => flush(join(this.folder, path)))) // together: they share the disk's journal
  }

  #remember({ id, bytes, written }: Note): void {
    this.written.set(id, written)
    this.#bytes += bytes
  }
}

/** A name for a checkpoint's content that needs no reading of all of it: its tensors, and size and time of each file that is read. */
export async function checkpointKey(checkpoint: Checkpoint, ...decisions: string[]): Promise<string> {
  const hash = createHash('sha256').update(JSON.stringify([decisions, checkpoint.config, [...checkpoint.tensors]]))
  const names = new Set([...COPIED_FILES, ...[...checkpoint.tensors.values()].map(({ file }) => file)])
  for (const name of [...names].sort()) {
    const found = await stat(join(checkpoint.dir, name), { bigint: true }).catch(() => null)
    hash.update(`${name} ${found?.size} ${found?.mtimeNs}\n`)
  }
  return hash.digest('hex')
}

/** All notes up to the first that cannot be read; none of another key. */
async function readNotes(folder: string, key: string): Promise<Note[]> {
  const text = await readFile(join(folder, NOTES_FILE), 'utf8').catch(() => '')
  const [first = '', ...lines] = text.split('\n')
  if (parse(Key, first)?.key !== key) return []
  const notes: Note[] = []
  for (const line of lines) {
    const note = parse(Note, line)
    if (!note) break
    notes.push(note)
  }
  return notes
}

function parse<T>(schema: z.ZodType<T>, line: string): T | null {
  try {
    return schema.parse(JSON.parse(line))
  } catch {
    return null
  }
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
