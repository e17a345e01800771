/**
 * Undo and redo over the append-only history. Only what people (or an import) did is a step; each step is taken back by
 * a new revision. State lives in the database, so it is unlimited and survives a restart.
 */
import { BulkRevision, readPieces } from './bulkRevision.ts'
import { type CommitInput, commitRevision, currentRecord } from './commitRevision.ts'
import { DbError } from './errors.ts'
import { type Change, emptyDiff, type RecordOf, reverseChange, TABLE_NAMES, type TableName } from './records/diff.ts'
import type { Category, RecordsDiff, Revision } from './records/records.ts'
import { readRevision } from './repositories/history.ts'
import { type Db, statement } from './sqlite.ts'

interface Step {
  seq: number
  label: string
}

/** What undo would take back now; null when there is nothing. Costs one index look-up. */
export function undoStep(db: Db): Step | null {
  const sql = "SELECT seq, label FROM revisions WHERE undoable = 1 AND state = 'done' ORDER BY seq DESC LIMIT 1"
  return (statement(db, sql).get() as Step | undefined) ?? null
}

/** What redo would put back now; null when there is nothing. */
export function redoStep(db: Db): Step | null {
  const sql = "SELECT seq, label FROM revisions WHERE undoable = 1 AND state = 'undone' ORDER BY seq LIMIT 1"
  return (statement(db, sql).get() as Step | undefined) ?? null
}

/** The last revision that undid (or redid) a step: its diff is what really happened to the rows. */
function lastOf(db: Db, column: 'undoes' | 'redoes', seq: number): number | null {
  const sql = `SELECT max(seq) AS seq FROM revisions WHERE ${column} = ?`
  return (statement(db, sql).get(seq) as { seq: number | null }).seq
}

function reverseTable<T extends TableName>(db: Db, table: T, diff: RecordsDiff): Change<RecordOf<T>>[] {
  const changes = diff[table] as Change<RecordOf<T>>[]
  return changes.flatMap((change) => {
    const id = (change.after ?? change.before)?.id
    if (id === undefined) return []
    const turned = reverseChange(change, currentRecord(db, table, id))
    return turned === null ? [] : [turned]
  })
}

/** True when annotations outside `reversed` still have this category: it stays then, whoever made it. */
function categoryInUse(db: Db, id: number, reversed: RecordsDiff): boolean {
  const leaving = new Set<number>()
  for (const { before, after } of reversed.annotations) {
    if (after?.categoryId === id) return true
    if (before !== null) leaving.add(before.id)
  }
  const users = statement(db, 'SELECT id FROM annotations WHERE category_id = ? LIMIT ?').all(id, leaving.size + 1)
  return (users as { id: number }[]).some((user) => !leaving.has(user.id))
}

/** A name that comes back may have been given to another class meanwhile: it gets a number then. */
function freeName(db: Db, category: Category): Category {
  const taken = statement(db, 'SELECT id FROM categories WHERE name = ? AND id <> ?')
  let name = category.name
  for (let number = 2; taken.get(name, category.id) !== undefined; number++) {
    const suffix = ` (${number})`
    name = category.name.slice(0, 200 - suffix.length) + suffix
  }
  return name === category.name ? category : { ...category, name }
}

/** The changes that take `diff` back now, whatever the model or a scan did since. */
function reverseNow(db: Db, diff: RecordsDiff): RecordsDiff {
  const reversed = emptyDiff()
  reversed.images = reverseTable(db, 'images', diff)
  reversed.messages = reverseTable(db, 'messages', diff)
  reversed.annotations = reverseTable(db, 'annotations', diff)
  const categories = reverseTable(db, 'categories', diff)
  const removed = new Set(
    categories.flatMap(({ before, after }) => (after === null && before !== null ? [before.id] : [])),
  )
  const restored = new Set(categories.flatMap(({ after }) => (after === null ? [] : [after.id])))
  reversed.categories = categories.flatMap((change) => {
    if (change.after !== null) return [{ ...change, after: freeName(db, change.after) }]
    return change.before !== null && categoryInUse(db, change.before.id, reversed) ? [] : [change]
  })
  // A class that someone else removed cannot come back with a box.
  reversed.annotations = reversed.annotations.map(({ before, after }) => {
    const id = after?.categoryId ?? null
    if (after === null || id === null || restored.has(id) || removed.has(id)) return { before, after }
    return currentRecord(db, 'categories', id) === null
      ? { before, after: { ...after, categoryId: null } }
      : { before, after }
  })
  return reversed
}

/** What taking a step back (or putting it back) is made of. */
export interface Turn {
  /** The revision whose rows are turned. */
  source: number
  input: Omit<CommitInput, 'diff'>
  /** How many rows it has, where they are kept in pieces beside it; null for an ordinary one. */
  bulkRows: number | null
}

/** The next turn; null when there is nothing to take back (or to put back). @throws PROJECT_INVALID */
export function nextTurn(db: Db, direction: 'undo' | 'redo'): Turn | null {
  const step = direction === 'undo' ? undoStep(db) : redoStep(db)
  if (step === null) return null
  const undoing = direction === 'undo'
  const source = undoing ? (lastOf(db, 'redoes', step.seq) ?? step.seq) : lastOf(db, 'undoes', step.seq)
  if (source === null) throw new DbError('PROJECT_INVALID', `The history lacks the revision that undid ${step.seq}.`)
  const label = `${undoing ? 'Undo' : 'Redo'} ${step.label}`
  const input = { actor: 'human' as const, label, ...(undoing ? { undoes: step.seq } : { redoes: step.seq }) }
  return { source, input, bulkRows: readRevision(db, source).bulkRows ?? null }
}

function turn(db: Db, direction: 'undo' | 'redo'): Revision | null {
  const next = nextTurn(db, direction)
  if (next === null) return null
  const { source, input, bulkRows } = next
  if (bulkRows === null) return commitRevision(db, { ...input, diff: turned(db, readRevision(db, source).diff) })
  const bulk = new BulkRevision(db, input)
  for (const piece of turnedPieces(db, source)) bulk.add(piece, true)
  return bulk.finish()
}

function turned(db: Db, diff: RecordsDiff): RecordsDiff {
  const reversed = reverseNow(db, diff)
  for (const table of TABLE_NAMES) reversed[table].reverse()
  return reversed
}

/**
 * The rows of a large revision, turned piece by piece backwards: boxes are gone before the classes and images that were
 * made for them are looked at. Each piece must be applied before the next is asked for.
 */
export function* turnedPieces(db: Db, source: number): Generator<RecordsDiff> {
  for (const piece of readPieces(db, source, 'backwards')) yield turned(db, piece)
}

/**
 * Takes back the last step; null when there is none. Fields that the model filled in since stay, rows that people made
 * go as they are now, and redo brings exactly that back.
 * @throws READ_ONLY, DISK_FULL, IO_FAILED
 */
export function undo(db: Db): Revision | null {
  return db.transaction(() => turn(db, 'undo')).immediate()
}

/** Puts back the last step that was undone; null when there is none. @throws READ_ONLY, DISK_FULL, IO_FAILED */
export function redo(db: Db): Revision | null {
  return db.transaction(() => turn(db, 'redo')).immediate()
}
