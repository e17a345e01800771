/** The table of formats: what can be read, what can be written. */
import { join } from 'node:path'
import { DbError } from '../errors.ts'
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

/**
 * What a reader is to be given: the path itself, or the one file of its kind in a folder.
 * @throws INVALID_INPUT when the folder holds none, or several
 */
export function locate(path: string, format: FormatName): string {
  const { reader, extension, name } = formats[format]
  const probe = probePath(path)
  if (!probe.isFolder || reader.folders === true) return path
  const endings = extension === '.csv' ? ['.csv', '.tsv'] : [extension]
  const named = probe.names.filter((file) => endings.some((ending) => file.toLowerCase().endsWith(ending)))
  const found = named.filter((file) => reader.sniff(probePath(join(path, file))) > 0)
  const [only] = found
  if (only !== undefined && found.length === 1) return join(path, only)
  const why = found.length === 0 ? 'no file' : `${found.length} files (${found.slice(0, 3).join(', ')})`
  throw new DbError('INVALID_INPUT', `${path} holds ${why} of the format ${name}: name one.`)
}

/** The formats that a file or folder may be, the likeliest first. @throws NOT_FOUND, READ_ONLY */
export function sniff(path: string): { format: FormatName; sureness: number }[] {
  const probe = probePath(path)
  return (Object.keys(formats) as FormatName[])
    .map((format) => ({ format, sureness: formats[format].reader.sniff(probe) }))
    .filter(({ sureness }) => sureness > 0)
    .sort((a, b) => b.sureness - a.sureness)
}
