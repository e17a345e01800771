/** The table of formats: what can be read, what can be written. */
import type { FormatName } from '../records/formatNames.ts'
import { coco } from './coco.ts'
import { cocoCaptions } from './cocoCaptions.ts'
import { cocoResults } from './cocoResults.ts'
import { csv } from './csv.ts'
import { cvat } from './cvat.ts'
import { everything } from './everything.ts'
import { flickr30k } from './flickr30k.ts'
import type { Format } from './format.ts'
import { gromaInstruct } from './gromaInstruct.ts'
import { labelme } from './labelme.ts'
import { labelStudio } from './labelStudio.ts'
import { lvis } from './lvis.ts'
import { probePath } from './probe.ts'
import { refcoco } from './refcoco.ts'
import { synthetic } from './synthetic.ts'
import { visualGenome } from './visualGenome.ts'
import { voc } from './voc.ts'
import { yolo } from './yolo.ts'

export const formats: Readonly<Record<FormatName, Format>> = {
  coco,
  'coco-captions': cocoCaptions,
  'coco-results': cocoResults,
  lvis,
  refcoco,
  'visual-genome': visualGenome,
  flickr30k,
  yolo,
  voc,
  labelme,
  csv,
  cvat,
  'label-studio': labelStudio,
  'groma-instruct': gromaInstruct,
  synthetic,
  everything,
}

/** The formats that a file or folder may be, the likeliest first. @throws NOT_FOUND, READ_ONLY */
export function sniff(path: string): { format: FormatName; sureness: number }[] {
  const probe = probePath(path)
  return (Object.keys(formats) as FormatName[])
    .map((format) => ({ format, sureness: formats[format].reader.sniff(probe) }))
    .filter(({ sureness }) => sureness > 0)
    .sort((a, b) => b.sureness - a.sureness)
}
