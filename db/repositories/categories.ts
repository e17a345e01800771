/** The classes of a project, in the order they were made. */
import { DbError } from '../errors.ts'
import type { Category } from '../records/records.ts'
import { codecs, type SqlRow } from '../rows.ts'
import { type Db, statement } from '../sqlite.ts'

export interface CategoriesRepository {
  list(): Category[]
  /** @throws NOT_FOUND */
  get(id: number): Category
  find(id: number): Category | null
  /** Exact, case and all. */
  byName(name: string): Category | null
  /** Ids of the annotations that have this category. */
  annotationIds(id: number): number[]
}

const { columns, fromRow } = codecs.categories

export function categoriesRepository(db: Db): CategoriesRepository {
  const select = (where: string, ...values: unknown[]): Category[] =>
    (statement(db, `SELECT ${columns.join(', ')} FROM categories ${where} ORDER BY id`).all(...values) as SqlRow[]).map(
      fromRow,
    )
  const find = (id: number): Category | null => select('WHERE id = ?', id)[0] ?? null
  return {
    list: () => select(''),
    find,
    get(id) {
      const category = find(id)
      if (category === null) throw new DbError('NOT_FOUND', `There is no category ${id} in this project.`)
      return category
    },
    byName: (name) => select('WHERE name = ?', name)[0] ?? null,
    annotationIds: (id) =>
      (statement(db, 'SELECT id FROM annotations WHERE category_id = ? ORDER BY id').all(id) as { id: number }[]).map(
        (row) => row.id,
      ),
  }
}
