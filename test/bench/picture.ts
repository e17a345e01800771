/** Pictures to measure with: scenes that the demo model has never seen. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { decodeImage, type RgbImage } from '../../native-models/preprocess/image.ts'
import { drawScene } from '../support/syntheticScenes.ts'
import { cacheDir } from './places.ts'

const FIRST_SEED = 5_000_000

/** Writes scenes `first`, `first + 1`, ... into a folder of their own. Resolves to the folder. */
export async function sceneFolder(first: number, count: number): Promise<string> {
  const folder = join(cacheDir(), `scenes-${first}-${count}`)
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder)
  for (let k = first; k < first + count; k++) writeFileSync(join(folder, fileName(k)), await sceneBytes(k))
  return folder
}

/** Writes scene 0. Resolves to its path. */
export async function sceneFile(): Promise<string> {
  return join(await sceneFolder(0, 1), fileName(0))
}

export async function scene(k = 0): Promise<RgbImage> {
  return decodeImage(await sceneBytes(k))
}

const fileName = (k: number) => `${String(k).padStart(4, '0')}.jpg`
const sceneBytes = async (k: number) => (await drawScene(FIRST_SEED + k)).bytes
