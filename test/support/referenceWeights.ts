/** MurmurHash3's finaliser on 32-bit integers. */
export function mixed(value: number): number {
  let h = value
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

/** FNV-1a over UTF-8, 32 bits. */
function fnv1a32(text: string): number {
  let h = 0x811c9dc5
  for (const byte of new TextEncoder().encode(text)) h = Math.imul(h ^ byte, 0x01000193)
  return h >>> 0
}

/** Where the formula starts to count for one tensor. */
export const formulaStart = (seed: number | string, name: string): number => fnv1a32(`${seed}:${name}`)

/**
 * A tensor of the reference models, from nothing:
 * `((fmix32(fnv1a32(seed + ":" + name) + i * 0x9E3779B9) >>> 26) - 32) / 32 * scale + offset`.
 * Every value is exact in float16 and bfloat16.
 */
export function formulaTensor(
  seed: number | string,
  name: string,
  shape: readonly number[],
  scale: number,
  offset: number,
): Float32Array {
  const values = new Float32Array(shape.reduce((product, extent) => product * extent, 1))
  const levels = Float32Array.from({ length: 64 }, (_, level) => ((level - 32) / 32) * scale + offset)
  let state = formulaStart(seed, name)
  for (let i = 0; i < values.length; i++) {
    values[i] = levels[mixed(state) >>> 26]!
    state = (state + 0x9e3779b9) | 0
  }
  return values
}

/** `weights.json` of a reference folder. */
export interface ReferenceWeights {
  seed: number
  tensors: { name: string; shape: number[]; scale: number; offset: number }[]
}
