import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { migrate, newestVersion } from '../../db/migrations/migrate.ts'
import { type Migration, migrations } from '../../db/migrations/migrations.ts'
import { createProject } from '../../db/project.ts'
import { connect } from '../../db/sqlite.ts'
import { tempFolder } from './support.ts'

const next: Migration = { version: 990, sql: 'ALTER TABLE categories ADD COLUMN note TEXT;' }

function oldProject(): string {
  const folder = tempFolder()
  const path = join(folder, 'a.gromatic')
  createProject(path, folder).close()
  return path
}

test('numbers go up in tens and every table is STRICT', () => {
  for (const [index, { version }] of migrations.entries()) {
    expect(version % 10).toBe(0)
    if (index > 0) expect(version).toBeGreaterThan(migrations[index - 1]?.version ?? 0)
  }
  const db = connect(oldProject())
  const tables = db
    .prepare("SELECT name, strict FROM pragma_table_list WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    .all()
  expect(tables.length).toBeGreaterThanOrEqual(8)
  for (const table of tables) expect(table).toMatchObject({ strict: 1 })
  db.close()
})

test('a migration takes a backup first and does its work once', () => {
  const path = oldProject()
  const db = connect(path)
  const list = [...migrations, next]
  const backup = migrate(db, path, list)
  expect(db.pragma('user_version', { simple: true })).toBe(990)
  expect(db.pragma('foreign_keys', { simple: true })).toBe(1)
  expect(migrate(db, path, list)).toBeNull()
  db.close()
  expect(backup).toBe(`${path}.before-990`)
  const old = connect(String(backup))
  expect(old.pragma('user_version', { simple: true })).toBe(newestVersion())
  expect(old.pragma('integrity_check', { simple: true })).toBe('ok')
  old.close()
})

test('a migration that fails, or that leaves rows pointing to nothing, changes nothing', () => {
  const path = oldProject()
  const db = connect(path)
  const broken: Migration = { version: 990, sql: 'CREATE TABLE fine (x INTEGER) STRICT; CREATE NONSENSE;' }
  expect(() => migrate(db, path, [...migrations, broken])).toThrow(/up to date/)
  const dangling: Migration = {
    version: 990,
    sql: "INSERT INTO annotations (id, image_id, x, y, w, h, provenance, status) VALUES (1, 99, 0, 0, 1, 1, 'human', 'accepted');",
  }
  expect(() => migrate(db, path, [...migrations, dangling])).toThrow(/point to nothing/)
  expect(db.pragma('user_version', { simple: true })).toBe(newestVersion())
  expect(db.prepare("SELECT count(*) FROM sqlite_schema WHERE name = 'fine'").pluck().get()).toBe(0)
  expect(db.prepare('SELECT count(*) FROM annotations').pluck().get()).toBe(0)
  db.close()
  expect(existsSync(`${path}.before-990.tmp`)).toBe(false)
})

test('a newer file is refused', () => {
  const path = oldProject()
  const db = connect(path)
  db.pragma('user_version = 999')
  expect(() => migrate(db, path)).toThrow(expect.objectContaining({ code: 'PROJECT_NEWER' }))
  db.close()
})
