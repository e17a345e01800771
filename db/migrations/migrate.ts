/** Brings a database up to the newest schema: backup, one transaction, foreign keys checked, version, commit. */
import { closeSync, existsSync, fsyncSync, openSync, renameSync, rmSync } from 'node:fs'
import { dirname } from 'node:path'
import { DbError, toDbError } from '../errors.ts'
import type { Db } from '../sqlite.ts'
import { type Migration, migrations } from './migrations.ts'

/** The schema version that this program writes. */
export function newestVersion(list: readonly Migration[] = migrations): number {
  return list.at(-1)?.version ?? 0
}

/** Makes the entries of a folder durable; file systems that cannot (Windows, some network drives) are left alone. */
export function fsyncDirectory(directory: string): void {
  try {
    const handle = openSync(directory, 'r')
    try {
      fsyncSync(handle)
    } finally {
      closeSync(handle)
    }
  } catch {
    // a folder that cannot be synced is as durable as it gets
  }
}

/** Copies a live database beside itself, whole or not at all: `VACUUM INTO` a temporary name, then rename. */
function backUp(db: Db, path: string, version: number): string {
  const target = `${path}.before-${version}`
  const temporary = `${target}.tmp`
  rmSync(temporary, { force: true })
  db.prepare('VACUUM INTO ?').run(temporary)
  const handle = openSync(temporary, 'r+')
  fsyncSync(handle)
  closeSync(handle)
  renameSync(temporary, target)
  fsyncDirectory(dirname(path))
  return target
}

/**
 * Applies what is missing and returns the path of the backup it took first; null when the file was new or up to date.
 * A kill at any moment leaves the old schema or the new one, never a mixture.
 * @throws PROJECT_NEWER when a newer program wrote the file; PROJECT_INVALID when rows break the new schema; DISK_FULL
 */
export function migrate(db: Db, path: string, list: readonly Migration[] = migrations): string | null {
  const current = db.pragma('user_version', { simple: true }) as number
  const newest = newestVersion(list)
  if (current > newest) {
    throw new DbError('PROJECT_NEWER', `${path} was written by a newer version of Gromatic. Update to open it.`)
  }
  if (current === newest) return null
  try {
    const backup = current > 0 && existsSync(path) ? backUp(db, path, newest) : null
    db.pragma('foreign_keys = OFF') // a migration may rebuild tables; the check below is what counts
    try {
      db.transaction(() => {
        for (const migration of list) if (migration.version > current) db.exec(migration.sql)
        const broken = db.pragma('foreign_key_check') as unknown[]
        if (broken.length > 0) {
          throw new DbError(
            'PROJECT_INVALID',
            `${path} has ${broken.length} rows that point to nothing; it was not changed.`,
          )
        }
        db.pragma(`user_version = ${newest}`)
      }).immediate()
    } finally {
      db.pragma('foreign_keys = ON')
    }
    return backup
  } catch (error) {
    throw toDbError(error, `${path} could not be brought up to date`)
  }
}
