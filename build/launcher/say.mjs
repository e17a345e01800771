/** Where the launcher stands and how it speaks: on stderr, so that stdout belongs to what it starts. */
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..')

export const say = (message) => process.stderr.write(`gromatic: ${message}\n`)

/** Ends the launcher with one clear line. */
export function stop(message) {
  say(message)
  process.exit(1)
}
