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

async function picture(name: string, width: number, height: number): Promise<string> {
  const path = join(dir, `${name}.png`)
  const background = { r: width % 256, g: height % 256, b: 7 }
  await sharp({ create: { width, height, channels: 3, background } })
    .png()
    .toFile(path)
  return path
}

describe('decoded ahead', () => {
  it('gives what was begun without reading the file again, once', async () => {
    const path = await picture('a', 40, 30)
    const whole = await decodeImage(path)
    const ahead = new DecodedAhead()
    ahead.begin(path)
    expect(await ahead.take(path)).toEqual(whole)
    ahead.begin(path)
    await new Promise((resolve) => setTimeout(resolve, 300))
    rmSync(path)
    expect(await ahead.take(path)).toEqual(whole)
    await expect(ahead.take(path)).rejects.toMatchObject({ code: 'IMAGE_UNREADABLE' })
  })

  it('gives other pictures than the one that was begun, and the largest in their turn', async () => {
    const [a, b] = [await picture('b', 20, 10), await picture('c', 8_000, 4_000)]
    const ahead = new DecodedAhead()
    ahead.begin(b)
    expect(await ahead.take(a)).toMatchObject({ width: 20, height: 10 })
    expect(await ahead.take(b)).toMatchObject({ width: 8_000, height: 4_000 })
  })

  it('tells of a damaged file when it is taken, and of none that is not', async () => {
    const damaged = join(dir, 'damaged.png')
    writeFileSync(damaged, 'no picture')
    const ahead = new DecodedAhead()
    ahead.begin(damaged)
    ahead.begin(await picture('d', 5, 5))
    ahead.begin(damaged)
    await new Promise((resolve) => setTimeout(resolve, 50))
    await expect(ahead.take(damaged)).rejects.toMatchObject({ code: 'IMAGE_UNREADABLE' })
  })
})
