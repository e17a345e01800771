/** The boxes of a project. Read only: everything that changes them goes through `commitRevision`. */
import { DbError } from '../errors.ts'
import type { Annotation } from '../records/records.ts'
import { codecs, type SqlRow } from '../rows.ts'
import { type Db, statement } from '../sqlite.ts'

export interface AnnotationsRepository {
  /** All of an image, whatever their status, by id. */
  list(imageId: number): Annotation[]
  /** @throws NOT_FOUND */
  get(id: number): Annotation
  find(id: number): Annotation | null
  /** In the order of `ids`. @throws NOT_FOUND naming the first that is not there */
  getMany(ids: readonly number[]): Annotation[]
  /** How many boxes of an image people made, decided or edited. */
  countTouched(imageId: number): number
}

const { columns, fromRow } = codecs.annotations

export function annotationsRepository(db: Db): AnnotationsRepository {
  const select = (where: string, value: unknown): Annotation[] =>
    (statement(db, `SELECT ${columns.join(', ')} FROM annotations ${where}`).all(value) as SqlRow[]).map(fromRow)
  const find = (id: number): Annotation | null => select('WHERE id = ?', id)[0] ?? null
  const get = (id: number): Annotation => {
    const annotation = find(id)
    if (annotation === null) throw new DbError('NOT_FOUND', `Box ${id} is not there any more.`)
    return annotation
  }
  return {
    list: (imageId) => select('WHERE image_id = ? ORDER BY id', imageId),
    find,
    get,
    getMany: (ids) => ids.map(get),
    countTouched(imageId) {
      const sql = `SELECT count(*) AS n FROM annotations WHERE image_id = ?
        AND (provenance = 'human' OR decided_at IS NOT NULL OR status IN ('edited', 'rejected'))`
      return (statement(db, sql).get(imageId) as { n: number }).n
    },
  }
}
