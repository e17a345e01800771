/** The images of a project and what they hold, in the order people count. */
import { DbError } from '../errors.ts'
import type { ImageRecord, ImageSummary, SkippedFile } from '../records/records.ts'
import { codecs, type SqlRow } from '../rows.ts'
import { searchKey } from '../sortKey.ts'
import { type Db, statement } from '../sqlite.ts'

/** What a walk of the folder needs to know about an image to leave it alone. */
export interface KnownFile {
  id: number
  fileBytes: number
  /** Milliseconds; null when no walk has seen the file yet. */
  modifiedMs: number | null
  status: ImageRecord['status']
}

export interface ImagesRepository {
  /** `filter` is a part of the file name, whatever its case. */
  list(options?: { offset?: number; limit?: number; filter?: string }): { total: number; items: ImageSummary[] }
  /** @throws NOT_FOUND */
  get(id: number): ImageSummary
  find(id: number): ImageSummary | null
  byFileName(fileName: string): ImageRecord | null
  byContentSha256(contentSha256: string): ImageRecord[]
  /** The next images (in list order) after this one whose files are there. */
  readyAfter(id: number, limit: number): ImageRecord[]
  knownFiles(): Map<string, KnownFile>
  skipped(): SkippedFile[]
  /** Ids in list order, for walks over the whole project. */
  ids(): number[]
}

const { columns, fromRow } = codecs.images
const COLUMNS = [...columns, 'proposed_count', 'accepted_count', 'edited_count', 'rejected_count'].join(', ')

function toSummary(row: SqlRow): ImageSummary {
  const counts = {
    proposed: Number(row.proposed_count),
    accepted: Number(row.accepted_count),
    edited: Number(row.edited_count),
    rejected: Number(row.rejected_count),
  }
  return { ...fromRow(row), counts }
}

export function imagesRepository(db: Db): ImagesRepository {
  const find = (id: number): ImageSummary | null => {
    const row = statement(db, `SELECT ${COLUMNS} FROM images WHERE id = ?`).get(id) as SqlRow | undefined
    return row === undefined ? null : toSummary(row)
  }
  const select = (where: string, ...values: unknown[]): ImageRecord[] =>
    (statement(db, `SELECT ${columns.join(', ')} FROM images ${where}`).all(...values) as SqlRow[]).map(fromRow)
  return {
    list({ offset = 0, limit = 500, filter = '' } = {}) {
      const needle = searchKey(filter.trim())
      const where = needle === '' ? '' : 'WHERE instr(search_key, @needle) > 0'
      const total =
        needle === ''
          ? statement(db, "SELECT value AS n FROM counters WHERE name = 'images'").get()
          : statement(db, `SELECT count(*) AS n FROM images ${where}`).get({ needle })
      const page = statement(
        db,
        `SELECT ${COLUMNS} FROM images ${where} ORDER BY sort_key, id LIMIT @limit OFFSET @offset`,
      )
      const rows = page.all(needle === '' ? { limit, offset } : { limit, offset, needle }) as SqlRow[]
      return { total: (total as { n: number }).n, items: rows.map(toSummary) }
    },
    find,
    get(id) {
      const image = find(id)
      if (image === null) throw new DbError('NOT_FOUND', `There is no image ${id} in this project.`)
      return image
    },
    byFileName: (fileName) => select('WHERE file_name = ?', fileName)[0] ?? null,
    byContentSha256: (contentSha256) => select('WHERE content_sha256 = ? ORDER BY id', contentSha256),
    readyAfter: (id, limit) =>
      select(
        `WHERE (sort_key, id) > (SELECT sort_key, id FROM images WHERE id = ?) AND status = 'ready'
         ORDER BY sort_key, id LIMIT ?`,
        id,
        limit,
      ),
    knownFiles() {
      const rows = statement(db, 'SELECT id, file_name, file_bytes, modified_ms, status FROM images').all() as SqlRow[]
      return new Map(
        rows.map((row) => [
          String(row.file_name),
          {
            id: Number(row.id),
            fileBytes: Number(row.file_bytes),
            modifiedMs: row.modified_ms === null ? null : Number(row.modified_ms),
            status: row.status as ImageRecord['status'],
          },
        ]),
      )
    },
    skipped: () =>
      statement(
        db,
        'SELECT file_name AS fileName, reason FROM skipped_files ORDER BY sort_key, file_name',
      ).all() as SkippedFile[],
    ids: () =>
      (statement(db, 'SELECT id FROM images ORDER BY sort_key, id').all() as { id: number }[]).map((row) => row.id),
  }
}
