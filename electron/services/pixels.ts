/** Pixels for the window: upright, scaled down once, kept on disk under the content's hash. */
import { createHash } from 'node:crypto'
import { mkdir, rename, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import sharp, { type Sharp } from 'sharp'
import { AppError } from '../contract/errors.ts'

sharp.cache(false)

/** 100 megapixels: a 770 KB file can hold more than that. */
const LIMIT_INPUT_PIXELS = 100_000_000
const TIMEOUT_SECONDS = 20
/** What every browser shows as it is. */
const BROWSER_FORMATS: Record<string, string> = {
  jpeg: 'image/jpeg',
  png: 'image/png',
  webp: 'image/webp',
  gif: 'image/gif',
}

export interface PixelFile {
  path: string
  contentType: string
  etag: string
}

const open = (path: string): Sharp =>
  sharp(path, { limitInputPixels: LIMIT_INPUT_PIXELS, failOn: 'error', sequentialRead: true })

/** Upright size of an image, from its header. @throws IMAGE_UNREADABLE */
export async function uprightSize(path: string): Promise<{ width: number; height: number }> {
  try {
    const { width, height, orientation, pages, pageHeight } = await open(path).metadata()
    const frame = pages !== undefined && pages > 1 ? (pageHeight ?? height) : height
    return (orientation ?? 1) >= 5 ? { width: frame, height: width } : { width, height: frame }
  } catch (error) {
    throw unreadable(path, error)
  }
}

/** Makes and keeps the pictures that the window shows. */
export class PictureCache {
  readonly #dir: string
  readonly #making = new Map<string, Promise<PixelFile>>()
  #active = 0
  readonly #waiting: (() => void)[] = []

  constructor(dir: string) {
    this.#dir = dir
  }

  /**
   * The image as a file that a browser shows upright, at most `width` pixels wide when given: the file itself where that
   * already is so. @throws NOT_FOUND, IMAGE_UNREADABLE
   */
  async get(path: string, contentSha256: string, width: number | null): Promise<PixelFile> {
    const name = `${contentSha256}-${width ?? 'full'}`
    const kept = join(this.#dir, contentSha256.slice(0, 2), `${name}.webp`)
    const etag = `"${createHash('sha256').update(name).digest('hex').slice(0, 32)}"`
    if (await exists(kept)) return { path: kept, contentType: 'image/webp', etag }
    const making = this.#making.get(kept)
    if (making !== undefined) return making
    const made = this.#turn(() => this.#make(path, kept, etag, width)).finally(() => this.#making.delete(kept))
    this.#making.set(kept, made)
    return made
  }

  async #make(path: string, kept: string, etag: string, width: number | null): Promise<PixelFile> {
    if (!(await exists(path))) throw new AppError('NOT_FOUND', `The image file ${path} is gone.`)
    const temporary = `${kept}.${process.pid}.tmp`
    try {
      const header = await open(path).metadata()
      const upright = (header.orientation ?? 1) === 1
      const contentType = BROWSER_FORMATS[header.format ?? '']
      const shownWidth = (header.orientation ?? 1) >= 5 ? header.height : header.width
      const small = width === null || shownWidth <= width
      if (upright && small && contentType !== undefined) return { path, contentType, etag }
      await mkdir(dirname(kept), { recursive: true })
      let picture = open(path).timeout({ seconds: TIMEOUT_SECONDS }).autoOrient()
      if (width !== null) picture = picture.resize({ width, withoutEnlargement: true })
      // WebP ends at 16,383 pixels a side; the wire name stays the cache's, browsers go by the content type.
      const tooLarge = width === null && Math.max(header.width, header.height) > 16_383
      const encoded = tooLarge ? picture.jpeg({ quality: 92 }) : picture.webp({ quality: width === null ? 92 : 82 })
      await encoded.toFile(temporary)
      await rename(temporary, kept)
      return { path: kept, contentType: tooLarge ? 'image/jpeg' : 'image/webp', etag }
    } catch (error) {
      await rm(temporary, { force: true })
      throw unreadable(path, error)
    }
  }

  /** At most two at a time: decoding is memory, and the model wants the processor too. */
  async #turn<T>(work: () => Promise<T>): Promise<T> {
    if (this.#active >= 2) await new Promise<void>((resolve) => this.#waiting.push(resolve))
    this.#active++
    try {
      return await work()
    } finally {
      this.#active--
      this.#waiting.shift()?.()
    }
  }
}

const exists = (path: string) =>
  stat(path).then(
    (info) => info.isFile(),
    () => false,
  )

function unreadable(path: string, error: unknown): AppError {
  if (error instanceof AppError) return error
  const code = (error as NodeJS.ErrnoException).code
  if (code === 'ENOSPC')
    return new AppError('DISK_FULL', `The disk is full: no preview of ${path} could be written.`, { cause: error })
  const reason = String((error as Error).message).split('\n')[0]
  return new AppError('IMAGE_UNREADABLE', `${path} cannot be read as an image: ${reason}`, { cause: error })
}
