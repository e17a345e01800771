/**
 * Walks a folder of images. Streams: the first pictures are known long before the last. Reads pixels through an injected
 * probe, because decoding is another part's business.
 */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { lstat, open, opendir, realpath, stat } from 'node:fs/promises'
import { extname, join, sep } from 'node:path'
import { codeOf, DbError, throwIfAborted, toDbError } from './errors.ts'
import { naturalSortKey } from './sortKey.ts'

/** Reads width and height of the upright picture in pixels; throws with the reason when it is none. */
export type ImageProbe = (path: string) => Promise<{ width: number; height: number }>

export type ScanItem =
  | { kind: 'unchanged'; fileName: string }
  | {
      kind: 'file'
      fileName: string
      /** Upright, pixels. */
      width: number
      height: number
      fileBytes: number
      contentSha256: string
      modifiedMs: number
    }
  /** `fileName` ends in `/` when it is a folder that could not be read: what lies below is unknown, not gone. */
  | { kind: 'skipped'; fileName: string; reason: string }

export interface ScanOptions {
  probe: ImageProbe
  /** Files that need no second look while size and time are the same. */
  known?: ReadonlyMap<string, { fileBytes: number; modifiedMs: number | null }>
  /** Told of each file as it is met, before it is read. */
  onFile?: (fileName: string) => void
  signal?: AbortSignal | undefined
}

const IMAGE_EXTENSIONS = new Set(
  '.jpg .jpeg .jpe .jfif .png .webp .gif .tif .tiff .avif .bmp .heic .heif .jxl .jp2 .svg .ico'.split(' '),
)
/** Files being read at the same time. */
const WINDOW = 4

/** Ours, the system's, and whatever hides behind a dot. */
function isIgnored(name: string): boolean {
  const lower = name.toLowerCase()
  return name.startsWith('.') || lower.includes('.gromatic') || lower === 'thumbs.db' || lower === 'desktop.ini'
}

async function entriesOf(directory: string): Promise<{ name: string; isDirectory: boolean }[]> {
  const entries: { name: string; isDirectory: boolean; key: string }[] = []
  for await (const entry of await opendir(directory)) {
    if (isIgnored(entry.name)) continue
    entries.push({ name: entry.name, isDirectory: entry.isDirectory(), key: naturalSortKey(entry.name) })
  }
  return entries.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : a.name < b.name ? -1 : 1))
}

/** Names of all files below, relative to `root` with `/`, in the order people count; folders that resist are yielded with the reason. */
async function* walk(
  root: string,
  below: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<string | { folder: string; reason: string }> {
  throwIfAborted(signal, 'The scan')
  let entries: Awaited<ReturnType<typeof entriesOf>>
  try {
    entries = await entriesOf(join(root, below))
  } catch (error) {
    if (below === '') throw toDbError(error, `The folder ${root} cannot be read`)
    yield { folder: below, reason: `The folder cannot be read (${codeOf(error) || 'unknown reason'}).` }
    return
  }
  for (const { name, isDirectory } of entries) {
    if (isDirectory) yield* walk(root, `${below}${name}/`, signal)
    else yield `${below}${name}`
  }
}

/** SHA-256 of a file, hexadecimal, read in pieces. @throws CANCELLED, NOT_FOUND, IO_FAILED */
export async function hashFile(path: string, signal?: AbortSignal): Promise<string> {
  const hash = createHash('sha256')
  const stream = createReadStream(path, { highWaterMark: 256 * 1024, ...(signal === undefined ? {} : { signal }) })
  for await (const chunk of stream) hash.update(chunk as Buffer)
  return hash.digest('hex')
}

/** First bytes of jpeg, png, gif, webp, tiff (and BigTIFF), avif and heif, bmp; hexadecimal. */
const MAGIC = new RegExp(
  `^(${[
    'ffd8ff',
    '89504e470d0a1a0a',
    '47494638(37|39)61',
    '52494646.{8}57454250',
    '49492a00|4d4d002a|49492b00|4d4d002b',
    '.{8}66747970(61766966|61766973|68656963|68656978|6d696631|6d736631)',
    '424d.{24}',
  ].join('|')})`,
)

async function looksLikeImage(path: string): Promise<boolean> {
  const handle = await open(path, 'r')
  try {
    const head = Buffer.alloc(32)
    const { bytesRead } = await handle.read(head, 0, 32, 0)
    return MAGIC.test(head.toString('hex', 0, bytesRead))
  } finally {
    await handle.close()
  }
}

async function examine(root: string, fileName: string, options: ScanOptions): Promise<ScanItem> {
  const { probe, known, signal } = options
  const skipped = (reason: string): ScanItem => ({ kind: 'skipped', fileName, reason })
  const path = join(root, fileName)
  try {
    if ((await lstat(path)).isSymbolicLink()) {
      const target = await realpath(path)
      const home = root.endsWith(sep) ? root : root + sep
      if (!target.startsWith(home)) return skipped('A link that leads out of the folder.')
    }
    const stats = await stat(path)
    if (stats.isDirectory()) return skipped('A link to a folder.')
    if (!stats.isFile()) return skipped('Not a file.')
    const modifiedMs = Math.trunc(stats.mtimeMs)
    const before = known?.get(fileName)
    if (before?.fileBytes === stats.size && before.modifiedMs === modifiedMs) return { kind: 'unchanged', fileName }
    if (stats.size === 0) return skipped('The file is empty.')
    if (!IMAGE_EXTENSIONS.has(extname(fileName).toLowerCase()) && !(await looksLikeImage(path)))
      return skipped('Not an image.')
    const { width, height } = await probe(path)
    if (!(Number.isSafeInteger(width) && Number.isSafeInteger(height) && width > 0 && height > 0)) {
      return skipped('The image has no size.')
    }
    const contentSha256 = await hashFile(path, signal)
    return { kind: 'file', fileName, width, height, fileBytes: stats.size, contentSha256, modifiedMs }
  } catch (error) {
    throwIfAborted(signal, 'The scan')
    if (codeOf(error) === 'ENOENT') return skipped('The file or its name cannot be read.')
    const reason = error instanceof Error ? error.message : String(error)
    return skipped(`Damaged or not readable: ${reason.split('\n')[0]}`)
  }
}

/**
 * Yields every file of the folder and its subfolders in the order people count (`scene2` before `scene10`): known,
 * readable, or skipped with the reason. Hidden files and our own are passed over in silence; folders are never followed
 * through links, files only where the link stays inside. Names are kept as found.
 * @throws NOT_FOUND (the folder), CANCELLED
 */
export async function* scanFolder(imagesDir: string, options: ScanOptions): AsyncGenerator<ScanItem> {
  let root: string
  try {
    root = await realpath(imagesDir)
  } catch (error) {
    throw toDbError(error, `The folder ${imagesDir} is not there`)
  }
  if (!(await stat(root)).isDirectory()) throw new DbError('NOT_FOUND', `${imagesDir} is not a folder.`)
  const window: Promise<ScanItem>[] = []
  try {
    for await (const found of walk(root, '', options.signal)) {
      throwIfAborted(options.signal, 'The scan')
      if (typeof found === 'string') {
        options.onFile?.(found)
        const item = examine(root, found, options)
        item.catch(() => undefined) // awaited below; a cancelled scan leaves the rest of the window behind
        window.push(item)
      } else window.push(Promise.resolve({ kind: 'skipped', fileName: found.folder, reason: found.reason }))
      if (window.length >= WINDOW) yield (await window.shift()) as ScanItem
    }
    while (window.length > 0) yield (await window.shift()) as ScanItem
  } finally {
    await Promise.allSettled(window)
  }
}
