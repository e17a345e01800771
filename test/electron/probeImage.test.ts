/** Pixels of files: a picture that ends too soon is told from a whole one, however busy the machine; the last one asked for comes first. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { PictureCache, probeImage } from '../../electron/services/pixels.ts'
import { codeOf, writePicture } from './support.ts'

let folder = ''
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'gromatic-probe-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

it.each(['jpg', 'png'])('never takes a cut %s for a whole one', async (ending) => {
  const [whole, cut] = [join(folder, `whole.${ending}`), join(folder, `cut.${ending}`)]
  await writePicture(whole, 400, 300)
  const bytes = readFileSync(whole)
  writeFileSync(cut, bytes.subarray(0, bytes.length / 2))
  expect(await probeImage(whole)).toEqual({ width: 400, height: 300 })
  for (let round = 0; round < 20; round++) {
    const codes = await Promise.all(Array.from({ length: 8 }, () => codeOf(probeImage(cut))))
    expect(new Set(codes)).toEqual(new Set(['IMAGE_UNREADABLE']))
  }
})

it('takes a picture whose end is followed by other bytes', async () => {
  const path = join(folder, 'followed.jpg')
  await writePicture(path, 60, 40)
  writeFileSync(path, Buffer.concat([readFileSync(path), Buffer.alloc(500, 1)]))
  expect(await probeImage(path)).toEqual({ width: 60, height: 40 })
})

it('makes the picture that was asked for last before those that were passed by', async () => {
  const pictures = new PictureCache(join(folder, 'cache'))
  const paths = Array.from({ length: 8 }, (_, i) => join(folder, `turned${i}.jpg`))
  for (const path of paths) await writePicture(path, 600, 400, 6)
  const made: number[] = []
  await Promise.all(paths.map((path, i) => pictures.get(path, null).then(() => made.push(i))))
  expect(made.indexOf(7)).toBeLessThan(made.indexOf(3))
  expect(new Set(made).size).toBe(8)
})
