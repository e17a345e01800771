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
const half = 1 << (precisionBits - 1)

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

/** [height, width, 3] -> [height, outWidth, 3] */
function resizeRows(rgb: Uint8Array, width: number, height: number, outWidth: number): Uint8Array {
  const { starts, counts, weights, stride } = bicubicCoefficients(width, outWidth)
  const out = new Uint8ClampedArray(outWidth * height * 3) // clips to 0..255 as Pillow's clip8 does
  let written = 0
  for (let y = 0; y < height; y++) {
    const row = y * width * 3
    for (let x = 0; x < outWidth; x++) {
      let red = half
      let green = half
      let blue = half
      let at = row + starts[x]! * 3
      const firstWeight = x * stride
      const lastWeight = firstWeight + counts[x]!
      for (let k = firstWeight; k < lastWeight; k++, at += 3) {
        const weight = weights[k]!
        red = (red + Math.imul(rgb[at]!, weight)) | 0
        green = (green + Math.imul(rgb[at + 1]!, weight)) | 0
        blue = (blue + Math.imul(rgb[at + 2]!, weight)) | 0
      }
      out[written] = red >> precisionBits
      out[written + 1] = green >> precisionBits
      out[written + 2] = blue >> precisionBits
      written += 3
    }
  }
  return new Uint8Array(out.buffer)
}

/** [height, width, 3] -> [outHeight, width, 3] */
function resizeColumns(rgb: Uint8Array, width: number, height: number, outHeight: number): Uint8Array {
  const { starts, counts, weights, stride } = bicubicCoefficients(height, outHeight)
  const rowBytes = width * 3
  const out = new Uint8ClampedArray(outHeight * rowBytes)
  const sums = new Int32Array(rowBytes)
  for (let y = 0; y < outHeight; y++) {
    sums.fill(half)
    for (let k = 0; k < counts[y]!; k++) {
      const weight = weights[y * stride + k]!
      const row = (starts[y]! + k) * rowBytes
      for (let i = 0; i < rowBytes; i++) sums[i] = (sums[i]! + Math.imul(rgb[row + i]!, weight)) | 0
    }
    for (let i = 0; i < rowBytes; i++) out[y * rowBytes + i] = sums[i]! >> precisionBits
  }
  return new Uint8Array(out.buffer)
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
