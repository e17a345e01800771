/** What the command line writes: results on stdout, everything else on stderr, errors in one line. */
import { AppError, toWireError } from '../contract/errors.ts'

export interface Terminal {
  stdout: { write(text: string): unknown }
  stderr: { write(text: string): unknown; isTTY?: boolean; columns?: number }
}

/** 0 done, 1 failed, 2 wrong usage. */
export const exitCodeOf = (error: unknown): number => (toWireError(error).code === 'USAGE' ? 2 : 1)

/** The one line of an error, `gromatic: CODE: message`; the stack below it when asked for. */
export function errorText(error: unknown, verbose: boolean): string {
  const { code, message, details } = toWireError(error)
  const line = `gromatic: ${code}: ${message.replace(/\s*\n\s*/g, ' ').trim()}\n`
  if (!verbose) return line
  const cause = error instanceof AppError && error.cause !== undefined ? `\ncaused by: ${causeText(error.cause)}` : ''
  return `${line}${details ?? ''}${cause}\n`
}

const causeText = (cause: unknown): string => (cause instanceof Error ? (cause.stack ?? cause.message) : String(cause))

/** Bytes for people: "23 MB". */
export function bytesText(bytes: number): string {
  const units = ['bytes', 'KB', 'MB', 'GB', 'TB']
  let value = bytes
  let unit = 0
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000
    unit++
  }
  return `${unit === 0 || value >= 10 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`
}

/** Progress on stderr: a bar on a terminal, a line every few seconds elsewhere. */
export class ProgressLine {
  readonly #terminal: Terminal
  readonly #everyMs: number
  #lastAt = 0
  #lastText = ''
  #shown = false

  constructor(terminal: Terminal, everyMs = 3_000) {
    this.#terminal = terminal
    this.#everyMs = everyMs
  }

  show(progress: { done: number; total: number | null; note: string }): void {
    const tty = this.#terminal.stderr.isTTY === true
    const text = tty ? barText(progress, this.#terminal.stderr.columns ?? 80) : plainText(progress)
    const now = Date.now()
    if (text === this.#lastText || now - this.#lastAt < (tty ? 80 : this.#everyMs)) return
    this.#lastAt = now
    this.#lastText = text
    this.#shown = true
    this.#terminal.stderr.write(tty ? `\r\u001b[2K${text}` : `${text}\n`)
  }

  /** A line that stays: a file that was skipped, for example. */
  note(text: string): void {
    this.clear()
    this.#terminal.stderr.write(`${text}\n`)
  }

  /** Takes the bar away. */
  clear(): void {
    if (this.#shown && this.#terminal.stderr.isTTY === true) this.#terminal.stderr.write('\r\u001b[2K')
    this.#shown = false
    this.#lastText = ''
  }
}

function plainText({ done, total, note }: { done: number; total: number | null; note: string }): string {
  const share = total === null || total <= 0 ? '' : `${Math.min(100, Math.round((100 * done) / total))}% `
  return `${share}${note}`
}

/** One line, with what came last: of an answer that is being written, its latest words. */
function endOf(note: string, width: number): string {
  const line = note.replace(/\s+/g, ' ')
  return line.length <= width ? line : `…${line.slice(line.length - width + 1)}`
}

function barText(progress: { done: number; total: number | null; note: string }, columns: number): string {
  const { done, total, note } = progress
  if (total === null || total <= 0) return endOf(note, columns - 1)
  const width = 24
  const share = Math.min(1, Math.max(0, done / total))
  const full = Math.round(width * share)
  const percent = String(Math.round(share * 100)).padStart(3)
  return `${'█'.repeat(full)}${'░'.repeat(width - full)} ${percent}% ${note}`.slice(0, columns - 1)
}
