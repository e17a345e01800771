/** A log that stays on this machine: one file, one older one, each at most a megabyte. */
import { appendFileSync, mkdirSync, renameSync, statSync } from 'node:fs'
import { dirname } from 'node:path'

export type Level = 'info' | 'warn' | 'error'
export type Log = (level: Level, message: string) => void

const MAX_BYTES = 1024 * 1024
const MAX_LINE_CHARS = 4000

/** Appends lines to `path`. A log that cannot be written is dropped: it must never be what stops the program. */
export function openLog(path: string, now: () => Date = () => new Date()): Log {
  let bytes = 0
  try {
    mkdirSync(dirname(path), { recursive: true })
    bytes = statSync(path, { throwIfNoEntry: false })?.size ?? 0
  } catch {}
  return (level, message) => {
    const line = `${now().toISOString()} ${level} ${message.slice(0, MAX_LINE_CHARS).replaceAll(/\r?\n/g, '\n  ')}\n`
    try {
      if (bytes > MAX_BYTES) {
        renameSync(path, `${path}.1`)
        bytes = 0
      }
      appendFileSync(path, line)
      bytes += Buffer.byteLength(line)
    } catch {}
  }
}
