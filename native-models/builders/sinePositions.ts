/** Feature maps of the proposer: [height, width] of a level, finest level first. */
export interface Level {
  height: number
  width: number
}

const TEMPERATURE = 10_000
const FULL_CIRCLE = Math.fround(2 * Math.PI)
const EPSILON = 1e-6

/** temperature^(2i / count) for i = 0..count/2: the wave lengths of `count` sine and cosine channels. */
export function waveLengths(count: number): number[] {
  return Array.from({ length: count / 2 }, (_, pair) => Math.fround(TEMPERATURE ** ((2 * pair) / count)))
}

/**
 * The sine embedding of every pixel of a level: half the channels tell y, half x, each sine and cosine in turn.
 * @param channels of the embedding, divisible by 4
 * @returns [height * width, channels]
 */
export function sinePositions({ height, width }: Level, channels: number): Float32Array {
  const waves = waveLengths(channels / 2)
  const encode = (index: number, length: number) => {
    const angle = Math.fround(Math.fround((index + 0.5) / Math.fround(length + EPSILON)) * FULL_CIRCLE)
    return waves.flatMap((wave) => [Math.sin(Math.fround(angle / wave)), Math.cos(Math.fround(angle / wave))])
  }
  const rows = Array.from({ length: height }, (_, y) => encode(y, height))
  const columns = Array.from({ length: width }, (_, x) => encode(x, width))
  const positions = new Float32Array(height * width * channels)
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const at = (y * width + x) * channels
      positions.set(rows[y]!, at)
      positions.set(columns[x]!, at + channels / 2)
    }
  }
  return positions
}

/** Centres of all pixels of all levels in 0..1, x then y: [tokens, 2]. */
export function pixelCentres(levels: readonly Level[]): Float32Array {
  const centres: number[] = []
  for (const { height, width } of levels) {
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) centres.push((x + 0.5) / width, (y + 0.5) / height)
    }
  }
  return Float32Array.from(centres)
}

export interface AnchorBoxes {
  /** log(p / (1 - p)) of (centre x, centre y, size, size), +infinity for boxes that do not count: [tokens, 4] */
  logits: Float32Array
  /** 1 for boxes that count, else 0: [tokens, 1] */
  valid: Float32Array
}

/** One square box per pixel, 0.05 of the picture wide at the finest level and twice as wide at each next one. */
export function anchorBoxes(levels: readonly Level[]): AnchorBoxes {
  const centres = pixelCentres(levels)
  const count = centres.length / 2
  const logits = new Float32Array(count * 4)
  const valid = new Float32Array(count)
  let token = 0
  for (const [index, { height, width }] of levels.entries()) {
    const size = Math.fround(0.05 * 2 ** index)
    for (let pixel = 0; pixel < height * width; pixel++, token++) {
      const box = [centres[token * 2]!, centres[token * 2 + 1]!, size, size]
      const counts = box.every((coordinate) => coordinate > 0.01 && coordinate < 0.99)
      valid[token] = counts ? 1 : 0
      const row = box.map((p) => (counts ? Math.log(Math.fround(p / Math.fround(1 - p))) : Number.POSITIVE_INFINITY))
      logits.set(row, token * 4)
    }
  }
  return { logits, valid }
}
