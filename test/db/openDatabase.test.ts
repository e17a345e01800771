import { spawn } from 'node:child_process'
import { chmodSync, closeSync, openSync, readdirSync, readFileSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { exportProject } from '../../db/exports/exportProject.ts'
import { newestVersion } from '../../db/migrations/migrate.ts'
import { openDatabase } from '../../db/openDatabase.ts'
import { createProject, openProject } from '../../db/project.ts'
import { diffOf } from '../../db/records/diff.ts'
import {
  APPLICATION_ID,
  assertDurable,
  assertSqliteVersion,
  connect,
  connectMemoryCopy,
  setDurable,
} from '../../db/sqlite.ts'
import { addAnnotations, annotationRow, imageRow, projectWithImages, tempFolder } from './support.ts'

function newProjectFile(): { folder: string; path: string } {
  const folder = tempFolder()
  const path = join(folder, 'a.gromatic')
  createProject(path, folder).close()
  return { folder, path }
}

const codeOf = (action: () => unknown): string => {
  try {
    action()
  } catch (error) {
    return (error as { code: string }).code
  }
  return 'no error'
}

test('every connection is durable and careful, after a write and after a reopen', () => {
  const { path } = newProjectFile()
  for (let round = 0; round < 2; round++) {
    const opened = openDatabase(path)
    const pragma = (name: string) => opened.db.pragma(name, { simple: true })
    opened.db.exec("UPDATE counters SET value = value + 1 WHERE name = 'opened'")
    expect(pragma('journal_mode')).toBe('wal')
    expect(pragma('synchronous')).toBe(2)
    expect(pragma('foreign_keys')).toBe(1)
    expect(pragma('trusted_schema')).toBe(0)
    expect(pragma('cell_size_check')).toBe(1)
    expect(pragma('mmap_size')).toBe(0)
    expect((pragma('application_id') as number) >>> 0).toBe(APPLICATION_ID)
    expect(pragma('user_version')).toBe(newestVersion())
    expect(opened.warnings).toEqual([])
    expect(opened.readOnly).toBe(false)
    assertSqliteVersion(opened.db)
    opened.close()
    opened.close()
  }
})

test('the durability check sees a connection that would lose edits', () => {
  const { path } = newProjectFile()
  const db = connect(path)
  db.pragma('journal_mode = WAL')
  db.exec("UPDATE counters SET value = value + 1 WHERE name = 'opened'") // here better-sqlite3's build falls to NORMAL
  expect(codeOf(() => assertDurable(db, path))).toBe('IO_FAILED')
  db.close()
})

test('a clean close leaves nothing beside the project', () => {
  const folder = tempFolder()
  const store = projectWithImages(folder, 3)
  expect(readdirSync(folder)).toContain('work.gromatic-lock')
  expect(readdirSync(folder)).toContain('work.gromatic-ballast')
  store.close()
  expect(readdirSync(folder).sort()).toEqual(['images', 'work.gromatic'])
})

test('files that are no projects are refused by name, unread and unchanged', () => {
  const { folder } = newProjectFile()
  const text = join(folder, 'notes.gromatic')
  writeFileSync(text, 'dear diary '.repeat(50))
  const empty = join(folder, 'empty.gromatic')
  writeFileSync(empty, '')
  const foreign = join(folder, 'foreign.gromatic')
  const other = connect(foreign)
  other.exec('CREATE TABLE t (x)')
  other.close()
  for (const path of [text, empty, foreign, folder]) {
    const before = path === folder ? null : readFileSync(path)
    for (const readOnly of [false, true]) {
      expect(() => openDatabase(path, { readOnly })).toThrow(path)
      expect(codeOf(() => openDatabase(path, { readOnly }))).toBe('PROJECT_INVALID')
    }
    if (before !== null) expect(readFileSync(path).equals(before)).toBe(true)
  }
  expect(codeOf(() => openDatabase(join(folder, 'nowhere.gromatic')))).toBe('NOT_FOUND')
  expect(readdirSync(folder).filter((name) => /-(lock|wal|shm|journal)$/.test(name))).toEqual([])
})

test('a project of a newer version is refused', () => {
  const { path } = newProjectFile()
  const db = connect(path)
  db.pragma('user_version = 9990')
  db.close()
  expect(codeOf(() => openDatabase(path))).toBe('PROJECT_NEWER')
  expect(codeOf(() => openDatabase(path, { readOnly: true }))).toBe('PROJECT_NEWER')
})

test('a second writer opens read-only within a second and sees what the first commits', () => {
  const first = projectWithImages(tempFolder(), 2)
  const startedAt = performance.now()
  const second = openProject(first.path)
  expect(performance.now() - startedAt).toBeLessThan(1000)
  expect(second.readOnly).toBe(true)
  expect(second.summary().warning).toContain('another window')
  expect(codeOf(() => second.undo())).toBe('READ_ONLY')
  const diff = diffOf({ annotations: [{ before: null, after: annotationRow(1, 1) }] })
  expect(codeOf(() => second.commit({ actor: 'human', label: 'x', diff }))).toBe('READ_ONLY')
  first.commit({ actor: 'human', label: 'Draw', diff })
  expect(second.annotations.list(1)).toHaveLength(1)
  first.close()
  second.close()
  const third = openProject(first.path)
  expect(third.readOnly).toBe(false)
  expect(third.annotations.list(1)).toHaveLength(1)
  third.close()
})

test('another process cannot become a second writer, and the lock dies with its holder', async () => {
  const { path } = newProjectFile()
  const script = `
    const { openProject } = await import(${JSON.stringify(new URL('../../db/project.ts', import.meta.url).href)})
    const store = openProject(${JSON.stringify(path)})
    console.log(store.readOnly ? 'reader' : 'writer')
    setInterval(() => {}, 1000)`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
  const said = await new Promise<string>((resolve) => child.stdout.once('data', (data) => resolve(String(data).trim())))
  expect(said).toBe('writer')
  const reader = openProject(path)
  expect(reader.readOnly).toBe(true)
  reader.close()
  const gone = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGKILL')
  await gone
  const writer = openProject(path)
  expect(writer.readOnly).toBe(false)
  writer.close()
})

test('a damaged file opens read-only with a warning and is not touched', () => {
  const folder = tempFolder()
  const store = projectWithImages(folder, 1)
  const images = Array.from({ length: 3000 }, (_, i) => ({ before: null, after: imageRow(i + 2) }))
  store.commit({ actor: 'scan', label: 'Read the folder', diff: diffOf({ images }) })
  store.close()
  const handle = openSync(store.path, 'r+')
  for (let page = 30; page < 60; page++) writeSync(handle, Buffer.alloc(2000, 0xee), 0, 2000, page * 4096 + 100)
  closeSync(handle)
  const before = readFileSync(store.path)
  const reopened = openProject(store.path)
  expect(reopened.readOnly).toBe(true)
  expect(reopened.summary().warning).toMatch(/is damaged \([^*]*page/)
  reopened.close()
  expect(readFileSync(store.path).equals(before)).toBe(true)
})

/** Overwrites the last page of a table. */
function breakTable(path: string, table: string): void {
  const db = connect(path)
  const { page } = db.prepare('SELECT max(pageno) AS page FROM dbstat WHERE name = ?').get(table) as { page: number }
  db.close()
  const handle = openSync(path, 'r+')
  writeSync(handle, Buffer.alloc(4096, 0xee), 0, 4096, (page - 1) * 4096)
  closeSync(handle)
}

async function exported(path: string) {
  const store = openProject(path)
  const { warning, headSeq } = store.summary()
  const source = store.exportSource()
  const request = { format: 'coco' as const, path: `${path}.json`, status: 'all' as const, copyImages: false }
  const report = await exportProject(source, { ...request, overwrite: true })
  source.close()
  store.close()
  return { warning, headSeq, ...report }
}

test('of a damaged project everything else can be exported, and what is lost is named', async () => {
  const store = projectWithImages(tempFolder(), 3)
  const caption = 'x'.repeat(1500)
  for (let id = 1; id <= 40; id++) addAnnotations(store, [annotationRow(id, id <= 30 ? 1 : 2, { caption })])
  store.close()
  const { path } = store
  const whole = readFileSync(path)
  breakTable(path, 'revisions')
  expect(await exported(path)).toMatchObject({
    warning: expect.stringContaining('damaged'),
    headSeq: 0,
    images: 3,
    annotations: 40,
    notes: [expect.stringContaining('no category')],
  })
  writeFileSync(path, whole)
  breakTable(path, 'annotations')
  const { images, annotations, notes } = await exported(path)
  expect({ images, annotations }).toEqual({ images: 2, annotations: 30 })
  expect(notes).toEqual([
    expect.stringContaining('no category'),
    expect.stringMatching(/^Left out, .*damaged.* 1 of its images \(\S+\)\.$/),
  ])
})

test('a drive that refuses a write-ahead log gets the rollback journal, synced', () => {
  const { path } = newProjectFile()
  const reader = connect(path)
  reader.exec('BEGIN; SELECT * FROM meta') // a reader in the way: SQLite refuses, as it does on a network drive
  const db = connect(path, { timeoutMs: 0 })
  expect(setDurable(db)).toBe(false)
  expect(db.pragma('journal_mode', { simple: true })).toBe('delete')
  expect(db.pragma('synchronous', { simple: true })).toBe(2)
  db.close()
  reader.close()
})

test('opened for reading on purpose, and from a file that is write-protected', (ctx) => {
  const folder = tempFolder()
  const store = projectWithImages(folder, 2)
  store.close()
  const reader = openProject(store.path, { readOnly: true })
  expect(reader.summary()).toMatchObject({ readOnly: true, imageCount: 2, warning: null })
  reader.close()
  expect(readdirSync(folder).sort()).toEqual(['images', 'work.gromatic'])
  chmodSync(store.path, 0o444)
  if (process.getuid?.() === 0) return ctx.skip('root may write everything, so write protection cannot be tested')
  const locked = openProject(store.path)
  expect(locked.summary().warning).toContain('write-protected')
  locked.close()
})

test('a closed project needs no log; one that asks for it is read from memory on read-only media', () => {
  const { path } = newProjectFile()
  expect(readFileSync(path).subarray(18, 20).toString('hex')).toBe('0101')
  const db = connect(path)
  db.pragma('journal_mode = WAL')
  db.close()
  const bytes = readFileSync(path)
  expect(bytes.subarray(18, 20).toString('hex')).toBe('0202')
  const copy = connectMemoryCopy(bytes)
  expect(copy.prepare("SELECT value FROM meta WHERE key = 'name'").pluck().get()).toBe('a')
  expect(() => copy.exec('DELETE FROM meta')).toThrow()
  copy.close()
})
