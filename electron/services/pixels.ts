/** Pixels for the window: upright, scaled down once, kept on disk for the file as it is now. */
import { createHash } from 'node:crypto'
import { copyFile, mkdir, open as openFile, rename, rm, stat } from 'node:fs/promises'
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
    const { width, height } = (await open(path).metadata()).autoOrient
    return { width, height }
  } catch (error) {
    throw unreadable(path, error)
  }
}

/**
 * Upright size of an image that can be read to its end. The header is not enough to know that; decoding every file of a
 * large folder would take minutes, so only those whose last bytes are not what they should be are decoded.
 * @throws IMAGE_UNREADABLE with the reason
 */
export async function probeImage(path: string): Promise<{ width: number; height: number }> {
  try {
    const { format, autoOrient } = await open(path).metadata()
    if (!(await endsProperly(path, format ?? ''))) await decodeToEnd(path)
    return { width: autoOrient.width, height: autoOrient.height }
  } catch (error) {
    throw new AppError('IMAGE_UNREADABLE', reasonOf(error), { cause: error })
  }
}

/** @throws Error when pixels are missing. (sharp's `stats()` takes two of five cut files for whole on a busy machine.) */
async function decodeToEnd(path: string): Promise<void> {
  const small = open(path).resize(16, 16, { fit: 'fill', fastShrinkOnLoad: false })
  await small.timeout({ seconds: TIMEOUT_SECONDS }).raw().toBuffer()
}

/** Whether the file ends as its format says; true for formats whose end says nothing. */
async function endsProperly(path: string, format: string): Promise<boolean> {
  if (format !== 'jpeg' && format !== 'png') return true
  const handle = await openFile(path, 'r')
  try {
    const { size } = await handle.stat()
    const tail = Buffer.alloc(Math.min(size, format === 'png' ? 12 : 64))
    await handle.read(tail, 0, tail.length, size - tail.length)
    return format === 'png' ? tail.includes('IEND') : tail.includes(Buffer.from([0xff, 0xd9]))
  } finally {
    await handle.close()
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
  async get(path: string, width: number | null): Promise<PixelFile> {
    const file = await stat(path).catch(() => null)
    if (file === null) throw new AppError('NOT_FOUND', `The image file ${path} is gone.`)
    // not the record's hash: the file may be another picture by now
    const name = createHash('sha256').update(`${path} ${file.size} ${file.mtimeMs} ${width}`).digest('hex')
    const kept = join(this.#dir, name.slice(0, 2), `${name}.webp`)
    const etag = `"${name.slice(0, 32)}"`
    if (await exists(kept)) return { path: kept, contentType: 'image/webp', etag }
    const making = this.#making.get(kept)
    if (making !== undefined) return making
    const made = this.#turn(() => this.#make(path, kept, etag, width)).finally(() => this.#making.delete(kept))
    this.#making.set(kept, made)
    return made
  }

  async #make(path: string, kept: string, etag: string, width: number | null): Promise<PixelFile> {
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

  /**
   * At most two at a time: decoding is memory, and the model wants the processor too. The last one asked for is the
   * first one made: whoever leafs through turned photographs waits for the one they stopped at, not for all before it.
   */
  async #turn<T>(work: () => Promise<T>): Promise<T> {
    if (this.#active >= 2) await new Promise<void>((resolve) => this.#waiting.push(resolve))
    this.#active++
    try {
      return await work()
    } finally {
      this.#active--
      this.#waiting.pop()?.()
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
  return new AppError('IMAGE_UNREADABLE', `${path} cannot be read as an image: ${reasonOf(error)}`, { cause: error })
}

function reasonOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error)
  return message.includes('pixel limit') ? 'more than 100 megapixels' : (message.trim().split('\n').at(-1) ?? message)
}

/** Copies a picture; one that its camera turned is written upright, because the boxes are. */
export async function copyUpright(from: string, to: string): Promise<void> {
  const { orientation, format } = await open(from).metadata()
  if ((orientation ?? 1) === 1 || (format !== 'jpeg' && format !== 'png' && format !== 'webp' && format !== 'tiff')) {
    await copyFile(from, to)
    return
  }
  const picture = open(from).timeout({ seconds: TIMEOUT_SECONDS }).autoOrient().keepIccProfile()
  await (format === 'jpeg' ? picture.jpeg({ quality: 98, chromaSubsampling: '4:4:4' }) : picture)
    .toFormat(format)
    .toFile(to)
}

/**
 * The image upright, its longer side at most `maxSide`, with SVG elements drawn over it, as JPEG.
 * @param overlay elements in pixels of the scaled image
 * @throws IMAGE_UNREADABLE
 */
export async function pictureWithOverlay(
  path: string,
  maxSide: number,
  overlay: (size: { width: number; height: number }) => string,
): Promise<Buffer> {
  try {
    const scaled = open(path).timeout({ seconds: TIMEOUT_SECONDS }).autoOrient().flatten().toColourspace('srgb')
    const { data, info } = await scaled
      .resize({ width: maxSide, height: maxSide, fit: 'inside', withoutEnlargement: true })
      .png()
      .toBuffer({ resolveWithObject: true })
    const { width, height } = info
    const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}">${overlay({ width, height })}</svg>`
    return await sharp(data)
      .composite([{ input: Buffer.from(svg) }])
      .jpeg({ quality: 85 })
      .toBuffer()
  } catch (error) {
    throw unreadable(path, error)
  }
}
