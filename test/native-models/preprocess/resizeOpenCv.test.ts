import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { resizeBilinearOpenCv } from '../../../native-models/preprocess/resizeOpenCv.ts'

/** SHA-256 of `cv2.resize(picture, (448, 448), interpolation=cv2.INTER_LINEAR)`, OpenCV 5.0.0, of the picture below. */
const resized: [width: number, height: number, sha256: string][] = [
  [640, 480, '865d834eb4568108daf2b08c30b82ccc52525063a86e9380b5b950c194698c30'],
  [333, 500, '1fe2f116a2d458619232c3f86ad560ff132e968173eeac1f3944474deba6769d'],
  [100, 70, '75cbd80987f89d2f60961f94f7037276405fc01dc2fd4221e2033eb3f87aa3e2'],
  [896, 896, '4fd1822b949364f108fe6438d313af45c28568f592fee317cf4f8b17338908bf'],
  [448, 300, '5069c0f54c0356cb84edd32c687445da6beb1aaaf719a19cf4598c34c6adfc8d'],
  [449, 1201, '1ee2317db9f787fb004ebdcfabc0f41376970e5593924717a28dc0a9432d39f2'],
  [20, 9, '5f335e64d548a7b5b369e4acc7a8d558d4eb5e6b44a02d442e18dcd8152b68a7'],
]

function picture(width: number, height: number): Uint8Array {
  const rgb = new Uint8Array(width * height * 3)
  for (let y = 0, at = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      rgb[at++] = (x * 7 + y * 3) % 256
      rgb[at++] = (x * x + y * 5) % 256
      rgb[at++] = (x * y + 11 * y) % 256
    }
  return rgb
}

describe("OpenCV's bilinear resize", () => {
  it.each(resized)('%i x %i is equal to the byte', (width, height, sha256) => {
    const out = resizeBilinearOpenCv(picture(width, height), width, height, 448, 448)
    expect(createHash('sha256').update(out).digest('hex')).toBe(sha256)
  })

  it('refuses bytes that are no picture of that size', () => {
    expect(() => resizeBilinearOpenCv(new Uint8Array(10), 2, 2, 4, 4)).toThrow('10 bytes are not 2 x 2 RGB')
  })
})
