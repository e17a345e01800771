/** Errors as they cross the wire: a code for programs, a message for people, a cause for the log. */
import { z } from 'zod'

export const ErrorCode = z.enum([
  'USAGE', // wrong arguments (exit 2)
  'INVALID_INPUT', // a call's input does not fit its schema
  'NOT_FOUND', // a file, row or folder that is not there
  'ALREADY_EXISTS',
  'NO_PROJECT', // a call that needs an open project
  'NO_IMAGES', // a folder without a single readable image
  'IMAGE_UNREADABLE',
  'PROJECT_INVALID', // not a project file, or damaged
  'PROJECT_NEWER', // written by a newer version
  'READ_ONLY',
  'DISK_FULL',
  'IO_FAILED',
  'STALE', // the row changed since the caller saw it
  'CHECKPOINT_TRUNCATED',
  'CHECKPOINT_INVALID',
  'CHECKPOINT_FOREIGN',
  'CONFIG_INVALID',
  'TOKENIZER_INVALID',
  'MODEL_INVALID', // an engine folder that fails its manifest
  'ENGINE_FAULT', // NaN, out of memory, a step past its deadline
  'ENGINE_CRASHED',
  'ENGINE_BUSY',
  'PORT_BUSY',
  'UNAUTHORIZED',
  'CANCELLED',
  'UNSUPPORTED',
  'INTERNAL',
])
export type ErrorCode = z.infer<typeof ErrorCode>

export const WireError = z.object({ code: ErrorCode, message: z.string(), details: z.string().optional() })
export type WireError = z.infer<typeof WireError>

/** The one error class of the application. `message` names the file and the reason, in a plain sentence. */
export class AppError extends Error {
  readonly code: ErrorCode
  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.name = 'AppError'
    this.code = code
  }
}

/** Turns anything thrown into its wire form; codes of our own errors (any class with a known `code`) survive. */
export function toWireError(error: unknown): WireError {
  if (error instanceof Error) {
    const { code: given, syscall } = error as { code?: unknown; syscall?: unknown }
    const code = ErrorCode.safeParse(given)
    const fullDisk = ['ENOSPC', 'EDQUOT', 'SQLITE_FULL'].includes(String(given))
    const damaged = /^SQLITE_(CORRUPT|NOTADB)/.test(String(given))
    const otherwise = typeof syscall === 'string' ? 'IO_FAILED' : 'INTERNAL' // what the system refused names the file
    return {
      code: fullDisk ? 'DISK_FULL' : damaged ? 'PROJECT_INVALID' : code.success ? code.data : otherwise,
      message: damaged ? `The project file is damaged: ${error.message}.` : error.message,
      ...(error.stack === undefined ? {} : { details: error.stack }),
    }
  }
  return { code: 'INTERNAL', message: String(error) }
}

/** The reverse of {@link toWireError}, on the receiving side. */
export function fromWireError(wire: WireError): AppError {
  return new AppError(wire.code, wire.message, { cause: wire.details })
}
