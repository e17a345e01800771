import { createHash } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import sharp, { type Sharp } from 'sharp'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { GromaError } from '../../../native-models/errors.ts'
import { decodeImage, imageSize, sniffImageFormat } from '../../../native-models/preprocess/image.ts'
import { imageToPixels, normalisePixels, readPixelSettings } from '../../../native-models/preprocess/pixels.ts'
import { resizeBicubicPillow } from '../../../native-models/preprocess/resize.ts'
import { referenceDir } from '../../support/makeCheckpoint.ts'
import {
  referenceExpectation,
  referenceImagePath,
  referenceTensors,
  referenceTokenizerDir,
} from '../../support/referenceCases.ts'

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

/** A small picture without symmetry, [height, width, 3]. */
function sample(width: number, height: number): Uint8Array {
  return Uint8Array.from({ length: width * height * 3 }, (_, i) => (i * 37 + ((i / 3) | 0) * 11) % 256)
}

const raw = (data: Uint8Array, width: number, height: number, channels: 1 | 3 | 4 = 3) =>
  sharp(data, { raw: { width, height, channels } })

describe('the reference pictures', () => {
  it.each(referenceExpectation('one-level').images)('$image: bytes, size and resized bytes', async (image) => {
    const { data, width, height } = await decodeImage(referenceImagePath(image.image))
    expect({ width, height, sha256: sha256(data) }).toEqual({
      width: image.width,
      height: image.height,
      sha256: image.sha256,
    })
    expect(await imageSize(referenceImagePath(image.image))).toEqual({ width, height })
    const expected = JSON.parse(await readFile(join(referenceDir, 'images/resized448.sha256.json'), 'utf8'))
    expect(sha256(resizeBicubicPillow(data, width, height, 448, 448))).toBe(expected[image.image])
  })

  it('become exactly the expected numbers', async () => {
    const expected = await referenceTensors('one-level', 'image0.expected.safetensors')
    const pixels = imageToPixels(await decodeImage(referenceImagePath('image0.png')))
    expect(sha256(new Uint8Array(pixels.buffer))).toBe(sha256(new Uint8Array(expected.get('pixels')!.data.buffer)))
  })
})

describe('decoding', () => {
  const [width, height] = [23, 17]
  const pixels = sample(width, height)

  it.each([
    ['png', (image: Sharp) => image.png()],
    ['webp', (image: Sharp) => image.webp({ lossless: true, exact: true })],
    ['tiff', (image: Sharp) => image.tiff({ compression: 'lzw' })],
  ])('%s without loss', async (format, encode) => {
    const file = await encode(raw(pixels, width, height)).toBuffer()
    expect(sniffImageFormat(file)).toBe(format)
    const { data } = await decodeImage(file)
    expect(Buffer.from(data).equals(pixels)).toBe(true)
  })

  it.each([
    ['jpeg', (image: Sharp) => image.jpeg()],
    ['gif', (image: Sharp) => image.gif()],
    ['avif', (image: Sharp) => image.avif()],
  ])('%s', async (format, encode) => {
    const file = await encode(raw(pixels, width, height)).toBuffer()
    expect(sniffImageFormat(file)).toBe(format)
    expect(await decodeImage(file)).toMatchObject({ width, height })
  })

  it('drops transparency instead of blending it', async () => {
    const rgba = new Uint8Array(width * height * 4)
    for (let i = 0; i < width * height; i++) rgba.set([...pixels.subarray(i * 3, i * 3 + 3), i % 256], i * 4)
    const { data } = await decodeImage(await raw(rgba, width, height, 4).png().toBuffer())
    expect(Buffer.from(data).equals(pixels)).toBe(true)
  })

  it('repeats grey, and takes the high byte of 16 bits', async () => {
    const grey = pixels.subarray(0, width * height)
    const { data } = await decodeImage(await raw(grey, width, height, 1).png().toBuffer())
    expect([...data.subarray(0, 6)]).toEqual([grey[0], grey[0], grey[0], grey[1], grey[1], grey[1]])
    const deep = await raw(pixels, width, height).toColourspace('rgb16').png().toBuffer()
    expect((await sharp(deep).metadata()).depth).toBe('ushort')
    expect(Buffer.from((await decodeImage(deep)).data).equals(pixels)).toBe(true)
  })

  it('keeps stored colours whatever the ICC profile says', async () => {
    const tagged = await raw(pixels, width, height).withIccProfile('p3', { attach: true }).png().toBuffer()
    const stored = await sharp(tagged, { ignoreIcc: true }).raw().toBuffer()
    expect(Buffer.from((await decodeImage(tagged)).data).equals(stored)).toBe(true)
  })

  it('reads CMYK', async () => {
    const cmyk = await raw(pixels, width, height).toColourspace('cmyk').jpeg().toBuffer()
    expect((await sharp(cmyk).metadata()).channels).toBe(4)
    expect((await decodeImage(cmyk)).data.length).toBe(width * height * 3)
  })

  it.each([1, 2, 3, 4, 5, 6, 7, 8])('turns EXIF orientation %i upright', async (orientation) => {
    const png = await raw(pixels, width, height).withMetadata({ orientation }).png().toBuffer()
    const turned = orientation > 4
    const size = turned ? { width: height, height: width } : { width, height }
    expect(await imageSize(png)).toEqual(size)
    const { data, ...found } = await decodeImage(png)
    expect(found).toEqual(size)
    // where the stored top left pixel went
    const corner = [
      [0, 0],
      [1, 0],
      [1, 1],
      [0, 1],
      [0, 0],
      [1, 0],
      [1, 1],
      [0, 1],
    ][orientation - 1]!
    const at = (corner[1]! * (size.height - 1) * size.width + corner[0]! * (size.width - 1)) * 3
    expect([...data.subarray(at, at + 3)]).toEqual([...pixels.subarray(0, 3)])
  }) // prettier-ignore
})

describe('files that are no pictures', () => {
  let root: string
  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'gromatic-image-'))
  })
  afterAll(() => rm(root, { recursive: true, force: true }))

  const refused = (message: RegExp) => ({ code: 'IMAGE_UNREADABLE', message })

  it('are refused with a reason', async () => {
    await expect(decodeImage(join(root, 'nowhere.png'))).rejects.toMatchObject(refused(/no such file/))
    await expect(decodeImage(root)).rejects.toMatchObject(refused(/./))
    await expect(decodeImage(new Uint8Array())).rejects.toMatchObject(refused(/empty/))
    const svg = join(root, 'x.png')
    await writeFile(svg, '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
    await expect(decodeImage(svg)).rejects.toMatchObject(refused(/x\.png: not a JPEG/))
    await expect(imageSize(svg)).rejects.toMatchObject(refused(/not a JPEG/))
  })

  it.each(['png', 'jpeg', 'webp', 'tiff', 'gif'] as const)('a truncated %s', async (format) => {
    const whole = await raw(sample(200, 200), 200, 200).toFormat(format).toBuffer()
    await expect(decodeImage(whole.subarray(0, whole.length >> 1))).rejects.toMatchObject(refused(/./))
  })

  it('more than 100 megapixels, before decoding them', async () => {
    const bomb = await sharp({
      create: { width: 12_000, height: 9000, channels: 3, background: 'red' },
      limitInputPixels: false,
    })
      .png({ compressionLevel: 1 })
      .toBuffer()
    await expect(decodeImage(bomb)).rejects.toMatchObject(refused(/megapixels/))
  })

  it('any damage is survived', async () => {
    const files = await Promise.all(
      (['png', 'jpeg', 'webp', 'gif'] as const).map((format) =>
        raw(sample(40, 30), 40, 30).toFormat(format).toBuffer(),
      ),
    )
    const damage = fc.array(fc.tuple(fc.nat(5000), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 8 })
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...files), damage, async (file, flips) => {
        const bytes = Buffer.from(file)
        for (const [at, value] of flips) bytes[at % bytes.length] = value
        await decodeImage(bytes).catch((error) => expect(error).toBeInstanceOf(GromaError))
      }),
      { numRuns: 150 },
    )
  })
})

describe('resizing and normalising', () => {
  it('keeps a picture of the same size, and one colour one colour', () => {
    const picture = sample(9, 7)
    expect(resizeBicubicPillow(picture, 9, 7, 9, 7)).toEqual(picture)
    const flat = resizeBicubicPillow(new Uint8Array(50 * 3 * 3).fill(77), 50, 3, 8, 8)
    expect(flat.every((value) => value === 77)).toBe(true)
    expect(() => resizeBicubicPillow(picture, 9, 8, 4, 4)).toThrow(RangeError)
  })

  it('reads the checkpoint’s settings', async () => {
    const settings = await readPixelSettings(referenceTokenizerDir('one-level'))
    expect(settings).toEqual({ imageSize: 448, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] })
    const pixels = normalisePixels(Uint8Array.of(0, 128, 255), settings)
    expect([...pixels].map((value) => value.toFixed(4))).toEqual(['-2.1179', '0.2052', '2.6400'])
  })
})
