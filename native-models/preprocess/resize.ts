import { resizeKernel } from './resizeKernel.ts'

/** Which input pixels make one output pixel, and how much each counts, in 22-bit fixed point. */
interface Coefficients {
  /** [out]: first input index */
  starts: Int32Array
  /** [out]: number of inputs */
  counts: Int32Array
  /** [out, stride] */
  weights: Int32Array
  stride: number
}

const precisionBits = 22 // Pillow: 32 - 8 - 2

/**
 * Pillow 10's `resize((outWidth, outHeight))` of an RGB picture: bicubic (a = -0.5), antialiased, to the byte.
 * @param rgb [height, width, 3]
 * @returns [outHeight, outWidth, 3]
 */
export function resizeBicubicPillow(
  rgb: Uint8Array,
  width: number,
  height: number,
  outWidth: number,
  outHeight: number,
): Uint8Array {
  if (rgb.length !== width * height * 3) throw new RangeError(`${rgb.length} bytes are not ${width} x ${height} RGB`)
  const narrow = width === outWidth ? rgb : resizeRows(rgb, width, height, outWidth)
  return height === outHeight ? narrow : resizeColumns(narrow, outWidth, height, outHeight)
}

/** Kernels read and write up to so many bytes more than there are. */
const BEYOND = 16

/** [height, width, 3] -> [height, outWidth, 3] */
function resizeRows(rgb: Uint8Array, width: number, height: number, outWidth: number): Uint8Array {
  const { starts, counts, weights, stride } = bicubicCoefficients(width, outWidth)
  const [inBytes, outBytes] = [width * 3, outWidth * 3]
  const { at, length } = places(weights.byteLength, starts.byteLength, counts.byteLength, inBytes, outBytes)
  const [weightsAt, startsAt, countsAt, inAt, outAt] = at as [number, number, number, number, number]
  const { memory, run } = resizeKernel('row', length)
  new Int32Array(memory.buffer, weightsAt).set(weights)
  new Int32Array(memory.buffer, startsAt).set(starts.map((start) => start * 3))
  new Int32Array(memory.buffer, countsAt).set(counts.map((count) => count * 4))
  const bytes = new Uint8Array(memory.buffer)
  const out = new Uint8Array(outBytes * height)
  for (let y = 0; y < height; y++) {
    bytes.set(rgb.subarray(y * inBytes, (y + 1) * inBytes), inAt)
    run(inAt, outAt, startsAt, countsAt, weightsAt, stride * 4, outWidth)
    out.set(bytes.subarray(outAt, outAt + outBytes), y * outBytes)
  }
  return out
}

/** [height, width, 3] -> [outHeight, width, 3] */
function resizeColumns(rgb: Uint8Array, width: number, height: number, outHeight: number): Uint8Array {
  const { starts, counts, weights, stride } = bicubicCoefficients(height, outHeight)
  const rowBytes = width * 3
  const { at, length } = places(weights.byteLength, stride * rowBytes, rowBytes)
  const [weightsAt, inAt, outAt] = at as [number, number, number]
  const { memory, run } = resizeKernel('column', length)
  new Int32Array(memory.buffer, weightsAt).set(weights)
  const bytes = new Uint8Array(memory.buffer)
  const out = new Uint8Array(outHeight * rowBytes)
  for (let y = 0; y < outHeight; y++) {
    const [start, count] = [starts[y]!, counts[y]!]
    bytes.set(rgb.subarray(start * rowBytes, (start + count) * rowBytes), inAt)
    const first = weightsAt + y * stride * 4
    run(inAt, outAt, rowBytes, first, first + count * 4)
    out.set(bytes.subarray(outAt, outAt + rowBytes), y * rowBytes)
  }
  return out
}

/** Places behind each other in a kernel's memory for stretches of so many bytes. */
function places(...sizes: number[]): { at: number[]; length: number } {
  let length = 0
  const at = sizes.map((bytes) => {
    const start = length
    length += Math.ceil((bytes + BEYOND) / BEYOND) * BEYOND
    return start
  })
  return { at, length }
}

function bicubicCoefficients(inSize: number, outSize: number): Coefficients {
  const scale = inSize / outSize
  const filterScale = Math.max(scale, 1)
  const support = 2 * filterScale
  const stride = Math.ceil(support) * 2 + 1
  const starts = new Int32Array(outSize)
  const counts = new Int32Array(outSize)
  const weights = new Int32Array(outSize * stride)
  const exact = new Float64Array(stride)
  for (let out = 0; out < outSize; out++) {
    const centre = (out + 0.5) * scale
    const start = Math.max(0, Math.trunc(centre - support + 0.5))
    const count = Math.min(inSize, Math.trunc(centre + support + 0.5)) - start
    let total = 0
    for (let k = 0; k < count; k++) {
      exact[k] = bicubic((k + start - centre + 0.5) * (1 / filterScale))
      total += exact[k]!
    }
    for (let k = 0; k < count; k++) {
      const weight = (total === 0 ? exact[k]! : exact[k]! / total) * (1 << precisionBits)
      weights[out * stride + k] = Math.trunc(weight + (weight < 0 ? -0.5 : 0.5))
    }
    starts[out] = start
    counts[out] = count
  }
  return { starts, counts, weights, stride }
}

function bicubic(distance: number): number {
  const a = -0.5
  const x = Math.abs(distance)
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a
  return 0
}
