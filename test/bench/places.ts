/** Where the bench keeps what is large, and how much room there is. */
import { mkdirSync, statfsSync } from 'node:fs'
import { join } from 'node:path'
import { defaultHomeDir } from '../../electron/services/homeDir.ts'
import { Missing } from './figure.ts'

/** `GROMATIC_BENCH_CACHE`, or a folder in the person's cache; it may be deleted at any time. */
export function cacheDir(): string {
  const dir = process.env.GROMATIC_BENCH_CACHE ?? join(defaultHomeDir(), 'cache', 'bench')
  mkdirSync(dir, { recursive: true })
  return dir
}

/** @throws Missing when a folder's disk has less room than a file wants */
export function requireRoom(dir: string, bytes: number, what: string): void {
  const { bavail, bsize } = statfsSync(dir)
  const room = bavail * bsize
  if (room > bytes * 1.05) return
  const gigabytes = (count: number) => `${(count / 1e9).toFixed(1)} GB`
  throw new Missing(
    `${what} needs ${gigabytes(bytes)} in ${dir}, which has ${gigabytes(room)}; GROMATIC_BENCH_CACHE names another place.`,
  )
}
