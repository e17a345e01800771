/** What can be done to a diff without a database: look at it, and turn it round. */
import type { Annotation, RecordsDiff } from './records.ts'

export type TableName = keyof RecordsDiff
export type RecordOf<T extends TableName> = NonNullable<RecordsDiff[T][number]['after']>
export interface Change<R> {
  before: R | null
  after: R | null
}

/** In the order that a reader would apply them: what others point to comes first. */
export const TABLE_NAMES: readonly TableName[] = ['categories', 'images', 'annotations', 'messages']

export function emptyDiff(): RecordsDiff {
  return { categories: [], annotations: [], images: [], messages: [] }
}

/** A diff of the given changes only: `diffOf({ annotations: [{ before, after }] })`. */
export function diffOf(parts: Partial<RecordsDiff>): RecordsDiff {
  return { ...emptyDiff(), ...parts }
}

export function isEmptyDiff(diff: RecordsDiff): boolean {
  return TABLE_NAMES.every((table) => diff[table].length === 0)
}

/** Number of rows a diff touches. */
export function diffSize(diff: RecordsDiff): number {
  return TABLE_NAMES.reduce((total, table) => total + diff[table].length, 0)
}

/** Deep equality of two JSON values (`-0` equals `0`). */
export function sameValue(a: unknown, b: unknown): boolean {
  if (a === b) return true
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false
  if (Array.isArray(a) !== Array.isArray(b)) return false
  const keys = Object.keys(a)
  if (keys.length !== Object.keys(b).length) return false
  return keys.every((key) => Object.hasOwn(b, key) && sameValue((a as never)[key], (b as never)[key]))
}

/** The diff that takes this one back exactly, where nothing else has happened since. */
export function reverseDiff(diff: RecordsDiff): RecordsDiff {
  const turn = <R>(changes: Change<R>[]): Change<R>[] =>
    changes.map(({ before, after }) => ({ before: after, after: before })).reverse()
  return {
    categories: turn(diff.categories),
    annotations: turn(diff.annotations),
    images: turn(diff.images),
    messages: turn(diff.messages),
  }
}

/** What the model said about a box: never taken back, whatever is undone. */
const KEPT_FOR_EVER: ReadonlySet<string> = new Set<keyof Annotation>([
  'modelBboxXywh',
  'modelCaption',
  'modelScore',
  'modelHash',
])

/**
 * Takes one change back on a row that others may have changed since: a row that was made is removed as it is now, a row
 * that was removed comes back as it was, and of a changed row only the fields that this change touched go back.
 * @returns the change to apply now, with the true `before`; null when nothing is left to do.
 */
export function reverseChange<R extends object>(change: Change<R>, current: R | null): Change<R> | null {
  const { before, after } = change
  if (before === null) return current === null ? null : { before: current, after: null }
  if (after === null) return current === null ? { before: null, after: before } : null
  if (current === null) return null
  const reverted: R = { ...current }
  let changed = false
  for (const key of Object.keys(before) as (keyof R & string)[]) {
    if (KEPT_FOR_EVER.has(key) || sameValue(before[key], after[key]) || sameValue(current[key], before[key])) continue
    reverted[key] = before[key]
    changed = true
  }
  return changed ? { before: current, after: reverted } : null
}

/** The one image that a diff is about; null when it touches several, or none. */
export function imageIdOf(diff: RecordsDiff): number | null {
  const ids = new Set<number>()
  for (const { before, after } of diff.images) ids.add((after ?? before)?.id ?? 0)
  for (const { before, after } of [...diff.annotations, ...diff.messages]) ids.add((after ?? before)?.imageId ?? 0)
  ids.delete(0)
  const [first] = ids
  return ids.size === 1 && first !== undefined ? first : null
}
