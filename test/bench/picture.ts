/** Pictures to measure with. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { decodeImage, type RgbImage } from '../../native-models/preprocess/image.ts'
import { drawScene } from '../support/syntheticScenes.ts'
import { cacheDir } from './places.ts'

const FIRST_SEED = 5_000_000

/** Encoded scenes that the demo model has never seen, drawn once; the paths, in order. */
export async function sceneFiles(count: number): Promise<string[]> {
  const folder = sceneFolder(count)
  mkdirSync(folder, { recursive: true })
  const paths: string[] = []
  for (let k = 0; k < count; k++) {
    const path = join(folder, `${String(k).padStart(4, '0')}.jpg`)
    writeFileSync(path, (await drawScene(FIRST_SEED + k)).bytes)
    paths.push(path)
  }
  return paths
}

export const sceneFolder = (count: number): string => join(cacheDir(), `scenes-${count}`)

export async function scene(k = 0): Promise<RgbImage> {
  return decodeImage((await drawScene(FIRST_SEED + k)).bytes)
}
