/**
 * Space kept for the moment the disk is full: SQLite needs room even to delete or to checkpoint. The file is real
 * bytes (not sparse), made when a project opens for writing and removed when it closes.
 */

import { randomFillSync } from 'node:crypto'
import { closeSync, fsyncSync, openSync, rmSync, statfsSync, statSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'

export const BALLAST_BYTES = 16 * 1024 * 1024
/** Below this the person is warned. */
export const LOW_DISK_BYTES = 500 * 1024 * 1024

/** Free bytes for this user where `path` lies; null when the file system does not say. */
export function freeBytes(path: string): number | null {
  try {
    const stats = statfsSync(dirname(path))
    return stats.bavail * stats.bsize
  } catch {
    return null
  }
}

export class Ballast {
  readonly #path: string

  constructor(projectPath: string) {
    this.#path = `${projectPath}-ballast`
  }

  get held(): boolean {
    try {
      return statSync(this.#path).size >= BALLAST_BYTES
    } catch {
      return false
    }
  }

  /** Fills the file unless it is full already. Returns false, with nothing left behind, when there is no room. */
  reserve(): boolean {
    if (this.held) return true
    const free = freeBytes(this.#path)
    if (free !== null && free < 2 * BALLAST_BYTES) return false
    try {
      const handle = openSync(this.#path, 'w')
      try {
        const block = Buffer.allocUnsafe(1024 * 1024)
        randomFillSync(block) // file systems that compress would store zeros in no space at all
        for (let written = 0; written < BALLAST_BYTES; written += block.length) writeSync(handle, block)
        fsyncSync(handle)
      } finally {
        closeSync(handle)
      }
      return true
    } catch {
      this.release()
      return false
    }
  }

  /** Gives the space back. Returns false when there was nothing to give. */
  release(): boolean {
    const held = this.held
    try {
      rmSync(this.#path, { force: true })
    } catch {
      return false
    }
    return held
  }
}
