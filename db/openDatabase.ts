/**
 * The one place that opens project files. A file is never trusted before its header says that it is ours, never
 * written by two programs at once, and never "repaired" behind anyone's back: what cannot be written opens read-only
 * with a sentence that says why.
 */
import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
} from 'node:fs'
import { basename, dirname } from 'node:path'
import { codeOf, DbError, isDiskFull, toDbError } from './errors.ts'
import { migrate, newestVersion } from './migrations/migrate.ts'
import { migrations } from './migrations/migrations.ts'
import { acquireProjectLock, type ProjectLock } from './projectLock.ts'
import {
  APPLICATION_ID,
  assertDurable,
  assertSqliteVersion,
  connect,
  connectMemoryCopy,
  type Db,
  hardenConnection,
  setDurable,
} from './sqlite.ts'

export interface OpenedDatabase {
  db: Db
  readOnly: boolean
  /** Sentences for the person, most important first. */
  warnings: string[]
  /** The copy taken before the schema was brought up to date; null when it was not. */
  backupPath: string | null
  /** Checkpoints, closes and leaves the project file alone in its folder. Safe to call twice. */
  close(): void
}

export interface OpenOptions {
  readOnly?: boolean
}

/** Files above this are checked in full only after an unclean end; reading them whole takes longer than a person waits. */
const FULL_CHECK_BYTES = 128 * 1024 * 1024
/** The largest project that is read into memory when its folder takes no log. */
const MEMORY_COPY_BYTES = 512 * 1024 * 1024
const MAGIC = 'SQLite format 3\0'

function invalid(path: string, why: string, cause?: unknown): DbError {
  return new DbError('PROJECT_INVALID', `${path} is not a Gromatic project: ${why}.`, { cause })
}

/**
 * Reads the header without SQLite. Only while holding the project lock: closing a file of a database that this
 * process has open would drop its locks (a rule of POSIX).
 */
function checkHeader(path: string): void {
  const header = Buffer.alloc(100)
  const handle = openSync(path, 'r')
  let bytes = 0
  try {
    bytes = readSync(handle, header, 0, 100, 0)
  } finally {
    closeSync(handle)
  }
  if (bytes === 0) throw invalid(path, 'the file is empty')
  if (bytes < 100 || header.toString('latin1', 0, 16) !== MAGIC) throw invalid(path, 'it is another kind of file')
  checkIdentity(path, header.readUInt32BE(68), header.readUInt32BE(60))
}

function checkIdentity(path: string, applicationId: number, userVersion: number): void {
  if (applicationId !== APPLICATION_ID) throw invalid(path, 'it is a database of another program')
  if (userVersion > newestVersion()) {
    throw new DbError('PROJECT_NEWER', `${path} was written by a newer version of Gromatic. Update to open it.`)
  }
}

function checkIdentityThroughSqlite(path: string, db: Db): void {
  try {
    checkIdentity(
      path,
      (db.pragma('application_id', { simple: true }) as number) >>> 0,
      db.pragma('user_version', { simple: true }) as number,
    )
  } catch (error) {
    throw error instanceof DbError ? error : invalid(path, 'it is another kind of file', error)
  }
}

/** Looks for damage. Returns what is wrong, or null. */
function findDamage(db: Db, path: string, full: boolean): string | null {
  try {
    const tables = full ? [''] : ["('meta')", "('counters')", "('categories')", "('images')"]
    for (const table of tables) {
      const result = db.pragma(`quick_check${table}`, { simple: true }) as string
      if (result !== 'ok') return result
    }
    return null
  } catch (error) {
    return toDbError(error, path).message
  }
}

function canWrite(path: string): boolean {
  try {
    accessSync(path, constants.W_OK)
    return true
  } catch {
    return false
  }
}

/**
 * Opens for reading only. Where the files can be written a normal connection is used with `query_only`, because only
 * such a one can read a log that a crash left and tidy it on close. On read-only media a project that was closed cleanly
 * needs no log; one that still says it has one is read into memory.
 */
function connectReader(path: string, writable: boolean): Db {
  try {
    const db = connect(path, { readonly: !writable, mustExist: true })
    try {
      if (writable) db.pragma('query_only = ON')
      db.pragma('schema_version')
      return db
    } catch (error) {
      db.close()
      const log = `${path}-wal`
      const logged = existsSync(log) && statSync(log).size > 0
      if (codeOf(error) !== 'SQLITE_CANTOPEN' || statSync(path).size > MEMORY_COPY_BYTES) throw error
      if (logged) {
        throw new DbError(
          'READ_ONLY',
          `${path} was not closed cleanly and lies where nothing can be written. Copy it together with ${basename(log)} to a folder that can be written, and open it there.`,
        )
      }
      return connectMemoryCopy(readFileSync(path))
    }
  } catch (error) {
    throw toDbError(error, `${path} cannot be read`)
  }
}

function openReader(path: string, reason: string | null, lock: ProjectLock | null, damaged = false): OpenedDatabase {
  const db = connectReader(path, lock !== null || (!damaged && canWrite(path) && canWrite(dirname(path))))
  try {
    hardenConnection(db)
    checkIdentityThroughSqlite(path, db)
    const version = db.pragma('user_version', { simple: true }) as number
    if (version < newestVersion()) {
      throw new DbError(
        'READ_ONLY',
        `${path} was written by an older version and must be opened for writing once, to be brought up to date.`,
      )
    }
    const warnings = reason === null ? [] : [reason]
    if (!damaged) {
      const damage = findDamage(db, path, statSync(path).size <= FULL_CHECK_BYTES)
      if (damage !== null) warnings.unshift(damageWarning(damage))
    }
    return { db, readOnly: true, warnings, backupPath: null, close: () => closeAll(db, path, lock, false) }
  } catch (error) {
    db.close()
    throw toDbError(error, `${path} cannot be read`)
  }
}

function damageWarning(damage: string): string {
  const [what = damage] = damage.split('\n').filter((line) => !line.startsWith('***'))
  return `The project file is damaged (${what}), so it is open for reading only. Export what you need, or go back to a backup.`
}

function closeAll(db: Db, path: string, lock: ProjectLock | null, writer: boolean): void {
  if (db.open) {
    try {
      // Closed, a project is one plain file that opens anywhere, read-only media included.
      if (writer) db.pragma('journal_mode = DELETE')
    } catch {
      // a reader, or a full disk: the log stays beside the file and is read at the next open
    }
    db.close()
  }
  if (lock === null) return
  // Nobody else writes while we hold the lock: a log that is empty holds nothing.
  const log = `${path}-wal`
  if (existsSync(log) && statSync(log).size === 0) rmSync(log, { force: true })
  lock.release()
}

/** The first write of a connection: proves that the disk takes it, and that SQLite syncs it. */
function firstWrite(db: Db, path: string): void {
  db.transaction(() => {
    db.prepare("UPDATE counters SET value = value + 1 WHERE name = 'opened'").run()
  }).immediate()
  assertDurable(db, path)
}

/**
 * Opens a project file: for writing when it can be, read-only with a warning when it cannot.
 * @throws NOT_FOUND, PROJECT_INVALID (not ours), PROJECT_NEWER, READ_ONLY (old schema on read-only media), IO_FAILED
 */
export function openDatabase(path: string, options: OpenOptions = {}): OpenedDatabase {
  let stats: ReturnType<typeof statSync>
  try {
    stats = statSync(path)
  } catch (error) {
    throw toDbError(error, `${path} cannot be opened`)
  }
  if (!stats?.isFile()) throw invalid(path, 'it is a folder')
  if (options.readOnly) return openReader(path, null, null)
  if (!canWrite(path))
    return openReader(path, 'The project file is write-protected, so it is open for reading only.', null)

  const result = acquireProjectLock(path)
  if (result.lock === null) {
    const reason =
      result.reason === 'held'
        ? 'This project is open in another window, so it is open for reading only here.'
        : 'The folder of the project cannot be written, so the project is open for reading only.'
    return openReader(path, reason, null)
  }
  const lock = result.lock
  let db: Db | undefined
  try {
    checkHeader(path)
    const unclean = lock.leftBehind || existsSync(`${path}-wal`) || existsSync(`${path}-journal`)
    db = connect(path, { mustExist: true })
    assertSqliteVersion(db)
    hardenConnection(db)
    checkIdentityThroughSqlite(path, db)
    const damage = findDamage(db, path, unclean || stats.size <= FULL_CHECK_BYTES)
    if (damage !== null) {
      db.close()
      lock.release()
      return openReader(path, damageWarning(damage), null, true)
    }
    return openWriter(db, path, lock)
  } catch (error) {
    if (db?.open) db.close()
    lock.release()
    throw toDbError(error, `${path} cannot be opened`)
  }
}

function openWriter(db: Db, path: string, lock: ProjectLock): OpenedDatabase {
  const warnings: string[] = []
  try {
    const walTaken = setDurable(db)
    if (!walTaken) {
      warnings.push(
        'This drive takes no write-ahead log (a network drive?): saving is safe but slower, and only one program should use the file.',
      )
    }
    const backupPath = migrate(db, path, migrations)
    firstWrite(db, path)
    if (walTaken && db.pragma('journal_mode', { simple: true }) !== 'wal') {
      throw new DbError('IO_FAILED', `${path} left its write-ahead log.`)
    }
    return { db, readOnly: false, warnings, backupPath, close: () => closeAll(db, path, lock, true) }
  } catch (error) {
    if (!isDiskFull(error) || (db.pragma('user_version', { simple: true }) as number) < newestVersion()) throw error
    db.close()
    return openReader(
      path,
      'The disk is full, so the project is open for reading only. Free some space and open it again.',
      lock,
    )
  }
}

/**
 * Makes an empty database with the newest schema at `path`, which must not exist. Used on a temporary name that is
 * renamed into place once it is whole.
 * @throws DISK_FULL, IO_FAILED
 */
export function createDatabase(path: string, fill: (db: Db) => void): void {
  const db = connect(path)
  try {
    assertSqliteVersion(db)
    db.pragma(`application_id = ${APPLICATION_ID}`)
    db.pragma('encoding = "UTF-8"')
    hardenConnection(db)
    db.pragma('journal_mode = DELETE')
    db.pragma('synchronous = FULL')
    migrate(db, path, migrations)
    db.transaction(fill).immediate(db)
  } catch (error) {
    throw toDbError(error, `${path} could not be made`)
  } finally {
    db.close()
  }
}
