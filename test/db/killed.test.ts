import { spawn } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { newestVersion } from '../../db/migrations/migrate.ts'
import { openProject } from '../../db/project.ts'
import { connect } from '../../db/sqlite.ts'
import { times } from '../support/stress.ts'
import { projectWithImages, tempFolder } from './support.ts'

const KILLS = times(20, 1000)
/** Each kill starts a process; on a busy machine that takes seconds. */
const TIMEOUT_MS = 30_000 + 20_000 * KILLS

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url))
const COMMITTER = here('./committer.ts')
const EXPORTER = here('./exporterProcess.ts')
const MIGRATOR = here('./migratorProcess.ts')

/** Lets the process say a few lines, then kills it in the middle of whatever it does. Returns its whole lines. */
async function runAndKill(command: string[], linesBefore: number, delayMs: number): Promise<string[]> {
  const child = spawn(process.execPath, command, { stdio: ['ignore', 'pipe', 'pipe'] })
  let said = ''
  let problems = ''
  child.stderr.on('data', (data) => {
    problems += data
  })
  const closed = new Promise((resolve) => child.once('close', resolve))
  let killing = false
  child.stdout.on('data', (data) => {
    said += data
    if (killing || said.split('\n').length <= linesBefore) return
    killing = true
    setTimeout(() => child.kill('SIGKILL'), delayMs)
  })
  await closed
  expect(problems).toBe('')
  return said.split('\n').slice(0, -1) // the last piece is no whole line
}

test(`${KILLS} kills in the middle of commits: nothing that was acknowledged is lost, nothing is half there`, {
  timeout: TIMEOUT_MS,
}, async () => {
  const folder = tempFolder()
  const store = projectWithImages(folder, 1)
  store.close()
  let acknowledged = 0
  for (let kill = 0; kill < KILLS; kill++) {
    const [, ...lines] = await runAndKill([COMMITTER, store.path], 1 + (kill % 7), (kill * 1.7) % 6)
    const after = openProject(store.path)
    expect(after.readOnly).toBe(false)
    for (const line of lines) {
      const [seq, a, b] = line.split(' ').map(Number) as [number, number, number]
      expect(after.history.get(seq).diff.annotations).toHaveLength(2)
      expect(after.annotations.getMany([a, b]).map(({ caption }) => caption)).toEqual([`pair ${a}`, `pair ${a}`])
      acknowledged++
    }
    const pairs = new Map<string, number>()
    for (const { caption } of after.annotations.list(1)) pairs.set(caption ?? '', (pairs.get(caption ?? '') ?? 0) + 1)
    expect([...pairs.values()].every((count) => count === 2)).toBe(true)
    expect(after.summary().decidedCount).toBe(after.annotations.list(1).length)
    after.close()
    expect(readdirSync(folder).sort()).toEqual(['images', 'work.gromatic'])
  }
  expect(acknowledged).toBeGreaterThan(KILLS)
  const db = connect(store.path)
  expect(db.pragma('integrity_check', { simple: true })).toBe('ok')
  db.close()
  expect(existsSync(join(folder, 'work.gromatic-wal'))).toBe(false)
})

test('kills in the middle of exports: each file is one of the exports, whole', { timeout: TIMEOUT_MS }, async () => {
  const folder = tempFolder()
  const path = join(folder, 'coco.json')
  for (let kill = 0; kill < Math.ceil(KILLS / 2); kill++) {
    const lines = await runAndKill([EXPORTER, path, `run${kill}`], 1 + (kill % 3), (kill * 7.3) % 40)
    const acknowledged = Number(lines.at(-1))
    const coco = JSON.parse(readFileSync(path, 'utf8')) as {
      info: { description: string }
      images: unknown[]
      annotations: unknown[]
    }
    const [name, round] = coco.info.description.split(' ')
    expect(name).toBe(`run${kill}`)
    expect([acknowledged, acknowledged + 1]).toContain(Number(round))
    expect(coco.images).toHaveLength(300)
    expect(coco.annotations).toHaveLength(300 * Number(round))
    expect(JSON.parse(readFileSync(join(folder, 'coco.captions.json'), 'utf8')).images).toHaveLength(300)
  }
  const visible = readdirSync(folder).filter((name) => !name.startsWith('.'))
  expect(visible.sort()).toEqual(['coco.captions.json', 'coco.json'])
})

test('kills in the middle of migrations: the old schema or the new one, and every row', {
  timeout: TIMEOUT_MS,
}, async () => {
  const folder = tempFolder()
  const seen = new Set<number>()
  for (let kill = 0; kill < Math.ceil(KILLS / 2); kill++) {
    const path = join(folder, `old${kill}.gromatic`)
    const store = projectWithImages(folder, 400, path)
    store.close()
    await runAndKill([MIGRATOR, path], 1, (kill * 3.1) % 25)
    const db = connect(path)
    const version = db.pragma('user_version', { simple: true }) as number
    const columns = (db.pragma('table_info(images)') as { name: string }[]).map(({ name }) => name)
    expect([newestVersion(), 990]).toContain(version)
    expect(columns.includes('note')).toBe(version === 990)
    expect(db.prepare('SELECT count(*) FROM images').pluck().get()).toBe(400)
    expect(db.pragma('integrity_check', { simple: true })).toBe('ok')
    db.close()
    if (existsSync(`${path}.before-990`)) {
      const backup = connect(`${path}.before-990`)
      expect(backup.prepare('SELECT count(*) FROM images').pluck().get()).toBe(400)
      backup.close()
    } else expect(version).toBe(newestVersion())
    seen.add(version)
  }
  expect(seen.size).toBeGreaterThan(0)
})
