/** Small JSON files of the application (settings, recent projects): read forgivingly, replaced as a whole. */
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import type { z } from 'zod'
import { AppError } from '../contract/errors.ts'

/** The file's content; `fallback` when there is none or it does not fit (an older or damaged one is no reason to stop). */
export function readJsonFile<T extends z.ZodType>(path: string, schema: T, fallback: z.output<T>): z.output<T> {
  try {
    const parsed = schema.safeParse(JSON.parse(readFileSync(path, 'utf8')))
    return parsed.success ? parsed.data : fallback
  } catch {
    return fallback
  }
}

/** Written beside and renamed: a reader sees the old file or the new one. @throws DISK_FULL, IO_FAILED */
export function writeJsonFile(path: string, value: unknown): void {
  const temporary = `${path}.${process.pid}.tmp`
  try {
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(temporary, `${JSON.stringify(value, null, 2)}\n`, { flush: true })
    renameSync(temporary, path)
  } catch (error) {
    rmSync(temporary, { force: true })
    const { code, message } = error as NodeJS.ErrnoException
    if (code === 'ENOSPC')
      throw new AppError('DISK_FULL', `The disk is full: ${path} could not be saved.`, { cause: error })
    throw new AppError('IO_FAILED', `${path} could not be saved: ${message}`, { cause: error })
  }
}
