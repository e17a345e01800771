/** A project: one `.gromatic` file over one folder of images. Services hold a {@link ProjectStore} and nothing below it. */
import { accessSync, constants, existsSync, linkSync, mkdirSync, renameSync, rmSync, statSync } from 'node:fs'
import { basename, dirname, isAbsolute, relative, resolve, sep } from 'node:path'
import { Ballast, freeBytes, LOW_DISK_BYTES } from './ballast.ts'
import { BulkTransaction } from './bulkTransaction.ts'
import { allocateIds, type CommitInput, commitRevision, nextId } from './commitRevision.ts'
import { codeOf, DbError, isDiskFull, throwIfAborted, toDbError } from './errors.ts'
import { type ExportSource, openExportSource } from './exportSource.ts'
import { fsyncDirectory } from './migrations/migrate.ts'
import { createDatabase, type OpenedDatabase, type OpenOptions, openDatabase } from './openDatabase.ts'
import { diffSize, type TableName } from './records/diff.ts'
import type { Project, RecordsDiff, Revision } from './records/records.ts'
import { type AnnotationsRepository, annotationsRepository } from './repositories/annotations.ts'
import { type CategoriesRepository, categoriesRepository } from './repositories/categories.ts'
import { type HistoryRepository, historyRepository } from './repositories/history.ts'
import { type ImagesRepository, imagesRepository } from './repositories/images.ts'
import { type MessagesRepository, messagesRepository } from './repositories/messages.ts'
import { importedFiles, noteImportedFile, projectSummary, readMeta, writeMeta } from './repositories/projects.ts'
import type { Db } from './sqlite.ts'
import { nextTurn, redo, undo } from './undo.ts'

export const PROJECT_EXTENSION = '.gromatic'

export interface TurnRun {
  signal?: AbortSignal | undefined
  /** Rows. */
  onProgress?: ((progress: { done: number; total: number; note: string }) => void) | undefined
}

export interface ProjectStore {
  /** Absolute. */
  readonly path: string
  readonly imagesDir: string
  readonly name: string
  readonly readOnly: boolean
  readonly images: ImagesRepository
  readonly categories: CategoriesRepository
  readonly annotations: AnnotationsRepository
  readonly messages: MessagesRepository
  readonly history: HistoryRepository
  /** Counters, labels of undo and redo, and the warning as it is now. Cheap. */
  summary(): Project
  /** Ids for new rows; those of deleted rows never come back. */
  allocateIds(table: TableName, count?: number): number[]
  /** The highest id of a table that was ever used or given out; 0 when none was. */
  lastId(table: TableName): number
  /** One durable revision. @throws STALE, INVALID_INPUT, ALREADY_EXISTS, READ_ONLY, DISK_FULL, IO_FAILED */
  commit(input: CommitInput): Revision
  /**
   * One durable revision whose rows come in pieces over many turns of the event loop, or nothing at all: an import. Until
   * it ends readers see the project as it was, and other writes are refused. One at a time.
   * @throws what `fill` throws, and what `commit` throws
   */
  commitBulk(
    input: Pick<CommitInput, 'actor' | 'label'>,
    fill: (add: (diff: RecordsDiff) => void) => Promise<void>,
  ): Promise<Revision>
  /** Null when there is nothing to take back. In one go, however large: see {@link turn}. @throws READ_ONLY, DISK_FULL, IO_FAILED */
  undo(): Revision | null
  redo(): Revision | null
  /**
   * Undo or redo that leaves room for everything else, tells how far it is and can be stopped (nothing is changed then): an
   * import of a million boxes takes its time. @throws CANCELLED, READ_ONLY, DISK_FULL, IO_FAILED
   */
  turn(direction: 'undo' | 'redo', run?: TurnRun): Promise<Revision | null>
  /** Null, or the end of the revision that is being written in pieces: what would be refused now will be taken then. */
  settled(): Promise<void> | null
  /** The project as it is now, for an export that takes a while; commits go on meanwhile. Close it. */
  exportSource(): ExportSource
  /** Absolute paths of the files that imports came from, the last first: results of a model may be numbered as they are. */
  importedFiles(): string[]
  /** @throws READ_ONLY, DISK_FULL, IO_FAILED */
  noteImportedFile(path: string): void
  /** Idempotent. Leaves the project file alone in its folder. */
  close(): void
}

/** The path as the project remembers it: relative when the two travel together, so that the folder can be moved. */
function relativeImagesDir(projectPath: string, imagesDir: string): string {
  const path = relative(dirname(projectPath), imagesDir)
  if (isAbsolute(path)) return ''
  const parts = path.split(sep)
  const ups = parts.filter((part) => part === '..').length
  const travelsAlong = ups === 0 || ups === parts.length || ups === 1
  return travelsAlong ? parts.join('/') || '.' : ''
}

function findImagesDir(db: Db, projectPath: string): string {
  const absolute = readMeta(db, 'imagesDir.absolute')
  const besides = readMeta(db, 'imagesDir.relative')
  if (besides === '') return absolute
  const moved = resolve(dirname(projectPath), besides)
  return existsSync(moved) || !existsSync(absolute) ? moved : absolute
}

/**
 * Makes a project over a folder of images and opens it. The file appears whole or not at all.
 * @throws ALREADY_EXISTS, NOT_FOUND (the images folder), READ_ONLY (the place cannot be written), DISK_FULL, IO_FAILED
 */
export function createProject(path: string, imagesDir: string): ProjectStore {
  const target = resolve(path)
  const images = resolve(imagesDir)
  if (!existsSync(images) || !statSync(images).isDirectory())
    throw new DbError('NOT_FOUND', `There is no folder ${images}.`)
  if (existsSync(target)) throw new DbError('ALREADY_EXISTS', `${target} exists already.`)
  const temporary = `${target}.new`
  try {
    mkdirSync(dirname(target), { recursive: true })
    accessSync(dirname(target), constants.W_OK)
    for (const leftover of [temporary, `${temporary}-journal`]) rmSync(leftover, { force: true })
    createDatabase(temporary, (db) => {
      writeMeta(db, 'name', basename(target).replace(/\.gromatic$/i, ''))
      writeMeta(db, 'imagesDir.absolute', images)
      writeMeta(db, 'imagesDir.relative', relativeImagesDir(target, images))
      writeMeta(db, 'createdAt', String(Date.now()))
    })
    publish(temporary, target)
  } catch (error) {
    rmSync(temporary, { force: true })
    throw toDbError(error, `${target} could not be made`)
  }
  return openProject(target)
}

/** Renames without ever replacing a file that someone else made meanwhile. @throws ALREADY_EXISTS */
function publish(temporary: string, target: string): void {
  try {
    linkSync(temporary, target)
    rmSync(temporary)
  } catch (error) {
    if (codeOf(error) === 'EEXIST') throw new DbError('ALREADY_EXISTS', `${target} exists already.`)
    renameSync(temporary, target) // a file system without hard links
  }
  fsyncDirectory(dirname(target))
}

/**
 * Opens a project file. When it cannot be written (open elsewhere, write-protected, damaged, disk full) it opens
 * read-only and `summary().warning` says why.
 * @throws NOT_FOUND, PROJECT_INVALID, PROJECT_NEWER, READ_ONLY, IO_FAILED
 */
export function openProject(path: string, options: OpenOptions = {}): ProjectStore {
  const target = resolve(path)
  const opened = openDatabase(target, options)
  try {
    return makeStore(target, opened)
  } catch (error) {
    opened.close()
    throw toDbError(error, `${target} cannot be opened`)
  }
}

/** Which file lies at a path; null when there is none. */
function fileAt(path: string): string | null {
  const stats = statSync(path, { bigint: true, throwIfNoEntry: false })
  return stats === undefined ? null : `${stats.dev} ${stats.ino}`
}

function makeStore(path: string, opened: OpenedDatabase): ProjectStore {
  const { db, readOnly } = opened
  const name = readMeta(db, 'name')
  const imagesDir = findImagesDir(db, path)
  const ballast = new Ballast(path)
  let diskFull = false
  let bulk: BulkTransaction | null = null
  let bulkEnd: Promise<void> | null = null
  if (!readOnly) ballast.reserve()

  const warning = (): string | null => {
    const sentences = [...opened.warnings]
    const free = readOnly ? null : freeBytes(path)
    if (diskFull) sentences.unshift('The disk is full. Free some space: nothing that was saved is lost.')
    else if (free !== null && free < LOW_DISK_BYTES) {
      sentences.push(`Only ${Math.floor(free / 1024 / 1024)} MB are free on the disk of this project.`)
    }
    return sentences.length === 0 ? null : sentences.join(' ')
  }

  const file = fileAt(path)
  /** SQLite would go on writing to a file that nobody finds any more. @throws IO_FAILED */
  const checkThere = (): void => {
    if (fileAt(path) === file) return
    throw new DbError(
      'IO_FAILED',
      `${path} was moved, deleted or replaced while it was open: nothing can be saved. Put it back, or close the project and open it again.`,
    )
  }

  /** Runs a write; on a full disk gives the ballast back and tries once more. */
  const write = <T>(doing: string, action: () => T): T => {
    if (readOnly) throw new DbError('READ_ONLY', opened.warnings[0] ?? 'This project is open for reading only.')
    if (bulk !== null)
      throw new DbError(
        'READ_ONLY',
        'An import is being written or taken back: nothing else can be saved until it ends.',
      )
    checkThere()
    try {
      const result = action()
      if (diskFull && (freeBytes(path) ?? 0) > LOW_DISK_BYTES) diskFull = !ballast.reserve()
      return result
    } catch (error) {
      if (!isDiskFull(error)) throw toDbError(error, doing)
      diskFull = true
      if (!ballast.release()) throw toDbError(error, doing)
    }
    try {
      return action()
    } catch (error) {
      throw toDbError(error, doing)
    }
  }

  /** A revision over many turns of the event loop, whole or not at all. */
  const inBulk = async (
    input: Omit<CommitInput, 'diff'>,
    fill: (transaction: BulkTransaction) => Promise<void>,
  ): Promise<Revision> => {
    const doing = `"${input.label}" could not be saved`
    const transaction = write(doing, () => BulkTransaction.begin(db, path, input))
    const { promise, resolve: end } = Promise.withResolvers<void>()
    bulk = transaction
    bulkEnd = promise
    try {
      await fill(transaction)
      checkThere()
      return transaction.commit()
    } catch (error) {
      transaction.rollBack()
      if (isDiskFull(error)) {
        ballast.release()
        diskFull = true
      }
      throw toDbError(error, doing)
    } finally {
      bulk = null
      bulkEnd = null
      end()
    }
  }

  return {
    path,
    imagesDir,
    name,
    readOnly,
    images: imagesRepository(db),
    categories: categoriesRepository(db),
    annotations: annotationsRepository(db),
    messages: messagesRepository(db),
    history: historyRepository(db),
    summary: () => projectSummary(db, { path, name, imagesDir, readOnly, warning: warning() }),
    allocateIds: (table, count = 1) => allocateIds(db, table, count),
    lastId: (table) => nextId(db, table) - 1,
    commit: (input) => write(`"${input.label}" could not be saved`, () => commitRevision(db, input)),
    commitBulk: (input, fill) => inBulk(input, (transaction) => fill((diff) => transaction.add(diff))),
    async turn(direction, { signal, onProgress } = {}) {
      const next = nextTurn(db, direction)
      if (next === null || next.bulkRows === null) return direction === 'undo' ? this.undo() : this.redo()
      const { source, input, bulkRows } = next
      const fill = async (transaction: BulkTransaction): Promise<void> => {
        let done = 0
        for (const piece of transaction.turn(source)) {
          done += diffSize(piece)
          onProgress?.({ done, total: bulkRows, note: input.label })
          await new Promise((resume) => setImmediate(resume))
          throwIfAborted(signal, input.label)
        }
      }
      return inBulk(input, fill)
    },
    settled: () => bulkEnd,
    undo: () => write('Undo could not be saved', () => undo(db)),
    redo: () => write('Redo could not be saved', () => redo(db)),
    importedFiles: () => importedFiles(db),
    noteImportedFile: (file) => write('The import could not be noted', () => noteImportedFile(db, file)),
    exportSource: () => openExportSource(path, db, { name, imagesDir }),
    close() {
      bulk?.rollBack()
      if (!readOnly) ballast.release()
      opened.close()
    },
  }
}
