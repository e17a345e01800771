/** The one importer of better-sqlite3: a connection with every safety setting of ours, and prepared statements. */
import Database from 'better-sqlite3'
import { DbError } from './errors.ts'

export type Db = Database.Database
export type Statement = Database.Statement<unknown[]>

/** "GROM": written into the header of every project file, and checked before anything else is read from it. */
export const APPLICATION_ID = 0x47524f4d

/** The oldest SQLite without the WAL-reset corruption. */
const OLDEST_SQLITE = [3, 51, 3] as const

/** Opens one connection and nothing more. `timeoutMs` is how long to wait for a lock. */
export function connect(
  file: string,
  options: { readonly?: boolean; timeoutMs?: number; mustExist?: boolean } = {},
): Db {
  return new Database(file, {
    readonly: options.readonly ?? false,
    fileMustExist: options.mustExist ?? false,
    timeout: options.timeoutMs ?? 5000,
  })
}

/** A read-only copy in memory of a database file without a log. */
export function connectMemoryCopy(file: Buffer): Db {
  file.fill(1, 18, 20) // the header's read and write versions: 2 asks for a log, which memory has none of
  return new Database(file, { readonly: true })
}

/** @throws UNSUPPORTED when the SQLite inside is older than the one we trust. */
export function assertSqliteVersion(db: Db): void {
  const version = db.prepare('SELECT sqlite_version()').pluck().get() as string
  const parts = version.split('.').map(Number)
  for (const [index, oldest] of OLDEST_SQLITE.entries()) {
    const part = parts[index] ?? 0
    if (part > oldest) return
    if (part < oldest) {
      throw new DbError('UNSUPPORTED', `SQLite ${version} is too old: ${OLDEST_SQLITE.join('.')} or newer is needed.`)
    }
  }
}

/** Settings of every connection, readers included. */
export function hardenConnection(db: Db): void {
  db.pragma('foreign_keys = ON')
  db.pragma('trusted_schema = OFF')
  db.pragma('cell_size_check = ON')
  db.pragma('mmap_size = 0') // a read error of a mapped file is a signal, not an error
  db.pragma('temp_store = MEMORY')
  db.pragma('cache_size = -65536') // 64 MiB: the indices of a million boxes
}

/**
 * Settings of the writer: write-ahead log and a sync for every commit. better-sqlite3 is compiled so that `synchronous`
 * falls to NORMAL in WAL mode unless it is set after the mode, which loses acknowledged edits at a power cut.
 * @returns false when the file system refuses a write-ahead log; the rollback journal is used then.
 */
export function setDurable(db: Db): boolean {
  let mode = ''
  try {
    mode = db.pragma('journal_mode = WAL', { simple: true }) as string
  } catch {
    mode = ''
  }
  if (mode !== 'wal') db.pragma('journal_mode = DELETE')
  db.pragma('synchronous = FULL')
  db.pragma('journal_size_limit = 67108864') // one large import must not leave a large log for ever
  if (process.platform === 'darwin') {
    db.pragma('fullfsync = ON')
    db.pragma('checkpoint_fullfsync = ON')
  }
  return mode === 'wal'
}

/** @throws IO_FAILED when a commit of this connection would not reach the disk before it returns. Call after a write. */
export function assertDurable(db: Db, path: string): void {
  if ((db.pragma('synchronous', { simple: true }) as number) < 2) {
    throw new DbError('IO_FAILED', `${path} cannot be written safely: SQLite does not sync its commits.`)
  }
}

const statements = new WeakMap<Db, Map<string, Statement>>()

/** A prepared statement, made once for each connection. */
export function statement(db: Db, sql: string): Statement {
  let known = statements.get(db)
  if (known === undefined) {
    known = new Map()
    statements.set(db, known)
  }
  let prepared = known.get(sql)
  if (prepared === undefined) {
    prepared = db.prepare(sql)
    known.set(sql, prepared)
  }
  return prepared
}
