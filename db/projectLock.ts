/**
 * One writer for each project file. The lock is an exclusive SQLite lock on an empty database beside the project
 * (`<file>-lock`): the operating system lets go of it when the process dies, whatever kills it, and readers of the
 * project itself are not shut out.
 */
import { rmSync, statSync } from 'node:fs'
import { codeOf } from './errors.ts'
import { connect, type Db } from './sqlite.ts'

export interface ProjectLock {
  /** True when the lock file was there already: the last writer did not close cleanly. */
  readonly leftBehind: boolean
  release(): void
}

export type LockResult = { lock: ProjectLock } | { lock: null; reason: 'held' | 'unwritable' }

function inode(path: string): bigint | null {
  try {
    return statSync(path, { bigint: true }).ino
  } catch {
    return null
  }
}

function remove(path: string): void {
  try {
    rmSync(path, { force: true })
  } catch {
    // on Windows another process may hold it open: then it is that process's file now
  }
}

/** Tries once and returns at once (well under a second): held by another writer, or the folder cannot be written. */
export function acquireProjectLock(projectPath: string): LockResult {
  const path = `${projectPath}-lock`
  for (let attempt = 0; attempt < 5; attempt++) {
    const before = inode(path)
    let db: Db | undefined
    try {
      db = connect(path, { timeoutMs: 0 })
      db.pragma('journal_mode = MEMORY')
      db.exec('BEGIN EXCLUSIVE')
    } catch (error) {
      db?.close()
      const held = codeOf(error).startsWith('SQLITE_BUSY') || codeOf(error).startsWith('SQLITE_LOCKED')
      return { lock: null, reason: held ? 'held' : 'unwritable' }
    }
    const after = inode(path)
    // The holder before us may have removed the file between our open and our lock: then ours is a file without a name.
    if (after === null || (before !== null && before !== after)) {
      db.close()
      continue
    }
    return { lock: hold(db, path, before !== null) }
  }
  return { lock: null, reason: 'held' }
}

function hold(db: Db, path: string, leftBehind: boolean): ProjectLock {
  let released = false
  return {
    leftBehind,
    release() {
      if (released) return
      released = true
      // Where an open file can be removed, do it while the lock is still ours; Windows cannot, and needs no such care.
      if (process.platform === 'win32') {
        db.close()
        remove(path)
      } else {
        remove(path)
        db.close()
      }
    },
  }
}
