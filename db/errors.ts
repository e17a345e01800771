/** Errors of the storage layer. The codes are those of the wire contract, so they survive it unchanged. */

export type DbErrorCode =
  | 'INVALID_INPUT'
  | 'NOT_FOUND'
  | 'ALREADY_EXISTS'
  | 'NO_IMAGES'
  | 'PROJECT_INVALID'
  | 'PROJECT_NEWER'
  | 'READ_ONLY'
  | 'DISK_FULL'
  | 'IO_FAILED'
  | 'STALE'
  | 'CANCELLED'
  | 'UNSUPPORTED'

/** The one error class of this layer: `message` names the file and the reason in a plain sentence. */
export class DbError extends Error {
  readonly code: DbErrorCode
  constructor(code: DbErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.name = 'DbError'
    this.code = code
  }
}

/** Reads the `code` of anything thrown by SQLite or by the file system; '' when it has none. */
export function codeOf(error: unknown): string {
  const code = (error as { code?: unknown } | null)?.code
  return typeof code === 'string' ? code : ''
}

/** True for the two ways of saying that the disk is full. */
export function isDiskFull(error: unknown): boolean {
  const code = codeOf(error)
  return code === 'SQLITE_FULL' || code === 'ENOSPC' || code === 'EDQUOT' || code === 'DISK_FULL'
}

const FILE_CODES: Record<string, DbErrorCode> = {
  ENOENT: 'NOT_FOUND',
  ENOTDIR: 'NOT_FOUND',
  EEXIST: 'ALREADY_EXISTS',
  EROFS: 'READ_ONLY',
  EACCES: 'READ_ONLY',
  EPERM: 'READ_ONLY',
}

function classify(error: unknown): DbErrorCode {
  const code = codeOf(error)
  if (isDiskFull(error)) return 'DISK_FULL'
  if (code.startsWith('SQLITE_CORRUPT') || code === 'SQLITE_NOTADB') return 'PROJECT_INVALID'
  if (code.startsWith('SQLITE_READONLY')) return 'READ_ONLY'
  if (code.startsWith('SQLITE_CONSTRAINT')) return 'INVALID_INPUT'
  if (code === 'ABORT_ERR') return 'CANCELLED'
  return FILE_CODES[code] ?? 'IO_FAILED'
}

/** Gives an error of SQLite or of the file system its code and a sentence; a {@link DbError} passes through. */
export function toDbError(error: unknown, doing: string): DbError {
  if (error instanceof DbError) return error
  const reason = error instanceof Error ? error.message : String(error)
  return new DbError(classify(error), `${doing}: ${reason}`, { cause: error })
}

/** Stops work that was cancelled. @throws CANCELLED */
export function throwIfAborted(signal: AbortSignal | undefined, what: string): void {
  if (signal?.aborted) throw new DbError('CANCELLED', `${what} was cancelled.`)
}
