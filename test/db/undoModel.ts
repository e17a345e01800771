/** Random work on a project in memory, and the plain questions that must hold after any of it. */
import fc from 'fast-check'
import { readPieces } from '../../db/bulkRevision.ts'
import { allocateIds, commitRevision } from '../../db/commitRevision.ts'
import { migrate } from '../../db/migrations/migrate.ts'
import { type Change, diffOf, emptyDiff, TABLE_NAMES, type TableName } from '../../db/records/diff.ts'
import type { Annotation, RecordsDiff } from '../../db/records/records.ts'
import { readRevision } from '../../db/repositories/history.ts'
import { codecs, type SqlRow } from '../../db/rows.ts'
import { connect, type Db, hardenConnection } from '../../db/sqlite.ts'
import { annotationRow, categoryRow, imageRow, proposalRow } from './support.ts'

/** Two numbers choose the rows an operation takes: they are taken modulo what there is. */
export type Op = { kind: Kind; a: number; b: number }
const HUMAN = [
  'draw',
  'move',
  'accept',
  'reject',
  'caption',
  'delete',
  'newCategory',
  'relabel',
  'rename',
  'dropCategory',
  'done',
] as const
const MODEL = ['propose', 'describe', 'repropose'] as const
type Kind = (typeof HUMAN)[number] | (typeof MODEL)[number] | 'undo' | 'redo'

const op = (kinds: readonly Kind[]): fc.Arbitrary<Op> =>
  fc.record({ kind: fc.constantFrom(...kinds), a: fc.nat(1000), b: fc.nat(1000) })
export const humanOps = (maxLength: number): fc.Arbitrary<Op[]> => fc.array(op(HUMAN), { minLength: 1, maxLength })
export const anyOps = (maxLength: number): fc.Arbitrary<Op[]> =>
  fc.array(op([...HUMAN, ...MODEL, 'undo', 'undo', 'redo']), { minLength: 1, maxLength })

export const IMAGES = 3

export function memoryProject(): Db {
  const db = connect(':memory:')
  hardenConnection(db)
  migrate(db, ':memory:')
  const images = allocateIds(db, 'images', IMAGES).map((id) => ({ before: null, after: imageRow(id) }))
  commitRevision(db, { actor: 'scan', label: 'Read the folder', diff: diffOf({ images }) })
  return db
}

function rows<T extends TableName>(db: Db, table: T) {
  const { fromRow } = codecs[table]
  return (db.prepare(`SELECT * FROM ${table} ORDER BY id`).all() as SqlRow[]).map((row) => fromRow(row))
}

/** Every record there is, as one comparable value. */
export function stateOf(db: Db): Record<TableName, unknown[]> {
  return Object.fromEntries(TABLE_NAMES.map((table) => [table, rows(db, table)])) as Record<TableName, unknown[]>
}

/** The state that comes out when the stored revisions are applied one after the other to nothing. */
export function replay(db: Db): Record<TableName, unknown[]> {
  const tables = Object.fromEntries(TABLE_NAMES.map((table) => [table, new Map<number, unknown>()])) as Record<
    TableName,
    Map<number, unknown>
  >
  for (const seq of db.prepare('SELECT seq FROM revisions ORDER BY seq').pluck().all() as number[]) {
    for (const diff of [readRevision(db, seq).diff, ...readPieces(db, seq)]) {
      for (const table of TABLE_NAMES) {
        for (const { before, after } of diff[table] as Change<{ id: number }>[]) {
          if (after === null) tables[table].delete(before?.id ?? 0)
          else tables[table].set(after.id, after)
        }
      }
    }
  }
  const sorted = (map: Map<number, unknown>) => [...map.entries()].sort(([a], [b]) => a - b).map(([, row]) => row)
  return Object.fromEntries(TABLE_NAMES.map((table) => [table, sorted(tables[table])])) as Record<TableName, unknown[]>
}

/** What triggers count, counted the slow way. Returns the differences. */
export function miscounts(db: Db): unknown[] {
  const one = (sql: string) => db.prepare(sql).pluck().get() as number
  const counter = (name: string) => one(`SELECT value FROM counters WHERE name = '${name}'`)
  const wrong: unknown[] = db
    .prepare(`
    SELECT id FROM images WHERE
      proposed_count <> (SELECT count(*) FROM annotations WHERE image_id = images.id AND status = 'proposed') OR
      accepted_count <> (SELECT count(*) FROM annotations WHERE image_id = images.id AND status = 'accepted') OR
      edited_count <> (SELECT count(*) FROM annotations WHERE image_id = images.id AND status = 'edited') OR
      rejected_count <> (SELECT count(*) FROM annotations WHERE image_id = images.id AND status = 'rejected')`)
    .all()
  if (counter('images') !== one('SELECT count(*) FROM images')) wrong.push('images')
  if (counter('done') !== one('SELECT count(*) FROM images WHERE done')) wrong.push('done')
  if (counter('decided') !== one("SELECT count(*) FROM annotations WHERE status <> 'proposed'")) wrong.push('decided')
  wrong.push(...(db.pragma('foreign_key_check') as unknown[]))
  return wrong
}

const pick = <T>(list: readonly T[], n: number): T | undefined => list[n % Math.max(1, list.length)]

/** The rows an operation changes, given what is stored; null when there is nothing it could do. */
function plan(db: Db, { kind, a, b }: Op): RecordsDiff | null {
  const boxes = rows(db, 'annotations')
  const classes = rows(db, 'categories')
  const box = pick(boxes, a)
  const change = (after: Partial<Annotation>): RecordsDiff | null =>
    box === undefined ? null : diffOf({ annotations: [{ before: box, after: { ...box, ...after } }] })
  switch (kind) {
    case 'draw': {
      const [id] = allocateIds(db, 'annotations') as [number]
      return diffOf({
        annotations: [
          { before: null, after: annotationRow(id, 1 + (a % IMAGES), { categoryId: pick(classes, b)?.id ?? null }) },
        ],
      })
    }
    case 'move':
      return change({ bboxXywh: [a / 7, b / 3, 1 + a, 1 + b], status: 'edited', decidedAt: a, decisionMs: b })
    case 'accept':
      return change({ status: 'accepted', decidedAt: b, decisionMs: a })
    case 'reject':
      return change({ status: 'rejected', decidedAt: b, decisionMs: a })
    case 'caption':
      return change({ caption: `caption ${b}` })
    case 'relabel':
      return change({ categoryId: pick(classes, b)?.id ?? null })
    case 'delete': {
      const gone = boxes.filter((_, index) => index % (2 + (a % 3)) === 0)
      return gone.length === 0 ? null : diffOf({ annotations: gone.map((before) => ({ before, after: null })) })
    }
    case 'newCategory': {
      const [id] = allocateIds(db, 'categories') as [number]
      const name = `class ${b % 6}`
      const after = classes.some((known) => known.name === name)
        ? categoryRow(id, `class ${id + 10}`)
        : categoryRow(id, name)
      const relabel = box === undefined ? [] : [{ before: box, after: { ...box, categoryId: id } }]
      return diffOf({ categories: [{ before: null, after }], annotations: relabel })
    }
    case 'rename': {
      const before = pick(classes, a)
      const name = `class ${b % 6}`
      if (before === undefined || classes.some((known) => known.name === name)) return null
      return diffOf({ categories: [{ before, after: { ...before, name } }] })
    }
    case 'dropCategory': {
      const before = pick(classes, a)
      if (before === undefined) return null
      const users = boxes.filter((known) => known.categoryId === before.id)
      return diffOf({
        categories: [{ before, after: null }],
        annotations: users.map((user) => ({ before: user, after: { ...user, categoryId: null } })),
      })
    }
    case 'done': {
      const before = rows(db, 'images')[a % IMAGES]
      return before === undefined ? null : diffOf({ images: [{ before, after: { ...before, done: !before.done } }] })
    }
    case 'propose': {
      const ids = allocateIds(db, 'annotations', 1 + (b % 3))
      const categoryId = pick(classes, b)?.id ?? null
      return diffOf({
        annotations: ids.map((id) => ({ before: null, after: proposalRow(id, 1 + (a % IMAGES), { categoryId }) })),
      })
    }
    case 'describe':
      return change({
        caption: `the model says ${b}`,
        modelCaption: box?.modelCaption ?? `the model says ${b}`,
        categoryId: pick(classes, b)?.id ?? null,
      })
    case 'repropose': {
      const undecided = boxes.filter((known) => known.status === 'proposed' && known.provenance === 'model')
      const [id] = allocateIds(db, 'annotations') as [number]
      const removed = undecided.map((before) => ({ before, after: null }))
      return diffOf({ annotations: [...removed, { before: null, after: proposalRow(id, 1 + (a % IMAGES)) }] })
    }
    default:
      return emptyDiff()
  }
}

/** Does one operation; false when there was nothing it could do. */
export function perform(db: Db, op: Op): boolean {
  const diff = plan(db, op)
  if (diff === null) return false
  const actor = (MODEL as readonly string[]).includes(op.kind) ? 'model' : 'human'
  const revision = commitRevision(db, { actor, label: op.kind, diff })
  return TABLE_NAMES.some((table) => revision.diff[table].length > 0)
}
