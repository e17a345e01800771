/** Files that appear whole or not at all: written beside their target, synced, renamed, and the folder synced. */
import { existsSync } from 'node:fs'
import { type FileHandle, open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { DbError, toDbError } from '../errors.ts'
import { fsyncDirectory } from '../migrations/migrate.ts'
import { PROJECT_EXTENSION } from '../project.ts'
import { removeLeftovers, temporaryFor } from './temporary.ts'

const CHUNK_CHARACTERS = 256 * 1024

/** A text file in the making. `write` keeps to memory until a piece is full; `commit` puts the file in its place. */
export class AtomicFile {
  readonly path: string
  readonly #temporary: string
  readonly #handle: FileHandle
  #pieces: string[] = []
  #characters = 0

  private constructor(path: string, temporary: string, handle: FileHandle) {
    this.path = path
    this.#temporary = temporary
    this.#handle = handle
  }

  /**
   * Opens the temporary file; what killed runs left of it goes.
   * @throws NOT_FOUND, READ_ONLY, DISK_FULL; ALREADY_EXISTS where a project lies, whoever wants it replaced
   */
  static async create(path: string): Promise<AtomicFile> {
    if (path.toLowerCase().endsWith(PROJECT_EXTENSION) && existsSync(path))
      throw new DbError('ALREADY_EXISTS', `${path} is a project: choose another name.`)
    await removeLeftovers(path)
    const temporary = temporaryFor(path)
    try {
      return new AtomicFile(path, temporary, await open(temporary, 'w+'))
    } catch (error) {
      throw toDbError(error, `${path} cannot be written`)
    }
  }

  async write(text: string): Promise<void> {
    this.#pieces.push(text)
    this.#characters += text.length
    if (this.#characters >= CHUNK_CHARACTERS) await this.#flush()
  }

  async #flush(): Promise<void> {
    const text = this.#pieces.join('')
    this.#pieces = []
    this.#characters = 0
    if (text === '') return
    try {
      await this.#handle.appendFile(text, 'utf8')
    } catch (error) {
      throw toDbError(error, `${this.path} could not be written`)
    }
  }

  /** Adds everything that was written to another (unfinished) file. @throws DISK_FULL, IO_FAILED */
  async append(part: AtomicFile): Promise<void> {
    await this.#flush()
    await part.#flush()
    const buffer = Buffer.allocUnsafe(4 * CHUNK_CHARACTERS)
    try {
      for (let position = 0; ; ) {
        const { bytesRead } = await part.#handle.read(buffer, 0, buffer.length, position)
        if (bytesRead === 0) return
        position += bytesRead
        await this.#handle.appendFile(buffer.subarray(0, bytesRead))
      }
    } catch (error) {
      throw toDbError(error, `${this.path} could not be written`)
    }
  }

  /** Everything on the disk, still under the temporary name: after this only the rename can fail. @throws DISK_FULL, IO_FAILED */
  async finish(): Promise<void> {
    await this.#flush()
    try {
      await this.#handle.sync()
      await this.#handle.close()
    } catch (error) {
      throw toDbError(error, `${this.path} could not be written`)
    }
  }

  /** Puts the finished file in its place. @throws IO_FAILED */
  async publish(): Promise<void> {
    try {
      await rename(this.#temporary, this.path)
    } catch (error) {
      throw toDbError(error, `${this.path} could not be put in its place`)
    }
    fsyncDirectory(dirname(this.path))
  }

  /** Removes what is not published. Never throws. */
  async abort(): Promise<void> {
    await this.#handle.close().catch(() => undefined)
    await rm(this.#temporary, { force: true }).catch(() => undefined)
  }
}
