import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { lstat, open, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { asGromaError, GromaError } from '../errors.ts'

/** A path inside an engine folder: relative, forward slashes, no way out, no names that some system refuses. */
export const enginePath = z
  .string()
  .min(1)
  .max(200)
  .refine(isSafePath, 'must be a plain relative path inside the folder')

const manifestFile = z.strictObject({
  path: enginePath,
  bytes: z.number().int().min(0).max(Number.MAX_SAFE_INTEGER),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
})

/** `manifest.json` of a converted model: what the folder holds, and from what it was made. */
export const engineManifest = z.object({
  format: z.literal('gromatic-engine'),
  version: z.literal(1),
  /** the checkpoint's folder name or address, for people */
  createdFrom: z.string().max(1000),
  createdAt: z.string().max(40).optional(),
  /** how each part's weights are stored, e.g. `fp32`, `int8`, `int4-block128` */
  llm: z.string().max(60),
  vision: z.string().max(60),
  files: z
    .array(manifestFile)
    .max(10_000)
    .refine(
      (files) => new Set(files.map(({ path }) => path.toLowerCase())).size === files.length,
      'names a file twice',
    ),
  /** SHA-256 over the sorted `sha256 path` lines: one name for the whole model */
  modelHash: z.string().regex(/^[0-9a-f]{64}$/),
  /** the full GromaConfig and whatever else the engine needs to run */
  config: z.record(z.string(), z.unknown()),
})

export type EngineManifest = z.infer<typeof engineManifest>
export type EngineFile = EngineManifest['files'][number]

export const manifestFileName = 'manifest.json'

/** One reason why a folder is not what its manifest says. */
export interface ManifestProblem {
  path: string
  problem: 'missing' | 'not-a-file' | 'linked' | 'wrong-size' | 'wrong-hash' | 'unreadable'
  message: string
}

/** The hash that names a model: the same files give the same name, wherever they lie. */
export function modelHashOf(files: readonly EngineFile[]): string {
  const lines = files.map(({ sha256, path }) => `${sha256} ${path}\n`).sort()
  return createHash('sha256').update(lines.join('')).digest('hex')
}

/**
 * Measures the named files, but for those whose size and hash are `known`, and writes `manifest.json` beside them, whole or not at all.
 * @param paths relative paths of the files to list
 * @throws DISK_FULL, CANCELLED, MODEL_INVALID
 */
export async function writeManifest(
  dir: string,
  content: Omit<EngineManifest, 'format' | 'version' | 'files' | 'modelHash'>,
  paths: readonly string[],
  { known = [], ...options }: { signal?: AbortSignal; known?: readonly EngineFile[] } = {},
): Promise<EngineManifest> {
  const files: EngineFile[] = []
  for (const path of [...paths].sort()) {
    const measured = known.find((file) => file.path === path)
    files.push(measured ?? { path, ...(await hashFile(join(dir, enginePath.parse(path)), options)) })
  }
  const manifest = engineManifest.parse({
    format: 'gromatic-engine',
    version: 1,
    ...content,
    files,
    modelHash: modelHashOf(files),
  })
  const target = join(dir, manifestFileName)
  const temporary = `${target}.${process.pid}.tmp`
  try {
    const handle = await open(temporary, 'w')
    try {
      await handle.writeFile(`${JSON.stringify(manifest, null, 2)}\n`)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(temporary, target)
  } catch (error) {
    await rm(temporary, { force: true })
    throw asGromaError(error, 'MODEL_INVALID', target)
  }
  return manifest
}

/**
 * Reads and checks `manifest.json`; the files it lists are not touched.
 * @throws MODEL_INVALID
 */
export async function readManifest(dir: string): Promise<EngineManifest> {
  const path = join(dir, manifestFileName)
  try {
    if ((await lstat(path)).size > 16 * 1024 * 1024) throw new Error('is absurdly large')
    const manifest = engineManifest.parse(JSON.parse(await readFile(path, 'utf8')))
    if (modelHashOf(manifest.files) !== manifest.modelHash) throw new Error('its model hash does not fit its files')
    return manifest
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT'
    const issue = error instanceof z.ZodError ? error.issues[0] : undefined
    const reason = missing
      ? 'is missing'
      : issue
        ? `${issue.path.join('.')}: ${issue.message}`
        : (error as Error).message
    throw new GromaError('MODEL_INVALID', `${path}: ${reason}`, { cause: error })
  }
}

/**
 * Checks an engine folder against its manifest: every file plain (no symlink, no second hard link), of the right size and hash.
 * @param options.hashes false checks names, kinds and sizes only
 * @returns what is wrong, [] when nothing is
 * @throws MODEL_INVALID when the manifest itself cannot be read, CANCELLED
 */
export async function verifyManifest(
  dir: string,
  options: {
    onProgress?: (doneBytes: number, totalBytes: number) => void
    signal?: AbortSignal
    hashes?: boolean
  } = {},
): Promise<ManifestProblem[]> {
  const { files } = await readManifest(dir)
  const total = files.reduce((sum, { bytes }) => sum + bytes, 0)
  const problems: ManifestProblem[] = []
  let done = 0
  for (const file of files) {
    const problem =
      (await problemOfKind(dir, file)) ??
      (options.hashes === false
        ? null
        : await problemOfHash(dir, file, {
            ...(options.signal ? { signal: options.signal } : {}),
            onBytes: (bytes) => options.onProgress?.(done + bytes, total),
          })) // prettier-ignore
    if (problem) problems.push(problem)
    done += file.bytes
    options.onProgress?.(done, total)
  }
  return problems
}

async function problemOfKind(dir: string, { path, bytes }: EngineFile): Promise<ManifestProblem | null> {
  const found = (problem: ManifestProblem['problem'], reason: string) => ({
    path,
    problem,
    message: `${path}: ${reason}`,
  })
  const parts = path.split('/')
  try {
    for (let depth = 1; depth < parts.length; depth++) {
      const folder = await lstat(join(dir, ...parts.slice(0, depth)))
      if (!folder.isDirectory()) return found('linked', 'lies behind a link')
    }
    const file = await lstat(join(dir, path))
    if (file.isSymbolicLink()) return found('linked', 'is a symbolic link')
    if (!file.isFile()) return found('not-a-file', 'is not a file')
    if (file.nlink > 1) return found('linked', `has ${file.nlink} hard links`) // 0 where the file system cannot tell
    if (file.size !== bytes) return found('wrong-size', `has ${file.size} bytes instead of ${bytes}`)
    return null
  } catch (error) {
    const missing = ['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')
    return missing ? found('missing', 'is missing') : found('unreadable', (error as Error).message)
  }
}

async function problemOfHash(
  dir: string,
  { path, sha256 }: EngineFile,
  options: { signal?: AbortSignal; onBytes: (bytes: number) => void },
): Promise<ManifestProblem | null> {
  try {
    const measured = await hashFile(join(dir, path), options)
    if (measured.sha256 === sha256) return null
    return { path, problem: 'wrong-hash', message: `${path}: its content has changed` }
  } catch (error) {
    if (error instanceof GromaError && error.code === 'CANCELLED') throw error
    return { path, problem: 'unreadable', message: `${path}: ${(error as Error).message}` }
  }
}

/**
 * Size and SHA-256 of a file, read as a stream.
 * @throws CANCELLED, MODEL_INVALID
 */
export async function hashFile(
  path: string,
  options: { signal?: AbortSignal; onBytes?: (bytes: number) => void } = {},
): Promise<{ bytes: number; sha256: string }> {
  const hash = createHash('sha256')
  let bytes = 0
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: 4 * 1024 * 1024 })) {
      options.signal?.throwIfAborted()
      hash.update(chunk as Buffer)
      bytes += (chunk as Buffer).length
      options.onBytes?.(bytes)
    }
  } catch (error) {
    if (options.signal?.aborted) throw new GromaError('CANCELLED', `${path}: checking was cancelled`, { cause: error })
    throw asGromaError(error, 'MODEL_INVALID', path)
  }
  return { bytes, sha256: hash.digest('hex') }
}

function isSafePath(path: string): boolean {
  const windowsDevice = /^(con|prn|aux|nul|com\d|lpt\d)(\..*)?$/i
  return path.split('/').every((part) => {
    const plain = /^[A-Za-z0-9_][A-Za-z0-9._-]*$/.test(part) && !part.endsWith('.')
    return plain && !windowsDevice.test(part)
  })
}
