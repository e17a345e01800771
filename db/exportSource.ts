/**
 * What an exporter reads: the whole project at one moment. A second connection holds a read transaction, so that edits
 * go on while a long export runs and never show up half.
 */
import { toDbError } from './errors.ts'
import type { Annotation, Category, ImageRecord, Message } from './records/records.ts'
import { annotationsRepository } from './repositories/annotations.ts'
import { categoriesRepository } from './repositories/categories.ts'
import { imagesRepository } from './repositories/images.ts'
import { messagesRepository } from './repositories/messages.ts'
import { connect, type Db, hardenConnection } from './sqlite.ts'

/** One image with its boxes. */
export interface ExportItem {
  image: ImageRecord
  annotations: readonly Annotation[]
  /** `train`, `val`, …: where the export is split. */
  subset?: string
}

export interface ExportSource {
  name: string
  /** Absolute; where the `fileName`s lie. */
  imagesDir: string
  imageCount: number
  categories: readonly Category[]
  /** Every image, with all of its boxes whatever their status, in list order. Can be walked more than once. */
  items(): Iterable<ExportItem>
  /** Images that were passed over, because the part of the file that holds them is damaged. Complete after a walk. */
  unreadable: ReadonlySet<string>
  /** The talk about an image, and the sentences that came with it. */
  messages(imageId: number): readonly Message[]
  close(): void
}

function snapshot(path: string, db: Db): { db: Db; close(): void } {
  // Outside WAL a reader's transaction would keep writers out: read through the connection that is there.
  if (db.pragma('journal_mode', { simple: true }) !== 'wal' || db.readonly) return { db, close: () => undefined }
  const reader = connect(path, { mustExist: true })
  hardenConnection(reader)
  reader.pragma('query_only = ON')
  reader.exec('BEGIN')
  reader.prepare('SELECT count(*) FROM meta').get() // the snapshot is taken by the first read
  return { db: reader, close: () => reader.close() }
}

export function openExportSource(path: string, live: Db, about: { name: string; imagesDir: string }): ExportSource {
  const { db, close } = snapshot(path, live)
  const images = imagesRepository(db)
  const annotations = annotationsRepository(db)
  const messages = messagesRepository(db)
  const ids = images.ids()
  const unreadable = new Set<string>()
  const read = (id: number): ExportItem | null => {
    let name = `image ${id}`
    try {
      const found = images.find(id)
      if (found === null) return null
      const { counts: _counts, ...image } = found
      name = image.fileName
      return { image, annotations: annotations.list(id) }
    } catch (error) {
      if (toDbError(error, name).code !== 'PROJECT_INVALID') throw error
      unreadable.add(name)
      return null
    }
  }
  return {
    ...about,
    imageCount: ids.length,
    categories: categoriesRepository(db).list(),
    *items() {
      for (const id of ids) {
        const item = read(id)
        if (item !== null) yield item
      }
    },
    unreadable,
    messages: (imageId) => messages.list(imageId),
    close,
  }
}
