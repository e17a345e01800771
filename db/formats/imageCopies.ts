/** Pictures copied to a hidden folder, which takes the place of the old one at the end. */
import { existsSync } from 'node:fs'
import { mkdir, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { toDbError } from '../errors.ts'
import { portablePath, UniqueNames } from './imageLayout.ts'

export type CopyImage = (from: string, to: string) => Promise<void>

/** Copies pictures into one folder under names that are theirs alone, or under their own. */
export class PictureNames {
  readonly #names = new UniqueNames()
  readonly #keepNames: boolean
  readonly #from: string
  readonly #copy: CopyImage | null
  readonly notes: string[] = []

  /** `copy` null: nothing is copied, names stay what they are. */
  constructor(from: string, copy: CopyImage | null, keepNames: boolean) {
    this.#from = from
    this.#copy = copy
    this.#keepNames = keepNames
  }

  /** The name of a picture in the export, relative with `/`; copied to `folder` if pictures are, as `wanted` where that is free. One that cannot be copied is noted, not fatal. */
  async add(fileName: string, folder: string, wanted = fileName): Promise<string> {
    if (this.#copy === null) return fileName
    const name = this.#keepNames ? portablePath(fileName) : this.#names.nameFor(wanted)
    const to = join(folder, name)
    try {
      await mkdir(dirname(to), { recursive: true })
      await this.#copy(join(this.#from, fileName), to)
    } catch (error) {
      const failed = toDbError(error, `${fileName} could not be copied`)
      if (failed.code === 'DISK_FULL') throw failed
      this.notes.push(failed.message)
    }
    return name
  }
}

/** A folder in the making: hidden beside its place until it is published. */
export class FolderInMaking {
  readonly folder: string
  readonly temporary: string

  constructor(folder: string) {
    this.folder = folder
    this.temporary = join(dirname(folder), `.${basename(folder)}.gromatic-tmp`)
  }

  async begin(): Promise<void> {
    await rm(this.temporary, { recursive: true, force: true })
    await mkdir(this.temporary, { recursive: true })
  }

  async publish(): Promise<void> {
    const old = `${this.temporary}.old`
    await rm(old, { recursive: true, force: true })
    if (existsSync(this.folder)) await rename(this.folder, old)
    await rename(this.temporary, this.folder)
    await rm(old, { recursive: true, force: true })
  }

  async abort(): Promise<void> {
    await rm(this.temporary, { recursive: true, force: true }).catch(() => undefined)
  }
}
