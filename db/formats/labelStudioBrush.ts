/**
 * Label Studio's brush masks: the picture's RGBA bytes, packed. Ahead stand the count of values (32 bits), their width (5 bits, less
 * one) and four lengths (4 bits each, less one); then runs: one bit whether a value repeats, two bits which of the lengths
 * says how often, how often less one, and the value once or each of the values. PURE.
 */

const CHANNELS = 4
const ALPHA = 3

class Bits {
  readonly #bytes: ArrayLike<number>
  #at = 0
  constructor(bytes: ArrayLike<number>) {
    this.#bytes = bytes
  }
  get left(): number {
    return this.#bytes.length * 8 - this.#at
  }
  read(count: number): number {
    let value = 0
    for (let bit = 0; bit < count; bit++, this.#at++)
      value = value * 2 + (((this.#bytes[this.#at >> 3] as number) >> (7 - (this.#at & 7))) & 1)
    return value
  }
}

/** Which pixels are marked, row by row; null for bytes that do not describe such a picture. */
export function readBrush(bytes: readonly unknown[], pixels: number): Uint8Array | null {
  if (!bytes.every((byte) => Number.isInteger(byte) && (byte as number) >= 0 && (byte as number) < 256)) return null
  const bits = new Bits(bytes as number[])
  if (bits.left < 53 || bits.read(32) !== pixels * CHANNELS) return null
  const width = bits.read(5) + 1
  const lengths = [0, 0, 0, 0].map(() => bits.read(4) + 1)
  const marked = new Uint8Array(pixels)
  const total = pixels * CHANNELS
  let at = 0
  while (at < total) {
    if (bits.left < 3) return null
    const repeats = bits.read(1) === 1
    const length = lengths[bits.read(2)] as number
    if (bits.left < length) return null
    const end = at + bits.read(length) + 1
    if (end > total || bits.left < (repeats ? width : width * (end - at))) return null
    let value = repeats ? bits.read(width) : 0
    for (; at < end; at++) {
      if (!repeats) value = bits.read(width)
      if (value > 0 && at % CHANNELS === ALPHA) marked[(at - ALPHA) / CHANNELS] = 1
    }
  }
  return marked
}

/** The box round what is marked, in whole pixels; null when nothing is. */
export function brushBounds(marked: Uint8Array, width: number): [x: number, y: number, w: number, h: number] | null {
  let [left, right, top, bottom] = [width, -1, -1, -1]
  for (let at = marked.indexOf(1); at >= 0; at = marked.indexOf(1, at + 1)) {
    const [x, y] = [at % width, Math.floor(at / width)]
    left = Math.min(left, x)
    right = Math.max(right, x)
    if (top < 0) top = y
    bottom = y
  }
  return right < 0 ? null : [left, top, right - left + 1, bottom - top + 1]
}
