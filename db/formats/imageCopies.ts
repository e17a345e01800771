/** Pictures copied to a hidden folder, which takes the place of the old one at the end. */
import { existsSync, readdirSync, realpathSync } from 'node:fs'
import { mkdir, rename, rm, writeFile } from 'node:fs/promises'
import { dirname, isAbsolute, join, relative, sep } from 'node:path'
import { DbError, toDbError } from '../errors.ts'
import { imagesFolderFor, portablePath, UniqueNames } from './imageLayout.ts'
import { removeLeftovers, temporaryFor } from './temporary.ts'

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
  readonly #mark: string | null

  /** `mark`: the name of an empty file to lie in it. */
  constructor(folder: string, mark: string | null = null) {
    this.folder = folder
    this.#mark = mark
    this.temporary = temporaryFor(folder)
  }

  async begin(): Promise<void> {
    await removeLeftovers(this.folder)
    await mkdir(this.temporary, { recursive: true })
    if (this.#mark !== null) await writeFile(join(this.temporary, this.#mark), '')
  }

  async publish(): Promise<void> {
    const old = `${this.temporary}.old`
    if (existsSync(this.folder)) await rename(this.folder, old)
    await rename(this.temporary, this.folder)
    await rm(old, { recursive: true, force: true })
  }

  async abort(): Promise<void> {
    await rm(this.temporary, { recursive: true, force: true }).catch(() => undefined)
  }
}

/** Lies among copies: a folder without it is somebody's own. Hidden, because loaders take all that they see for pictures. */
const COPIES = '.gromatic-copies'

/** Never replaces a folder that the pictures of the project lie in. @throws ALREADY_EXISTS */
export function checkOwnPictures(folder: string, imagesDir: string): void {
  if (!existsSync(folder) || !existsSync(imagesDir)) return
  const path = relative(realpathSync(folder), realpathSync(imagesDir))
  if (path === '..' || path.startsWith(`..${sep}`) || isAbsolute(path)) return
  throw new DbError('ALREADY_EXISTS', `${folder} holds the pictures of this project: choose another place.`)
}

/** The folder of pictures beside a file; one that is there is replaced only where it holds copies of ours. @throws ALREADY_EXISTS */
export function copiesBeside(path: string, imagesDir: string, overwrite: boolean): FolderInMaking {
  const folder = imagesFolderFor(path)
  if (existsSync(folder) && readdirSync(folder).length > 0) {
    if (!overwrite) throw new DbError('ALREADY_EXISTS', `${folder} exists already.`)
    checkOwnPictures(folder, imagesDir)
    if (!existsSync(join(folder, COPIES)))
      throw new DbError(
        'ALREADY_EXISTS',
        `${folder} exists already and holds no copies of ours: choose another place, or move it away.`,
      )
  }
  return new FolderInMaking(folder, COPIES)
}
