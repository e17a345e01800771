/** The append-only history, newest first. */
import { DbError } from '../errors.ts'
import { RecordsDiff, type Revision } from '../records/records.ts'
import { type Db, statement } from '../sqlite.ts'

/** A revision without its rows, for the history list. */
export type RevisionSummary = Omit<Revision, 'diff'> & {
  /** True while an undo holds it back. */
  undone: boolean
  /** The one image it was about; null when several, or none. */
  imageId: number | null
}

interface RevisionRow {
  seq: number
  actor: Revision['actor']
  label: string
  undoes: number | null
  redoes: number | null
  created_at: number
  image_id: number | null
  state: string
  diff: string
  bulk_rows: number
}

const bulk = (rows: number): { bulkRows?: number } => (rows > 0 ? { bulkRows: rows } : {})

/** One revision with its rows; those of a bulk one are read by `readPieces`. @throws NOT_FOUND; PROJECT_INVALID when the stored diff cannot be read */
export function readRevision(db: Db, seq: number): Revision {
  const row = statement(db, 'SELECT * FROM revisions WHERE seq = ?').get(seq) as RevisionRow | undefined
  if (row === undefined) throw new DbError('NOT_FOUND', `There is no revision ${seq}.`)
  let diff: RecordsDiff
  try {
    diff = RecordsDiff.parse(JSON.parse(row.diff))
  } catch (error) {
    throw new DbError('PROJECT_INVALID', `The project file is damaged: revision ${seq} cannot be read.`, {
      cause: error,
    })
  }
  const { actor, label, undoes, redoes } = row
  return { seq, actor, label, undoes, redoes, createdAt: row.created_at, diff, ...bulk(row.bulk_rows) }
}

export interface HistoryRepository {
  /** Newest first, below `beforeSeq` when given. */
  list(options?: { beforeSeq?: number | undefined; limit?: number }): RevisionSummary[]
  /** @throws NOT_FOUND, PROJECT_INVALID */
  get(seq: number): Revision
  /** Highest sequence; 0 when nothing happened yet. */
  headSeq(): number
}

export function historyRepository(db: Db): HistoryRepository {
  return {
    list({ beforeSeq, limit = 100 } = {}) {
      const rows = statement(
        db,
        `SELECT seq, actor, label, undoes, redoes, created_at, image_id, state, bulk_rows FROM revisions
         WHERE seq < ? ORDER BY seq DESC LIMIT ?`,
      ).all(beforeSeq ?? Number.MAX_SAFE_INTEGER, limit) as RevisionRow[]
      return rows.map((row) => ({
        seq: row.seq,
        actor: row.actor,
        label: row.label,
        undoes: row.undoes,
        redoes: row.redoes,
        createdAt: row.created_at,
        undone: row.state !== 'done',
        imageId: row.image_id,
        ...bulk(row.bulk_rows),
      }))
    },
    get: (seq) => readRevision(db, seq),
    headSeq: () => (statement(db, 'SELECT max(seq) AS seq FROM revisions').get() as { seq: number | null }).seq ?? 0,
  }
}
