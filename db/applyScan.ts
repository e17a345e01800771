/** Writes what a walk of the folder found: new images, changed ones, and those that are gone. Never deletes anything. */
import { throwIfAborted } from './errors.ts'
import type { ProjectStore } from './project.ts'
import { type Change, diffOf } from './records/diff.ts'
import type { ImageRecord, Revision, SkippedFile } from './records/records.ts'
import { type ImageProbe, type ScanItem, scanFolder } from './scanFolder.ts'

export interface ScanResult {
  added: number
  /** Files whose content is not what it was; their boxes are kept. */
  changed: number
  unchanged: number
  /** Images of the project whose files are not there (now, not only since the last walk). */
  missing: number
  skipped: SkippedFile[]
}

export interface ApplyScanOptions {
  /** After COMMIT, for every batch. */
  onRevision?: ((revision: Revision) => void) | undefined
  onProgress?: ((progress: { done: number; total: number | null; note: string }) => void) | undefined
  signal?: AbortSignal | undefined
}

/** The first batch is small, so that the first pictures show at once. */
const FIRST_BATCH = 16
const BATCH = 256
const BATCH_MS = 1000

type Store = Pick<ProjectStore, 'images' | 'allocateIds' | 'commit' | 'settled'>

interface Batch {
  changes: Change<ImageRecord>[]
  modifiedMs: Map<number, number>
  startedAt: number
}

const emptyBatch = (): Batch => ({ changes: [], modifiedMs: new Map(), startedAt: performance.now() })

function sameFiles(a: readonly SkippedFile[], b: readonly SkippedFile[]): boolean {
  const reasons = new Map(a.map(({ fileName, reason }) => [fileName, reason]))
  return a.length === b.length && b.every(({ fileName, reason }) => reasons.get(fileName) === reason)
}

function addItem(store: Store, batch: Batch, result: ScanResult, item: Exclude<ScanItem, { kind: 'skipped' }>): void {
  const before = store.images.byFileName(item.fileName)
  if (item.kind === 'unchanged') {
    result.unchanged++
    if (before?.status === 'missing') batch.changes.push({ before, after: { ...before, status: 'ready' } })
    return
  }
  const { fileName, width, height, fileBytes, contentSha256, modifiedMs } = item
  if (before === null) {
    const id = store.allocateIds('images', 1)[0] as number
    const after: ImageRecord = {
      id,
      fileName,
      width,
      height,
      fileBytes,
      contentSha256,
      status: 'ready',
      done: false,
      proposedAt: null,
    }
    batch.changes.push({ before: null, after })
    batch.modifiedMs.set(id, modifiedMs)
    result.added++
    return
  }
  if (before.contentSha256 === contentSha256) result.unchanged++
  else result.changed++
  batch.changes.push({ before, after: { ...before, width, height, fileBytes, contentSha256, status: 'ready' } })
  batch.modifiedMs.set(before.id, modifiedMs)
}

function markMissing(store: Store, batch: Batch, seen: ReadonlySet<string>, skipped: readonly SkippedFile[]): number {
  const unreadable = skipped.filter(({ fileName }) => fileName.endsWith('/')).map(({ fileName }) => fileName)
  let missing = 0
  for (const [fileName, known] of store.images.knownFiles()) {
    if (seen.has(fileName) || unreadable.some((folder) => fileName.startsWith(folder))) continue
    missing++
    if (known.status === 'missing') continue
    const before = store.images.byFileName(fileName)
    if (before !== null) batch.changes.push({ before, after: { ...before, status: 'missing' } })
  }
  return missing
}

/**
 * Stores a walk in batches of durable `scan` revisions. Files that are gone (or no longer readable) become `missing` and
 * keep their boxes; those that come back become `ready`. A cancelled walk keeps what it stored and marks nothing missing.
 * @throws CANCELLED, READ_ONLY, DISK_FULL, and whatever the walk throws
 */
export async function applyScan(
  store: Store,
  items: AsyncIterable<ScanItem>,
  options: ApplyScanOptions = {},
): Promise<ScanResult> {
  const result: ScanResult = { added: 0, changed: 0, unchanged: 0, missing: 0, skipped: [] }
  const seen = new Set<string>()
  let batch = emptyBatch()
  let limit = FIRST_BATCH
  let done = 0

  const flush = async (skipped?: SkippedFile[]): Promise<void> => {
    // an import that is written meanwhile comes first
    for (let end = store.settled(); end !== null; end = store.settled()) await end
    const { changes, modifiedMs } = batch
    batch = emptyBatch()
    limit = BATCH
    if (changes.length === 0 && modifiedMs.size === 0 && skipped === undefined) return
    const scan = skipped === undefined ? { modifiedMs } : { modifiedMs, skipped }
    const revision = store.commit({ actor: 'scan', label: 'Read the folder', diff: diffOf({ images: changes }), scan })
    if (changes.length > 0) options.onRevision?.(revision)
  }

  for await (const item of items) {
    throwIfAborted(options.signal, 'The scan')
    done++
    if (item.kind === 'skipped') result.skipped.push({ fileName: item.fileName, reason: item.reason })
    else {
      seen.add(item.fileName)
      addItem(store, batch, result, item)
    }
    const due = batch.changes.length >= limit || performance.now() - batch.startedAt > BATCH_MS
    if (due && batch.changes.length > 0) await flush()
    options.onProgress?.({ done, total: null, note: item.fileName })
  }
  result.missing = markMissing(store, batch, seen, result.skipped)
  await flush(sameFiles(store.images.skipped(), result.skipped) ? undefined : result.skipped)
  return result
}

/** Walks the project's folder and stores what it finds. @throws NOT_FOUND (the folder), CANCELLED, READ_ONLY, DISK_FULL */
export function scanProject(
  store: ProjectStore,
  options: ApplyScanOptions & { probe: ImageProbe },
): Promise<ScanResult> {
  const { probe, signal } = options
  return applyScan(store, scanFolder(store.imagesDir, { probe, known: store.images.knownFiles(), signal }), options)
}
