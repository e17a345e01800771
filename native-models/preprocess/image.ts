import { open, readFile, stat } from 'node:fs/promises'
import sharp, { type Sharp } from 'sharp'
import { GromaError } from '../errors.ts'

/** An upright 8-bit picture, [height, width, 3], row-major. */
export interface RgbImage {
  data: Uint8Array
  width: number
  height: number
}

const limitInputPixels = 100_000_000
const maxFileBytes = 1 << 30

const text = (bytes: Uint8Array, from: number, to: number) => String.fromCharCode(...bytes.subarray(from, to))
const formats: readonly { name: string; matches: (head: Uint8Array) => boolean }[] = [
  { name: 'jpeg', matches: (head) => text(head, 0, 3) === '\xff\xd8\xff' },
  { name: 'png', matches: (head) => text(head, 0, 8) === '\x89PNG\r\n\x1a\n' },
  { name: 'webp', matches: (head) => text(head, 0, 4) === 'RIFF' && text(head, 8, 12) === 'WEBP' },
  { name: 'gif', matches: (head) => ['GIF87a', 'GIF89a'].includes(text(head, 0, 6)) },
  { name: 'tiff', matches: (head) => ['II*\0', 'MM\0*', 'II+\0', 'MM\0+'].includes(text(head, 0, 4)) },
  { name: 'avif', matches: (head) => text(head, 4, 8) === 'ftyp' && /avi[fs]/.test(text(head, 8, 64)) },
]

/** The image format that a file's first bytes announce, or null; its name is never consulted. */
export function sniffImageFormat(head: Uint8Array): string | null {
  return formats.find(({ matches }) => matches(head))?.name ?? null
}

/**
 * Decodes a picture as the authors' `Image.open(...).convert('RGB')` does: upright by EXIF, colours as stored (no ICC
 * conversion), transparency dropped rather than blended, first frame of an animation.
 * @param source a path or the file's bytes
 * @throws IMAGE_UNREADABLE with the reason: unknown format, damaged or truncated, more than 100 megapixels
 */
export async function decodeImage(source: string | Uint8Array): Promise<RgbImage> {
  const { name, bytes } = await load(source)
  try {
    const { data, info } = await rgbPipeline(openImage(bytes))
      .raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true })
    if (info.channels === 3) return { data: new Uint8Array(data.buffer, data.byteOffset, data.length), ...sizeOf(info) }
    throw new Error(`decoded to ${info.channels} channels`)
  } catch (cause) {
    throw unreadable(name, reasonOf(cause), cause)
  }
}

/**
 * Width and height of a picture as it is seen (upright), from its header alone.
 * @throws IMAGE_UNREADABLE
 */
export async function imageSize(source: string | Uint8Array): Promise<{ width: number; height: number }> {
  const name = nameOf(source)
  refuseUnknown(name, typeof source === 'string' ? await readHead(source) : source)
  try {
    const metadata = await openImage(source).metadata()
    return sizeOf(metadata.autoOrient)
  } catch (cause) {
    throw unreadable(name, reasonOf(cause), cause)
  }
}

function openImage(source: string | Uint8Array): Sharp {
  // 'error' refuses truncated and damaged data, but not a file whose writer was merely untidy
  return sharp(source, { failOn: 'error', limitInputPixels, ignoreIcc: true, sequentialRead: true })
}

function rgbPipeline(image: Sharp): Sharp {
  return image.autoOrient().removeAlpha().toColourspace('srgb')
}

async function load(source: string | Uint8Array): Promise<{ name: string; bytes: Uint8Array }> {
  const name = nameOf(source)
  if (typeof source !== 'string') {
    refuseUnknown(name, source)
    return { name, bytes: source }
  }
  refuseUnknown(name, await readHead(source))
  try {
    const { size } = await stat(source)
    if (size > maxFileBytes) throw new Error(`takes ${size} bytes`)
    return { name, bytes: await readFile(source) }
  } catch (cause) {
    throw unreadable(name, (cause as Error).message, cause)
  }
}

async function readHead(path: string): Promise<Uint8Array> {
  try {
    const handle = await open(path, 'r')
    try {
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(64), 0, 64, 0)
      return buffer.subarray(0, bytesRead)
    } finally {
      await handle.close()
    }
  } catch (cause) {
    const missing = (cause as NodeJS.ErrnoException).code === 'ENOENT'
    throw unreadable(path, missing ? 'there is no such file' : (cause as Error).message, cause)
  }
}

function refuseUnknown(name: string, head: Uint8Array): void {
  if (head.length === 0) throw unreadable(name, 'the file is empty')
  if (!sniffImageFormat(head.subarray(0, 64))) {
    throw unreadable(name, 'not a JPEG, PNG, WebP, GIF, TIFF or AVIF picture')
  }
}

function nameOf(source: string | Uint8Array): string {
  return typeof source === 'string' ? source : 'image'
}

function sizeOf({ width, height }: { width?: number; height?: number }): { width: number; height: number } {
  if (!width || !height) throw new Error('has no size')
  return { width, height }
}

function reasonOf(cause: unknown): string {
  const message = cause instanceof Error ? cause.message : String(cause)
  if (message.includes('pixel limit')) return `more than ${limitInputPixels / 1e6} megapixels`
  return message.split('\n')[0]!
}

function unreadable(name: string, reason: string, cause?: unknown): GromaError {
  return new GromaError('IMAGE_UNREADABLE', `${name}: ${reason}`, { cause })
}
