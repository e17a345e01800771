const COEF_BITS = 11
const ONE = 1 << COEF_BITS

/** Which two input pixels make one output pixel, and how much each counts, in 11-bit fixed point. */
interface Taps {
  /** [out]: first input index; the second is one further. Either may lie outside by one. */
  starts: Int32Array
  /** [out, 2] */
  weights: Int32Array
}

/**
 * `cv2.resize(rgb, (outWidth, outHeight))`: OpenCV's bilinear on 8 bits, half-pixel centres, no antialiasing, in its own
 * fixed-point arithmetic; exactly a half in both directions is the mean of four pixels, as there. The authors' training and
 * the paper's tables resized so.
 * @param rgb [height, width, 3]
 * @returns [outHeight, outWidth, 3]
 */
export function resizeBilinearOpenCv(
  rgb: Uint8Array,
  width: number,
  height: number,
  outWidth: number,
  outHeight: number,
): Uint8Array {
  if (rgb.length !== width * height * 3) throw new RangeError(`${rgb.length} bytes are not ${width} x ${height} RGB`)
  if (width === outWidth && height === outHeight) return rgb
  if (width === 2 * outWidth && height === 2 * outHeight) return halve(rgb, outWidth, outHeight)
  const columns = insideTaps(taps(width, outWidth), width)
  const rows = taps(height, outHeight)
  const clip = (y: number) => Math.min(Math.max(y, 0), height - 1)
  const out = new Uint8Array(outWidth * outHeight * 3)
  const line = outWidth * 3
  // Input rows are read in order: only the last two that were narrowed are kept.
  const kept = [
    { y: -1, sums: new Int32Array(line) },
    { y: -1, sums: new Int32Array(line) },
  ]
  const narrowed = (y: number, other: number): Int32Array => {
    const known = kept.find((row) => row.y === y)
    if (known) return known.sums
    const free = kept.find((row) => row.y !== other)!
    free.y = y
    narrow(rgb, y * width * 3, width, columns, free.sums)
    return free.sums
  }
  for (let y = 0; y < outHeight; y++) {
    const first = clip(rows.starts[y]!)
    const second = clip(rows.starts[y]! + 1)
    const above = narrowed(first, second)
    const below = narrowed(second, first)
    const [weightAbove, weightBelow] = [rows.weights[2 * y]!, rows.weights[2 * y + 1]!]
    for (let i = 0, at = y * line; i < line; i++, at++) {
      out[at] = (((weightAbove * (above[i]! >> 4)) >> 16) + ((weightBelow * (below[i]! >> 4)) >> 16) + 2) >> 2
    }
  }
  return out
}

/** One input row at the new width, scaled by 2^11. */
function narrow(rgb: Uint8Array, row: number, width: number, { starts, weights }: Taps, sums: Int32Array): void {
  for (let x = 0; x < starts.length; x++) {
    const left = row + starts[x]! * 3
    const right = row + Math.min(starts[x]! + 1, width - 1) * 3
    const [weightLeft, weightRight] = [weights[2 * x]!, weights[2 * x + 1]!]
    for (let channel = 0; channel < 3; channel++) {
      sums[3 * x + channel] = rgb[left + channel]! * weightLeft + rgb[right + channel]! * weightRight
    }
  }
}

function taps(inSize: number, outSize: number): Taps {
  const scale = 1 / (outSize / inSize)
  const starts = new Int32Array(outSize)
  const weights = new Int32Array(outSize * 2)
  for (let out = 0; out < outSize; out++) {
    const centre = Math.fround((out + 0.5) * scale - 0.5)
    starts[out] = Math.floor(centre)
    const share = Math.fround(centre - starts[out]!)
    weights[2 * out] = roundHalfEven(Math.fround(1 - share) * ONE)
    weights[2 * out + 1] = roundHalfEven(share * ONE)
  }
  return { starts, weights }
}

/** At the edges OpenCV takes the last column once, but the last row twice: the two round differently. */
function insideTaps({ starts, weights }: Taps, inSize: number): Taps {
  starts.forEach((start, out) => {
    if (start >= 0 && start < inSize - 1) return
    starts[out] = Math.min(Math.max(start, 0), inSize - 1)
    weights.set([ONE, 0], 2 * out)
  })
  return { starts, weights }
}

function halve(rgb: Uint8Array, outWidth: number, outHeight: number): Uint8Array {
  const out = new Uint8Array(outWidth * outHeight * 3)
  const line = outWidth * 6
  for (let y = 0, at = 0; y < outHeight; y++) {
    for (let i = 0; i < outWidth * 3; i++, at++) {
      const first = 2 * y * line + Math.floor(i / 3) * 6 + (i % 3)
      out[at] = (rgb[first]! + rgb[first + 3]! + rgb[first + line]! + rgb[first + line + 3]! + 2) >> 2
    }
  }
  return out
}

function roundHalfEven(value: number): number {
  const floor = Math.floor(value)
  const rest = value - floor
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor
}
