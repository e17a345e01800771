/**
 * A folder of fresh scenes with their truth, in the layout of the training folder's scenes and of the shipped samples.
 * By itself: `node test/support/sceneFolder.ts DIR COUNT FIRST_SEED`, then `evaluate … --data DIR`.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { drawScene, referringExpression, shapes } from './syntheticScenes.ts'

/** Draws scenes `firstSeed`, `firstSeed + 1`, ... into `dir`. */
export async function writeSceneFolder(dir: string, count: number, firstSeed: number): Promise<void> {
  mkdirSync(dir, { recursive: true })
  const images = []
  const annotations = []
  for (let k = 0; k < count; k++) {
    const scene = await drawScene(firstSeed + k)
    const extension = scene.bytes[0] === 0xff ? 'jpg' : 'png'
    const fileName = `scene${String(k).padStart(3, '0')}.${extension}`
    writeFileSync(join(dir, fileName), scene.bytes)
    images.push({ id: k + 1, file_name: fileName, width: scene.width, height: scene.height })
    for (const object of scene.objects) {
      const { shape, colour, size, bboxXywh, caption } = object
      const expression = referringExpression(scene, object)
      annotations.push({
        id: annotations.length + 1,
        image_id: k + 1,
        category_id: shapes.indexOf(shape) + 1,
        bbox: bboxXywh,
        area: bboxXywh[2] * bboxXywh[3],
        iscrowd: 0,
        caption,
        attributes: { colour, size, shape },
        referring: expression === null ? [] : [expression],
      })
    }
  }
  const categories = shapes.map((name, i) => ({ id: i + 1, name }))
  writeFileSync(join(dir, 'annotations.json'), `${JSON.stringify({ images, annotations, categories }, null, 1)}\n`)
}

if (import.meta.main) {
  const [dir, count = '100', seed = '1000000'] = process.argv.slice(2)
  if (dir === undefined) throw new Error('Where to? node test/support/sceneFolder.ts DIR COUNT FIRST_SEED')
  await writeSceneFolder(dir, Number(count), Number(seed))
}
