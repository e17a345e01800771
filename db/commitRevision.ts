/**
 * The only writer of records. A command becomes a diff; the diff, its revision and the counters go into one transaction.
 * What returns from here is on the disk.
 */
import { codeOf, DbError, toDbError } from './errors.ts'
import {
  type Change,
  diffSize,
  emptyDiff,
  imageIdOf,
  type RecordOf,
  sameValue,
  TABLE_NAMES,
  type TableName,
} from './records/diff.ts'
import type { Actor, RecordsDiff, Revision, SkippedFile } from './records/records.ts'
import { codecs, type SqlRow } from './rows.ts'
import { naturalSortKey } from './sortKey.ts'
import { type Db, type Statement, statement } from './sqlite.ts'

export interface CommitInput {
  actor: Actor
  /** Short and plain, for the status bar: "Accept 14". */
  label: string
  diff: RecordsDiff
  /** The revision this takes back, or puts back: set by `undo` and `redo` only. */
  undoes?: number
  redoes?: number
  /** What a walk of the folder knows beside the rows: file times by image id, and (at its end) the files it skipped. */
  scan?: { modifiedMs: ReadonlyMap<number, number>; skipped?: readonly SkippedFile[] }
}

function readRecord<T extends TableName>(db: Db, table: T, id: number): RecordOf<T> | null {
  const { columns, fromRow } = codecs[table]
  const row = statement(db, `SELECT ${columns.join(', ')} FROM ${table} WHERE id = ?`).get(id) as SqlRow | undefined
  return row === undefined ? null : fromRow(row)
}

/** The stored row as it is now; null when there is none. */
export const currentRecord = readRecord

/** A row as its schema has it: what callers carry along beside it (counts of a summary) falls away. */
function parseRecord<T extends TableName>(table: T, record: RecordOf<T> | null): RecordOf<T> | null {
  if (record === null) return null
  const parsed = codecs[table].schema.safeParse(record)
  if (parsed.success) {
    const row = parsed.data as Record<string, unknown>
    // half a surrogate pair is no text: SQLite would store something else than the history says
    for (const [key, value] of Object.entries(row)) if (typeof value === 'string') row[key] = value.toWellFormed()
    return parsed.data
  }
  const issue = parsed.error.issues[0]
  const where = issue === undefined ? '' : ` (${issue.path.join('.')}: ${issue.message})`
  throw new DbError('INVALID_INPUT', `A row of ${table} is not valid${where}.`, { cause: parsed.error })
}

const stale = (table: TableName, id: number, what: string): DbError =>
  new DbError('STALE', `Row ${id} of ${table} ${what} since it was read.`)

/** Checks shape and `before`, and drops changes that change nothing. That a new row is new is left to its key. */
function checkChange<T extends TableName>(db: Db, table: T, given: Change<RecordOf<T>>): Change<RecordOf<T>> | null {
  const before = parseRecord(table, given.before)
  const after = parseRecord(table, given.after)
  if (before === null && after === null) return null
  if (before !== null && after !== null && before.id !== after.id) {
    throw new DbError('INVALID_INPUT', `A change of ${table} names two rows: ${before.id} and ${after.id}.`)
  }
  const id = (after ?? before)?.id ?? 0
  if (before === null) return { before, after }
  const current = readRecord(db, table, id)
  if (!sameValue(current, before)) throw stale(table, id, current === null ? 'is gone' : 'has changed')
  return sameValue(before, after) ? null : { before, after }
}

function writeChange<T extends TableName>(db: Db, table: T, { before, after }: Change<RecordOf<T>>): void {
  const { columns, toRow } = codecs[table]
  if (after === null) {
    statement(db, `DELETE FROM ${table} WHERE id = ?`).run(before?.id)
    return
  }
  const row = toRow(after)
  if (before === null) {
    try {
      insertInto(db, table).run(columns.map((column) => row[column] ?? null))
    } catch (error) {
      if (codeOf(error) === 'SQLITE_CONSTRAINT_PRIMARYKEY') throw stale(table, after.id, 'exists already')
      throw error
    }
    return
  }
  const sets = columns.slice(1).map((column) => `${column} = @${column}`)
  statement(db, `UPDATE ${table} SET ${sets.join(', ')} WHERE id = @id`).run(row)
}

const inserts = new WeakMap<Db, Partial<Record<TableName, Statement>>>()

function insertInto(db: Db, table: TableName): Statement {
  const known = inserts.get(db) ?? {}
  inserts.set(db, known)
  const { columns } = codecs[table]
  known[table] ??= db.prepare(
    `INSERT INTO ${table} (${columns.join(', ')}) VALUES (${columns.map(() => '?').join(', ')})`,
  )
  return known[table]
}

function applyTable<T extends TableName>(db: Db, table: T, given: RecordsDiff, known: boolean): Change<RecordOf<T>>[] {
  const applied: Change<RecordOf<T>>[] = []
  let highest = 0
  for (const change of given[table] as Change<RecordOf<T>>[]) {
    const checked = known ? change : checkChange(db, table, change)
    if (checked === null) continue
    writeChange(db, table, checked)
    applied.push(checked)
    if (checked.before === null) highest = Math.max(highest, checked.after?.id ?? 0)
  }
  if (highest > 0)
    statement(db, 'UPDATE counters SET value = max(value, ?) WHERE name = ?').run(highest, `last.${table}`)
  return applied
}

/**
 * Applies a diff inside the transaction that is open, and returns what was applied. With `known` every row was read (or
 * checked against its schema) in this very transaction, and is not looked at again.
 * @throws STALE, INVALID_INPUT, ALREADY_EXISTS
 */
export function applyDiff(db: Db, given: RecordsDiff, known = false): RecordsDiff {
  const diff: RecordsDiff = emptyDiff()
  for (const table of TABLE_NAMES) diff[table] = applyTable(db, table, given, known) as never
  checkCategoryNames(db, diff.categories)
  return diff
}

/** Two classes of one name would be one class to everyone who reads the export. */
function checkCategoryNames(db: Db, changes: readonly Change<RecordOf<'categories'>>[]): void {
  for (const { after } of changes) {
    if (after === null) continue
    const same = statement(db, 'SELECT count(*) AS n FROM categories WHERE name = ?').get(after.name) as { n: number }
    if (same.n > 1) throw new DbError('ALREADY_EXISTS', `There is a category "${after.name}" already.`)
  }
}

function writeScan(db: Db, scan: NonNullable<CommitInput['scan']>): void {
  const setTime = statement(db, 'UPDATE images SET modified_ms = ? WHERE id = ?')
  for (const [id, modifiedMs] of scan.modifiedMs) setTime.run(Math.trunc(modifiedMs), id)
  if (scan.skipped === undefined) return
  statement(db, 'DELETE FROM skipped_files').run()
  const insert = statement(db, 'INSERT OR REPLACE INTO skipped_files (file_name, sort_key, reason) VALUES (?, ?, ?)')
  for (const { fileName, reason } of scan.skipped) insert.run(fileName, naturalSortKey(fileName), reason)
  statement(db, "UPDATE counters SET value = (SELECT count(*) FROM skipped_files) WHERE name = 'skipped'").run()
}

/** Stores the revision of what was applied. `bulkRows`: how many rows its pieces hold, where `diff` is left empty for them. */
export function writeRevision(db: Db, input: Omit<CommitInput, 'diff'>, diff: RecordsDiff, bulkRows = 0): Revision {
  const { actor, label } = input
  const undoes = input.undoes ?? null
  const redoes = input.redoes ?? null
  const ordinary = undoes === null && redoes === null
  // A command that changed nothing is recorded, but it is no step of undo and costs nobody their redo.
  const undoable = ordinary && (actor === 'human' || actor === 'import') && diffSize(diff) + bulkRows > 0
  const createdAt = Date.now()
  if (undoable) statement(db, "UPDATE revisions SET state = 'discarded' WHERE undoable = 1 AND state = 'undone'").run()
  const insert = statement(
    db,
    `INSERT INTO revisions (actor, label, undoes, redoes, created_at, image_id, undoable, diff, bulk_rows)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  )
  const seq = Number(
    insert.run(
      actor,
      label,
      undoes,
      redoes,
      createdAt,
      imageIdOf(diff),
      undoable ? 1 : 0,
      JSON.stringify(diff),
      bulkRows,
    ).lastInsertRowid,
  )
  const setState = statement(db, 'UPDATE revisions SET state = ? WHERE seq = ?')
  if (undoes !== null) setState.run('undone', undoes)
  if (redoes !== null) setState.run('done', redoes)
  return { seq, actor, label, undoes, redoes, createdAt, diff, ...(bulkRows > 0 ? { bulkRows } : {}) }
}

/**
 * Writes one revision: every row of `diff` and the revision itself, or nothing. Each `before` must equal what is stored.
 * The returned diff is what was applied: changes that change nothing are left out.
 * @throws STALE, INVALID_INPUT (shape, a category or image that is not there), ALREADY_EXISTS (category name), READ_ONLY,
 *   DISK_FULL, IO_FAILED
 */
export function commitRevision(db: Db, input: CommitInput): Revision {
  try {
    return db
      .transaction(() => {
        const diff = applyDiff(db, input.diff)
        if (input.scan !== undefined) writeScan(db, input.scan)
        return writeRevision(db, input, diff)
      })
      .immediate()
  } catch (error) {
    throw toDbError(error, `"${input.label}" could not be saved`)
  }
}

const nextIds = new WeakMap<Db, Map<TableName, number>>()

/** The id that the next new row of a table would get. */
export function nextId(db: Db, table: TableName): number {
  const stored = statement(db, 'SELECT value FROM counters WHERE name = ?').get(`last.${table}`) as { value: number }
  return Math.max(nextIds.get(db)?.get(table) ?? 0, stored.value + 1)
}

/**
 * The next `count` ids of a table, in order. Ids of deleted rows are never given again; an id that is not committed is
 * forgotten with the process.
 */
export function allocateIds(db: Db, table: TableName, count = 1): number[] {
  const known = nextIds.get(db) ?? new Map<TableName, number>()
  nextIds.set(db, known)
  const first = nextId(db, table)
  known.set(table, first + count)
  return Array.from({ length: count }, (_, index) => first + index)
}
