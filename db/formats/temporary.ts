/** Where an export lies while it is made: hidden beside its place, under a name that no other run has. */
import { readdir, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { isRunning } from '../isRunning.ts'

const ENDING = '.gromatic-tmp'
let made = 0

/** `.coco.json.4711-1.gromatic-tmp` */
export function temporaryFor(path: string): string {
  return join(dirname(path), `.${basename(path)}.${process.pid}-${++made}${ENDING}`)
}

/** Removes what killed runs left of a file or folder in the making. Never throws. */
export async function removeLeftovers(path: string): Promise<void> {
  const [folder, prefix] = [dirname(path), `.${basename(path)}.`]
  for (const name of await readdir(folder).catch(() => [])) {
    const [, pid] = (name.startsWith(prefix) && /^(\d+)-\d+\.gromatic-tmp/.exec(name.slice(prefix.length))) || []
    if (pid === undefined || isRunning(Number(pid))) continue
    await rm(join(folder, name), { recursive: true, force: true }).catch(() => undefined)
  }
}
