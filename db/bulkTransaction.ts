/**
 * A transaction that lasts over many turns of the event loop. It has a connection of its own, so that what others read
 * meanwhile is the project as it was; where there is no write-ahead log it shares the connection that is there.
 */
import { BulkRevision } from './bulkRevision.ts'
import type { CommitInput } from './commitRevision.ts'
import { DbError } from './errors.ts'
import type { RecordsDiff, Revision } from './records/records.ts'
import { assertDurable, connect, type Db, hardenConnection, setDurable } from './sqlite.ts'
import { turnedPieces } from './undo.ts'

export class BulkTransaction {
  readonly #db: Db
  readonly #own: boolean
  readonly #path: string
  readonly #revision: BulkRevision
  #open = true

  private constructor(db: Db, own: boolean, path: string, input: Omit<CommitInput, 'diff'>) {
    this.#db = db
    this.#own = own
    this.#path = path
    db.exec('BEGIN IMMEDIATE')
    this.#revision = new BulkRevision(db, input)
  }

  /** @throws DISK_FULL, IO_FAILED */
  static begin(live: Db, path: string, input: Omit<CommitInput, 'diff'>): BulkTransaction {
    if (live.pragma('journal_mode', { simple: true }) !== 'wal') return new BulkTransaction(live, false, path, input)
    const db = connect(path, { mustExist: true })
    try {
      hardenConnection(db)
      setDurable(db)
      db.pragma('cache_size = -32768') // beside the live connection's: rows come in order, and 32 MiB hold the ends of the indices
      return new BulkTransaction(db, true, path, input)
    } catch (error) {
      db.close()
      throw error
    }
  }

  /** @throws CANCELLED once it was rolled back; otherwise as {@link BulkRevision.add} */
  add(diff: RecordsDiff): void {
    if (!this.#open) throw new DbError('CANCELLED', 'The project was closed: nothing was imported.')
    this.#revision.add(diff)
  }

  /** Takes a large revision back, a piece at each step. @throws as {@link add} */
  *turn(source: number): Generator<RecordsDiff> {
    for (const piece of turnedPieces(this.#db, source)) {
      if (!this.#open) throw new DbError('CANCELLED', 'The project was closed: nothing was taken back.')
      this.#revision.add(piece, true)
      yield piece
    }
  }

  /** Durable when it returns. @throws CANCELLED, INVALID_INPUT (a row that points to nothing), DISK_FULL, IO_FAILED */
  commit(): Revision {
    if (!this.#open) throw new DbError('CANCELLED', 'The project was closed: nothing was imported.')
    const revision = this.#revision.finish()
    this.#db.exec('COMMIT')
    assertDurable(this.#db, this.#path)
    this.#end()
    return revision
  }

  /** Leaves the file as it was. Safe to call at any time. */
  rollBack(): void {
    if (!this.#open) return
    if (this.#db.inTransaction) this.#db.exec('ROLLBACK')
    this.#end()
  }

  #end(): void {
    this.#open = false
    if (this.#own) this.#db.close()
  }
}
