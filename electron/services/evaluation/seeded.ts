/** Draws that are the same each time for the same words: nothing depends on what was drawn before. PURE. */
import { createHash } from 'node:crypto'

/** Uniform in [0, 1), by the names given. */
export function uniform(...names: readonly (string | number)[]): number {
  return createHash('sha256').update(JSON.stringify(names)).digest().readUInt32LE(0) / 2 ** 32
}

/** `count` of the items, in their own order. */
export function sample<T>(items: readonly T[], count: number, ...names: readonly (string | number)[]): T[] {
  if (count >= items.length) return [...items]
  const drawn = items.map((_, place) => ({ place, key: uniform(...names, place) })).sort((a, b) => a.key - b.key)
  const chosen = new Set(drawn.slice(0, count).map(({ place }) => place))
  return items.filter((_, place) => chosen.has(place))
}
