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
  const diskFull = (error as { code?: unknown } | null)?.code === 'ENOSPC'
  return new GromaError(diskFull ? 'DISK_FULL' : code, `${what}: ${reason}`, { cause: error })
}
