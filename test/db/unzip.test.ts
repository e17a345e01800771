/** Zip files that mean harm, or are none: refused before anything is written outside. */
import { spawnSync } from 'node:child_process'
import { createWriteStream, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { expect, test } from 'vitest'
import yazl from 'yazl'
import { withUnzipped } from '../../db/imports/unzip.ts'
import { tempFolder } from './support.ts'

async function zipOf(folder: string, fill: (zip: yazl.ZipFile) => void): Promise<string> {
  const zip = new yazl.ZipFile()
  fill(zip)
  zip.end()
  const path = join(folder, 'x.zip')
  await pipeline(zip.outputStream, createWriteStream(path))
  return path
}
const refusedZip = (path: string) =>
  withUnzipped(path, {}, async () => 'unpacked').catch(
    (error: { code: string; message: string }) => `${error.code} ${error.message}`,
  )

test('zip files: names that lead out, links, doubles by case, bombs, and files that are none', async () => {
  const folder = tempFolder()
  const named = async (name: string): Promise<string> => {
    const path = await zipOf(folder, (zip) => zip.addBuffer(Buffer.from('x'), 'aa/b.txt'))
    writeFileSync(path, Buffer.from(readFileSync(path).toString('latin1').replaceAll('aa/b.txt', name), 'latin1'))
    return path
  }
  expect(await refusedZip(await named('../b.txt'))).toMatch(/INVALID_INPUT .*(leads elsewhere|relative path)/)
  expect(await refusedZip(await named('/a/b.txt'))).toMatch(/INVALID_INPUT .*(leads elsewhere|absolute path)/)
  expect(
    await refusedZip(await zipOf(folder, (zip) => zip.addBuffer(Buffer.from('/etc'), 'link', { mode: 0o120777 }))),
  ).toMatch(/INVALID_INPUT .*link/)
  const doubles = await zipOf(folder, (zip) => {
    zip.addBuffer(Buffer.from('1'), 'a.txt')
    zip.addBuffer(Buffer.from('2'), 'A.TXT')
  })
  expect(await refusedZip(doubles)).toMatch(/INVALID_INPUT .*twice/)
  const zeros = Buffer.alloc(300 * 1024 * 1024)
  expect(await refusedZip(await zipOf(folder, (zip) => zip.addBuffer(zeros, 'bomb.json')))).toMatch(
    /INVALID_INPUT .*would grow/,
  )
  const path = join(folder, 'x.zip')
  writeFileSync(path, 'PK\u0003\u0004 and then nothing')
  expect(await refusedZip(path)).toMatch(/INVALID_INPUT .*cannot be unpacked/)
})

test('what a killed import had unpacked is gone with the next one; what others are unpacking stays', async () => {
  const folder = tempFolder()
  const dead = spawnSync(process.execPath, ['-e', '']).pid
  const [left, live] = [`gromatic-import-${dead}-x`, `gromatic-import-${process.pid}-x`].map((name) =>
    join(tmpdir(), name),
  )
  for (const path of [left, live]) mkdirSync(path as string, { recursive: true })
  const zip = await zipOf(folder, (file) => file.addBuffer(Buffer.from('x'), 'a.txt'))
  const seen = await withUnzipped(zip, {}, async (inside) => [existsSync(join(inside, 'a.txt')), inside])
  expect(seen[0]).toBe(true)
  expect([left, live, seen[1]].map((path) => existsSync(path as string))).toEqual([false, true, false])
  rmSync(live as string, { recursive: true })
})
