/** A folder of scenes as an annotator would open it: photographs, a text file and a broken one. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import sharp from 'sharp'
import { makeScene, sceneUrl } from '../../renderer/scenes.ts'

/** Writes `count` scenes as JPEG, and two files that are no images. */
export async function writeScenes(folder: string, count: number): Promise<void> {
  mkdirSync(folder, { recursive: true })
  for (let i = 0; i < count; i++) {
    const svg = decodeURIComponent(sceneUrl(makeScene(i, 0)).slice('data:image/svg+xml,'.length))
    await sharp(Buffer.from(svg))
      .jpeg({ quality: 92 })
      .toFile(join(folder, `scene ${String(i).padStart(3, '0')} ü.jpg`))
  }
  writeFileSync(join(folder, 'notes.txt'), 'not a picture')
  writeFileSync(join(folder, 'broken.jpg'), Buffer.from([0xff, 0xd8, 0xff, 0xe0, 0, 16]))
}
