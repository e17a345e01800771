/**
 * One revision of any number of rows, applied piece by piece inside a transaction that someone else holds open. The rows
 * of a large one are stored beside the revision, so that neither writing nor undoing it ever holds them all.
 */
import { applyDiff, type CommitInput, writeRevision } from './commitRevision.ts'
import { DbError } from './errors.ts'
import { diffSize, emptyDiff, TABLE_NAMES, type TableName } from './records/diff.ts'
import type { RecordsDiff, Revision } from './records/records.ts'
import { codecs, type SqlRow, type SqlValue } from './rows.ts'
import { type Db, statement } from './sqlite.ts'

type StoredRow = SqlValue[] | null
type StoredPiece = Partial<Record<TableName, { columns: readonly string[]; rows: [StoredRow, StoredRow][] }>>

function encode(diff: RecordsDiff): string {
  const piece: StoredPiece = {}
  for (const table of TABLE_NAMES) {
    if (diff[table].length === 0) continue
    const { columns, toRow } = codecs[table] as (typeof codecs)['annotations']
    const stored = (record: unknown): StoredRow => {
      if (record === null) return null
      const row = toRow(record as never)
      return columns.map((column) => row[column] ?? null)
    }
    piece[table] = { columns, rows: diff[table].map(({ before, after }) => [stored(before), stored(after)]) }
  }
  return JSON.stringify(piece)
}

function decode(text: string): RecordsDiff {
  const diff = emptyDiff()
  for (const [table, { columns, rows }] of Object.entries(JSON.parse(text) as Required<StoredPiece>)) {
    const { fromRow } = codecs[table as TableName]
    const record = (row: StoredRow) =>
      row === null ? null : fromRow(Object.fromEntries(columns.map((column, index) => [column, row[index]])) as SqlRow)
    diff[table as TableName] = rows.map(([before, after]) => ({
      before: record(before),
      after: record(after),
    })) as never
  }
  return diff
}

/** The pieces of a bulk revision, in the order they were applied or backwards. @throws PROJECT_INVALID */
export function* readPieces(db: Db, seq: number, order: 'forwards' | 'backwards' = 'forwards'): Generator<RecordsDiff> {
  const direction = order === 'forwards' ? 'ASC' : 'DESC'
  const ids = statement(db, `SELECT id FROM revision_pieces WHERE seq = ? ORDER BY id ${direction}`).all(seq)
  for (const { id } of ids as { id: number }[]) {
    const { diff } = statement(db, 'SELECT diff FROM revision_pieces WHERE id = ?').get(id) as { diff: string }
    let piece: RecordsDiff
    try {
      piece = decode(diff)
    } catch (error) {
      throw new DbError('PROJECT_INVALID', `The project file is damaged: revision ${seq} cannot be read.`, {
        cause: error,
      })
    }
    yield piece
  }
}

export class BulkRevision {
  readonly #db: Db
  readonly #input: Omit<CommitInput, 'diff'>
  readonly #seq: number
  #only: RecordsDiff | null = null
  #rows = 0
  #pieces = 0

  /** `db` is inside an immediate transaction, and stays there until after `finish`. */
  constructor(db: Db, input: Omit<CommitInput, 'diff'>) {
    this.#db = db
    this.#input = input
    const last = statement(db, "SELECT seq FROM sqlite_sequence WHERE name = 'revisions'").get() as
      | { seq: number }
      | undefined
    this.#seq = (last?.seq ?? 0) + 1
  }

  /** Applies and keeps one piece; what later pieces point to must come first. `known`: see {@link applyDiff}. @throws STALE, INVALID_INPUT, ALREADY_EXISTS, DISK_FULL */
  add(given: RecordsDiff, known = false): void {
    const diff = applyDiff(this.#db, given, known)
    const size = diffSize(diff)
    if (size === 0) return
    this.#rows += size
    this.#pieces++
    if (this.#pieces === 1) {
      this.#only = diff
      return
    }
    if (this.#only !== null) this.#store(this.#only)
    this.#only = null
    this.#store(diff)
  }

  #store(diff: RecordsDiff): void {
    statement(this.#db, 'INSERT INTO revision_pieces (seq, diff) VALUES (?, ?)').run(this.#seq, encode(diff))
  }

  /** Writes the revision itself: an ordinary one where a single piece was all. */
  finish(): Revision {
    const whole = this.#pieces <= 1
    const revision = writeRevision(this.#db, this.#input, this.#only ?? emptyDiff(), whole ? 0 : this.#rows)
    if (!whole && revision.seq !== this.#seq) throw new DbError('IO_FAILED', 'The history lost count of its revisions.')
    return revision
  }
}
