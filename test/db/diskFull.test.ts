import { execFileSync } from 'node:child_process'
import { copyFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { BALLAST_BYTES } from '../../db/ballast.ts'
import { writeCoco } from '../../db/formats/coco.ts'
import { createProject, openProject } from '../../db/project.ts'
import { diffOf } from '../../db/records/diff.ts'
import { annotationRow, imageRow, tempFolder } from './support.ts'

/** A small disk of its own; null where this user may not make one. */
function smallDisk(megabytes: number): string | null {
  const folder = tempFolder()
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'tmpfs', folder], { stdio: 'ignore' })
  } catch {
    return null
  }
  onTestFinished(() => void execFileSync('umount', ['-l', folder], { stdio: 'ignore' }))
  return folder
}

/** Fills what is left, to the last bytes. */
function fill(folder: string): string {
  const path = join(folder, 'filler')
  for (let size = 16 * 1024 * 1024; size >= 1024; size = Math.floor(size / 2)) {
    for (let part = 0; ; part++) {
      try {
        writeFileSync(`${path}.${size}.${part}`, Buffer.alloc(size))
      } catch {
        rmSync(`${path}.${size}.${part}`, { force: true })
        break
      }
    }
  }
  return path
}

const draw = (id: number) => ({
  actor: 'human' as const,
  label: 'Draw',
  diff: diffOf({ annotations: [{ before: null, after: annotationRow(id, 1, { caption: 'x'.repeat(4000) }) }] }),
})

test('a full disk: the ballast keeps commits going, then a clear error; nothing acknowledged is lost', (ctx) => {
  const folder = smallDisk(48)
  if (folder === null) return ctx.skip('this user may not mount a small disk')
  const store = createProject(join(folder, 'a.gromatic'), folder)
  onTestFinished(() => store.close())
  store.commit({ actor: 'scan', label: 'x', diff: diffOf({ images: [{ before: null, after: imageRow(1) }] }) })
  expect(readdirSync(folder)).toContain('a.gromatic-ballast')
  expect(store.summary().warning).toMatch(/Only \d+ MB are free/)
  fill(folder)
  let id = 1
  const startedAt = performance.now()
  while (!store.summary().warning?.includes('The disk is full')) store.commit(draw(id++))
  const acknowledgedInTrouble = id - 1
  expect(readdirSync(folder)).not.toContain('a.gromatic-ballast')
  expect(() => {
    for (;;) {
      store.commit(draw(id))
      id++
    }
  }).toThrow(expect.objectContaining({ code: 'DISK_FULL' }))
  const acknowledged = id - 1
  expect(acknowledged - acknowledgedInTrouble).toBeGreaterThan((BALLAST_BYTES / 20_000) | 0)
  expect(store.annotations.list(1)).toHaveLength(acknowledged)
  expect(() => store.undo()).toThrow(expect.objectContaining({ code: 'DISK_FULL' }))
  store.close()
  const full = openProject(join(folder, 'a.gromatic'))
  expect(full.annotations.list(1)).toHaveLength(acknowledged)
  full.close()
  for (const name of readdirSync(folder)) if (name.startsWith('filler')) rmSync(join(folder, name))
  const roomAgain = openProject(join(folder, 'a.gromatic'))
  expect(roomAgain.annotations.list(1)).toHaveLength(acknowledged)
  roomAgain.commit(draw(id))
  roomAgain.close()
  console.log(`disk full: ${acknowledged} acknowledged, 0 lost, ${Math.round(performance.now() - startedAt)} ms in all`)
})

test('a full disk leaves the old export whole and nothing half-written', async (ctx) => {
  const folder = smallDisk(2)
  if (folder === null) return ctx.skip('this user may not mount a small disk')
  const path = join(folder, 'coco.json')
  const items = (count: number) =>
    Array.from({ length: count }, (_, i) => ({
      image: { fileName: `${i}.png`, width: 100, height: 100 },
      annotations: [{ bboxXywh: [1, 2, 3, 4] as [number, number, number, number], caption: 'y'.repeat(1000) }],
    }))
  await writeCoco(path, { name: 'small', items: items(1) })
  const before = readdirSync(folder)
  await expect(writeCoco(path, { name: 'large', items: items(5000) }, { overwrite: true })).rejects.toMatchObject({
    code: 'DISK_FULL',
  })
  expect(readdirSync(folder)).toEqual(before)
  const report = await writeCoco(path, { name: 'small again', items: items(2) }, { overwrite: true })
  expect(report.images).toBe(2)
})

test('read-only media: a closed project opens for reading, one with a log says what to do', (ctx) => {
  const folder = smallDisk(64)
  if (folder === null) return ctx.skip('this user may not mount a small disk')
  const path = (name: string) => join(folder, name)
  const store = createProject(path('a.gromatic'), folder)
  store.commit({ actor: 'scan', label: 'x', diff: diffOf({ images: [{ before: null, after: imageRow(1) }] }) })
  copyFileSync(path('a.gromatic'), path('crashed.gromatic'))
  copyFileSync(path('a.gromatic-wal'), path('crashed.gromatic-wal'))
  copyFileSync(path('a.gromatic'), path('without-log.gromatic')) // its header asks for a log
  store.close()
  execFileSync('mount', ['-o', 'remount,ro', folder])
  const names = readdirSync(folder)
  const closed = openProject(path('a.gromatic'))
  expect(closed.summary()).toMatchObject({
    readOnly: true,
    imageCount: 1,
    warning: expect.stringContaining('write-protected'),
  })
  closed.close()
  const crashed = expect.objectContaining({
    code: 'READ_ONLY',
    message: expect.stringContaining('crashed.gromatic-wal'),
  })
  expect(() => openProject(path('crashed.gromatic'))).toThrow(crashed)
  const withoutLog = openProject(path('without-log.gromatic'))
  expect(withoutLog.summary()).toMatchObject({ readOnly: true, imageCount: 0 }) // the image was in the log only
  withoutLog.close()
  expect(() => createProject(path('b.gromatic'), folder)).toThrow(expect.objectContaining({ code: 'READ_ONLY' }))
  expect(readdirSync(folder)).toEqual(names)
})
