/** The talk about each image, in the order it was had. */
import { DbError } from '../errors.ts'
import type { Message } from '../records/records.ts'
import { codecs, type SqlRow } from '../rows.ts'
import { type Db, statement } from '../sqlite.ts'

export interface MessagesRepository {
  /** By id. @throws PROJECT_INVALID when a stored span cannot be read */
  list(imageId: number): Message[]
  /** @throws NOT_FOUND, PROJECT_INVALID */
  get(id: number): Message
}

const { columns, fromRow } = codecs.messages

export function messagesRepository(db: Db): MessagesRepository {
  const select = (where: string, value: unknown): Message[] =>
    (statement(db, `SELECT ${columns.join(', ')} FROM messages ${where}`).all(value) as SqlRow[]).map(fromRow)
  return {
    list: (imageId) => select('WHERE image_id = ? ORDER BY id', imageId),
    get(id) {
      const message = select('WHERE id = ?', id)[0]
      if (message === undefined) throw new DbError('NOT_FOUND', `Message ${id} is not there any more.`)
      return message
    },
  }
}
