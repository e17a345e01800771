/** A process to be killed: `node exporterProcess.ts <out.json> <name>`. Exports over and over, each time with more boxes. */
import { writeSync } from 'node:fs'
import { type CocoItem, writeCoco } from '../../db/formats/coco.ts'

const [, , path = '', name = ''] = process.argv
for (let round = 1; ; round++) {
  const items: CocoItem[] = Array.from({ length: 300 }, (_, index) => ({
    image: { fileName: `${index}.png`, width: 100, height: 100 },
    annotations: Array.from({ length: round }, () => ({
      bboxXywh: [1, 2, 3, 4] as [number, number, number, number],
      caption: name,
    })),
  }))
  await writeCoco(path, { name: `${name} ${round}`, items }, { overwrite: true })
  writeSync(1, `${round}\n`)
}
