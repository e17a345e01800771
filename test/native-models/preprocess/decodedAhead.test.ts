/** A picture begun before its turn is the same picture, and what is wrong with it is told in its turn. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import sharp from 'sharp'
import { afterAll, describe, expect, it } from 'vitest'
import { DecodedAhead } from '../../../native-models/preprocess/decodedAhead.ts'
import { decodeImage } from '../../../native-models/preprocess/image.ts'

const dir = mkdtempSync(join(tmpdir(), 'decoded-'))
afterAll(() => rmSync(dir, { recursive: true }))

async function picture(name: string, width: number, height: number): Promise<{ path: string; key: string }> {
  const path = join(dir, `${name}.png`)
  const background = { r: width % 256, g: height % 256, b: 7 }
  await sharp({ create: { width, height, channels: 3, background } })
    .png()
    .toFile(path)
  return { path, key: name }
}

describe('decoded ahead', () => {
  it('gives what was begun without reading the file again, once', async () => {
    const a = await picture('a', 40, 30)
    const whole = await decodeImage(a.path)
    const ahead = new DecodedAhead()
    ahead.begin(a)
    expect(await ahead.take(a)).toEqual(whole)
    ahead.begin(a)
    await new Promise((resolve) => setTimeout(resolve, 300))
    rmSync(a.path)
    expect(await ahead.take(a)).toEqual(whole)
    await expect(ahead.take(a)).rejects.toMatchObject({ code: 'IMAGE_UNREADABLE' })
  })

  it('gives other pictures than the one that was begun, and the largest in their turn', async () => {
    const [a, b] = [await picture('b', 20, 10), await picture('c', 8_000, 4_000)]
    const ahead = new DecodedAhead()
    ahead.begin(b)
    expect(await ahead.take(a)).toMatchObject({ width: 20, height: 10 })
    expect(await ahead.take(b)).toMatchObject({ width: 8_000, height: 4_000 })
  })

  it('reads a file again that holds another picture by now', async () => {
    const before = await picture('e', 30, 20)
    const ahead = new DecodedAhead()
    ahead.begin(before)
    await new Promise((resolve) => setTimeout(resolve, 300))
    const { path } = await picture('e', 20, 30)
    expect(await ahead.take({ path, key: 'another' })).toMatchObject({ width: 20, height: 30 })
  })

  it('tells of a damaged file when it is taken, and of none that is not', async () => {
    const damaged = { path: join(dir, 'damaged.png'), key: 'damaged' }
    writeFileSync(damaged.path, 'no picture')
    const ahead = new DecodedAhead()
    ahead.begin(damaged)
    ahead.begin(await picture('d', 5, 5))
    ahead.begin(damaged)
    await new Promise((resolve) => setTimeout(resolve, 50))
    await expect(ahead.take(damaged)).rejects.toMatchObject({ code: 'IMAGE_UNREADABLE' })
  })
})
