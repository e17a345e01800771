/** Every failure the model side can name; a code is stable, a message is for people. */
export const GROMA_ERROR_CODES = [
  'CHECKPOINT_MISSING', // a file that the checkpoint needs is not there
  'CHECKPOINT_TRUNCATED', // a file ends before its own header says
  'CHECKPOINT_INVALID', // a file breaks its format's rules, or the files contradict each other
  'CHECKPOINT_FOREIGN', // readable, but not a Groma checkpoint (plain LLaMA, a web page, a git-lfs pointer)
  'CONFIG_INVALID',
  'TOKENIZER_INVALID',
  'IMAGE_UNREADABLE',
  'MODEL_INVALID', // a converted engine folder that does not match its manifest
  'INPUT_INVALID', // an argument from the caller
  'DISK_FULL',
  'IO_FAILED', // a file or folder that cannot be written
  'OUT_OF_MEMORY',
  'CANCELLED',
  'TIMEOUT',
  'NUMERIC_FAULT', // NaN or infinity where numbers belong
  'ENGINE_FAULT',
] as const

export type GromaErrorCode = (typeof GROMA_ERROR_CODES)[number]

/** An error whose message names the file and the reason, and whose code survives the wire. */
export class GromaError extends Error {
  readonly code: GromaErrorCode

  constructor(code: GromaErrorCode, message: string, options: { cause?: unknown } = {}) {
    super(message, options)
    this.name = 'GromaError'
    this.code = code
  }
}

/** `error` as a GromaError: kept when it is one, otherwise wrapped with `code` and its own message as the reason. */
export function asGromaError(error: unknown, code: GromaErrorCode, what: string): GromaError {
  if (error instanceof GromaError) return error
  const reason = error instanceof Error ? error.message : String(error)
  return new GromaError(isDiskFull(error) ? 'DISK_FULL' : code, `${what}: ${reason}`, { cause: error })
}

/** Whether the operating system refused something: a permission, a name, a disk. */
export function isSystemError(error: unknown): boolean {
  return typeof (error as { syscall?: unknown } | null)?.syscall === 'string'
}

/** Whether the system refused to write for want of room: of the disk, or of what one user may have of it. */
function isDiskFull(error: unknown): boolean {
  return ['ENOSPC', 'EDQUOT'].includes(String((error as { code?: unknown } | null)?.code))
}
