/** Small JSON files of the application (settings, recent projects): read forgivingly, replaced as a whole. */
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import type { z } from 'zod'

/** The file's content; `fallback` when there is none or it does not fit (an older or damaged one is no reason to stop). */
export function readJsonFile<T extends z.ZodType>(path: string, schema: T, fallback: z.output<T>): z.output<T> {
  try {
    const parsed = schema.safeParse(JSON.parse(readFileSync(path, 'utf8')))
    return parsed.success ? parsed.data : fallback
  } catch {
    return fallback
  }
}

/** Written beside and renamed: a reader sees the old file or the new one. */
export function writeJsonFile(path: string, value: unknown): void {
  mkdirSync(dirname(path), { recursive: true })
  const temporary = `${path}.${process.pid}.tmp`
  try {
    writeFileSync(temporary, `${JSON.stringify(value, null, 2)}\n`, { flush: true })
    renameSync(temporary, path)
  } catch (error) {
    rmSync(temporary, { force: true })
    throw error
  }
}
