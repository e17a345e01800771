/** What a project file says about itself. */
import { DbError, toDbError } from '../errors.ts'
import type { Project } from '../records/records.ts'
import { type Db, statement } from '../sqlite.ts'
import { redoStep, undoStep } from '../undo.ts'
import { historyRepository } from './history.ts'

const IMPORTS = 'imports.files'
export type MetaKey = 'name' | 'imagesDir.absolute' | 'imagesDir.relative' | 'createdAt' | typeof IMPORTS

/** @throws PROJECT_INVALID when the file lacks it */
export function readMeta(db: Db, key: MetaKey): string {
  const row = statement(db, 'SELECT value FROM meta WHERE key = ?').get(key) as { value: string } | undefined
  if (row === undefined)
    throw new DbError('PROJECT_INVALID', `The project file is damaged: it does not say its ${key}.`)
  return row.value
}

export function writeMeta(db: Db, key: MetaKey, value: string): void {
  statement(
    db,
    'INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value',
  ).run(key, value)
}

const IMPORTS_KEPT = 10

/** Absolute paths of the files that the last imports came from, newest first. */
export function importedFiles(db: Db): string[] {
  const row = statement(db, 'SELECT value FROM meta WHERE key = ?').get(IMPORTS) as { value: string } | undefined
  return row === undefined ? [] : (JSON.parse(row.value) as string[])
}

export function noteImportedFile(db: Db, path: string): void {
  const paths = [path, ...importedFiles(db).filter((known) => known !== path)].slice(0, IMPORTS_KEPT)
  writeMeta(db, IMPORTS, JSON.stringify(paths))
}

/** Of a damaged history nothing, so that the rest can still be looked at and exported: such a project is read-only. */
function historyOf(db: Db, readOnly: boolean): Pick<Project, 'headSeq' | 'undoLabel' | 'redoLabel'> {
  try {
    const [undo, redo] = [undoStep(db), redoStep(db)]
    return {
      headSeq: historyRepository(db).headSeq(),
      undoLabel: undo?.label ?? null,
      redoLabel: redo?.label ?? null,
    }
  } catch (error) {
    if (!readOnly) throw toDbError(error, 'The history cannot be read')
    return { headSeq: 0, undoLabel: null, redoLabel: null }
  }
}

/** Counters and the labels of undo and redo. Costs a handful of index look-ups, however large the project is. */
export function projectSummary(
  db: Db,
  about: Pick<Project, 'path' | 'name' | 'imagesDir' | 'readOnly' | 'warning'>,
): Project {
  const rows = statement(db, 'SELECT name, value FROM counters').all() as { name: string; value: number }[]
  const counters = new Map(rows.map((row) => [row.name, row.value]))
  return {
    ...about,
    imageCount: counters.get('images') ?? 0,
    doneCount: counters.get('done') ?? 0,
    decidedCount: counters.get('decided') ?? 0,
    skippedCount: counters.get('skipped') ?? 0,
    ...historyOf(db, about.readOnly),
  }
}
