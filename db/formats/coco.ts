/** COCO that loads everywhere: the same writer for a project and for a run without one. The same bytes for the same records. */
import { existsSync, statSync } from 'node:fs'
import { copyFile, mkdir, open, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { DbError, throwIfAborted, toDbError } from '../errors.ts'
import type { ExportSource } from '../exportSource.ts'
import type { CocoBox } from './cocoRecords.ts'
import { CONTRIBUTOR, CocoWriter, captionsPathFor, rejectedPathFor } from './cocoWriter.ts'
import type { ExportOptions, ExportReport } from './format.ts'
import { imagesFolderFor, UniqueNames } from './imageLayout.ts'

export interface CocoItem {
  /** `id` from 1; given by order when it is left out. `fileName` relative with `/`; sizes upright, pixels. */
  image: { id?: number; fileName: string; width: number; height: number; status?: 'ready' | 'missing' }
  /** A box without `status` is always exported; `id`s from 1 and unique, given by order when left out. */
  annotations: readonly CocoBox[]
}

export interface CocoInput {
  /** For `info.description`. */
  name: string
  items: Iterable<CocoItem> | AsyncIterable<CocoItem>
  /** Known classes; boxes may also name theirs by `categoryName`. */
  categories?: readonly { id: number; name: string }[]
  /** Only for progress. */
  imageCount?: number | null
  /** Where the pictures lie; needed by `copyImages`. */
  imagesDir?: string
}

export type WriteCocoOptions = Partial<Omit<ExportOptions, 'path'>>

/** Pictures copied to a hidden folder, which takes the place of the old one at the end. */
class ImageCopies {
  readonly #folder: string
  readonly #temporary: string
  readonly #names = new UniqueNames()
  readonly #from: string
  readonly #copy: (from: string, to: string) => Promise<void>
  readonly notes: string[] = []

  constructor(path: string, from: string, copy: (from: string, to: string) => Promise<void>) {
    this.#folder = imagesFolderFor(path)
    this.#temporary = join(
      dirname(this.#folder),
      `.${this.#folder.slice(dirname(this.#folder).length + 1)}.gromatic-tmp`,
    )
    this.#from = from
    this.#copy = copy
  }

  get folder(): string {
    return this.#folder
  }

  async begin(): Promise<void> {
    await rm(this.#temporary, { recursive: true, force: true })
    await mkdir(this.#temporary, { recursive: true })
  }

  /** Returns the name of the picture in the export. A picture that cannot be copied is noted, not fatal. */
  async add(fileName: string): Promise<string> {
    const name = this.#names.nameFor(fileName)
    try {
      await this.#copy(join(this.#from, fileName), join(this.#temporary, name))
    } catch (error) {
      const failed = toDbError(error, `${fileName} could not be copied`)
      if (failed.code === 'DISK_FULL') throw failed
      this.notes.push(failed.message)
    }
    return name
  }

  async publish(): Promise<void> {
    const old = `${this.#temporary}.old`
    await rm(old, { recursive: true, force: true })
    if (existsSync(this.#folder)) await rename(this.#folder, old)
    await rename(this.#temporary, this.#folder)
    await rm(old, { recursive: true, force: true })
  }

  async abort(): Promise<void> {
    await rm(this.#temporary, { recursive: true, force: true }).catch(() => undefined)
  }
}

/** True when `path` is an earlier export of ours, told by its first bytes: a script may write it again without asking. */
export async function isOwnExport(path: string): Promise<boolean> {
  const file = await open(path).catch(() => null)
  if (file === null) return false
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(1024), 0, 1024, 0)
    const [head = ''] = buffer.toString('utf8', 0, bytesRead).split('\n')
    return head.startsWith('{"info":{') && head.includes(`"contributor":${JSON.stringify(CONTRIBUTOR)}`)
  } catch {
    return false // a folder, or not to be read: not ours to replace
  } finally {
    await file.close()
  }
}

function checkTarget(path: string, copies: ImageCopies | null, overwrite: boolean): void {
  if (existsSync(path) && statSync(path).isDirectory()) throw new DbError('INVALID_INPUT', `${path} is a folder.`)
  if (overwrite) return
  const taken = [path, captionsPathFor(path), rejectedPathFor(path), ...(copies === null ? [] : [copies.folder])].find(
    (target) => existsSync(target),
  )
  if (taken !== undefined) throw new DbError('ALREADY_EXISTS', `${taken} exists already.`)
}

/**
 * Writes `path` (instances), `<stem>.captions.json` and `<stem>.rejected.jsonl` (each only when there is something to
 * say). Everything is written aside, synced and renamed: whatever happens, the old files stay whole until the new ones are.
 * @throws ALREADY_EXISTS, INVALID_INPUT, READ_ONLY, DISK_FULL, CANCELLED, IO_FAILED
 */
export async function writeCoco(path: string, input: CocoInput, options: WriteCocoOptions = {}): Promise<ExportReport> {
  const { status = 'accepted', overwrite = false, signal, onProgress, copyImage = copyFile } = options
  const copies = options.copyImages ? new ImageCopies(path, input.imagesDir ?? dirname(path), copyImage) : null
  checkTarget(path, copies, overwrite)
  throwIfAborted(signal, 'The export')
  let writer: CocoWriter | null = null
  try {
    await mkdir(dirname(path), { recursive: true })
    await copies?.begin()
    writer = await CocoWriter.create(path, input, status)
    let done = 0
    for await (const item of input.items) {
      throwIfAborted(signal, 'The export')
      const name = copies === null ? item.image.fileName : await copies.add(item.image.fileName)
      await writer.add(item, name)
      onProgress?.({ done: ++done, total: input.imageCount ?? null, note: item.image.fileName })
      // a long export leaves room for the clicks that come meanwhile
      if (done % 32 === 0) await new Promise((resume) => setImmediate(resume))
    }
    throwIfAborted(signal, 'The export')
    const written = await writer.publish(async () => copies?.publish())
    return { path, ...written, notes: [...written.notes, ...(copies?.notes ?? [])] }
  } catch (error) {
    await writer?.abort()
    await copies?.abort()
    throw toDbError(error, `${path} could not be written`)
  }
}

/** Exports a project. The source stays open: close it when done. @throws as {@link writeCoco} */
export function exportCoco(source: ExportSource, options: ExportOptions): Promise<ExportReport> {
  const { path, ...rest } = options
  const { name, categories, imageCount, imagesDir } = source
  return writeCoco(path, { name, categories, imageCount, imagesDir, items: source.items() }, rest)
}
