import { spawn } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { openProject } from '../../db/project.ts'
import { connect } from '../../db/sqlite.ts'
import { projectWithImages, tempFolder } from './support.ts'

const KILLS = Number(process.env.GROMATIC_KILLS ?? 20)
const COMMITTER = fileURLToPath(new URL('./committer.ts', import.meta.url))

/** Lets the process commit until it has said so a few times, then kills it in the middle of whatever it does. */
async function runAndKill(path: string, acknowledgements: number, delayMs: number): Promise<string[]> {
  const child = spawn(process.execPath, [COMMITTER, path], { stdio: ['ignore', 'pipe', 'pipe'] })
  let said = ''
  let problems = ''
  child.stderr.on('data', (data) => {
    problems += data
  })
  const closed = new Promise((resolve) => child.once('close', resolve))
  let killing = false
  child.stdout.on('data', (data) => {
    said += data
    if (killing || said.split('\n').length <= acknowledgements) return
    killing = true
    setTimeout(() => child.kill('SIGKILL'), delayMs)
  })
  await closed
  expect(problems).toBe('')
  return said.split('\n').slice(1, -1) // the last piece is no whole line
}

test(`${KILLS} kills in the middle of commits: nothing that was acknowledged is lost, nothing is half there`, async () => {
  const folder = tempFolder()
  const store = projectWithImages(folder, 1)
  store.close()
  let acknowledged = 0
  for (let kill = 0; kill < KILLS; kill++) {
    const lines = await runAndKill(store.path, 1 + (kill % 7), (kill * 1.7) % 6)
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
