import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { GromaError } from '../errors.ts'
import type { RgbImage } from './image.ts'
import { resizeBicubicPillow } from './resize.ts'

/** How a picture becomes numbers: side of the square, and the mean and deviation per channel of values in 0..1. */
export interface PixelSettings {
  imageSize: number
  mean: readonly [number, number, number]
  std: readonly [number, number, number]
}

/** The release's demo. */
export const defaultPixelSettings: PixelSettings = {
  imageSize: 448,
  mean: [0.485, 0.456, 0.406],
  std: [0.229, 0.224, 0.225],
}

const side = z.number().int().min(28).max(4096)
const square = z
  .looseObject({ height: side, width: side })
  .refine(({ height, width }) => height === width, 'must be a square')
  .transform(({ height }) => height)
const shortestEdge = z.looseObject({ shortest_edge: side }).transform((size) => size.shortest_edge)
const channels = z.tuple([z.number(), z.number(), z.number()])
const settingsSchema = z.looseObject({
  crop_size: z.union([side, square]).nullish(),
  size: z.union([side, square, shortestEdge]).nullish(),
  image_mean: channels.default([...defaultPixelSettings.mean]),
  image_std: channels
    .refine((std) => std.every((value) => value > 0), 'must be positive')
    .default([...defaultPixelSettings.std]),
})

/**
 * Reads a checkpoint's `preprocessor_config.json`; a folder without one gets the release's values.
 * @throws CONFIG_INVALID
 */
export async function readPixelSettings(dir: string): Promise<PixelSettings> {
  const file = 'preprocessor_config.json'
  let bytes: string
  try {
    bytes = await readFile(join(dir, file), 'utf8')
  } catch {
    return defaultPixelSettings
  }
  try {
    const settings = settingsSchema.parse(JSON.parse(bytes))
    const imageSize = settings.crop_size ?? settings.size ?? defaultPixelSettings.imageSize
    return { imageSize, mean: settings.image_mean, std: settings.image_std }
  } catch (cause) {
    const reason = cause instanceof z.ZodError ? cause.issues[0]?.message : (cause as Error).message
    throw new GromaError('CONFIG_INVALID', `${file}: ${reason}`, { cause })
  }
}

/**
 * The vision encoder's input: each channel of an upright square as (value / 255 - mean) / std.
 * @param rgb [S, S, 3]
 * @returns [1, 3, S, S] (batch, channel, row, column)
 */
export function normalisePixels(rgb: Uint8Array, settings: PixelSettings = defaultPixelSettings): Float32Array {
  const plane = rgb.length / 3
  const out = new Float32Array(rgb.length)
  for (let channel = 0; channel < 3; channel++) {
    const table = channelTable(settings.mean[channel]!, settings.std[channel]!)
    for (let i = 0, at = channel; i < plane; i++, at += 3) out[channel * plane + i] = table[rgb[at]!]!
  }
  return out
}

/** A picture of any size as the vision encoder's input, squashed to the square. */
export function imageToPixels(image: RgbImage, settings: PixelSettings = defaultPixelSettings): Float32Array {
  const { imageSize } = settings
  return normalisePixels(resizeBicubicPillow(image.data, image.width, image.height, imageSize, imageSize), settings)
}

/** In float32, step by step, as numpy does it. */
function channelTable(mean: number, std: number): Float32Array {
  const f = Math.fround
  return Float32Array.from({ length: 256 }, (_, value) => f(f(f(value * (1 / 255)) - f(mean)) / f(std)))
}
