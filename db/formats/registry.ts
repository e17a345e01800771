/** The table of formats: what can be read, what can be written. */
import { basename, join } from 'node:path'
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
import type { ImportItem, Key } from './items.ts'
import { labelme } from './labelme.ts'
import { labelStudio } from './labelStudio.ts'
import { lvis } from './lvis.ts'
import { probePath } from './probe.ts'
import { refcoco } from './refcoco.ts'
import { synthetic } from './synthetic.ts'
import type { ImportInput } from './textFile.ts'
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
 * What a reader is to be given: the path itself, or the files of its kind in a folder.
 * @throws INVALID_INPUT when the folder holds none
 */
export function locate(path: string, format: FormatName): ImportSource {
  const { reader, extension, name } = formats[format]
  const probe = probePath(path)
  if (!probe.isFolder || reader.folders === true) return { path, files: null }
  const endings = extension === '.csv' ? ['.csv', '.tsv'] : [extension]
  const named = probe.names.filter((file) => endings.some((ending) => file.toLowerCase().endsWith(ending)))
  const files = named.filter((file) => reader.sniff(probePath(join(path, file))) > 0)
  const [only] = files
  if (only === undefined) throw new DbError('INVALID_INPUT', `${path} holds no file of the format ${name}.`)
  return files.length === 1 ? { path: join(path, only), files: null } : { path, files }
}

export interface ImportSource {
  /** Of the file or folder that is read. */
  path: string
  /** Of the folder, where its reader knows single files only: those of its kind, relative with `/`. */
  files: readonly string[] | null
}

/** Everything that a source holds. Of several files each has ids of its own; what one says of an image is said of that image. */
export function* readSource(
  { path, files }: ImportSource,
  format: FormatName,
  input: Pick<ImportInput, 'isFolder' | 'onBytes' | 'instances'>,
): Generator<ImportItem> {
  const { reader } = formats[format]
  if (files === null) return yield* reader.read({ ...input, path })
  for (const file of files) {
    for (const item of reader.read({ ...input, isFolder: false, path: join(path, file) })) yield ofOneFile(item, file)
  }
}

/** An item of one of several files: keys apart, ids not kept. */
function ofOneFile(item: ImportItem, file: string): ImportItem {
  const apart = (key: Key): Key => `${file}#${key}`
  const where = (place: string): string => (place.includes(basename(file)) ? place : `${file}: ${place}`)
  switch (item.kind) {
    case 'note':
      return item
    case 'problem':
      return { ...item, where: where(item.where) }
    case 'image': {
      const { id: _id, ...image } = item
      return { ...image, key: apart(item.key), shared: true, where: where(item.where) }
    }
    case 'category': {
      const { id: _id, ...category } = item
      return { ...category, key: apart(item.key), where: where(item.where) }
    }
    case 'message': {
      const { id: _id, ...message } = item
      return { ...message, imageKey: apart(item.imageKey), where: where(item.where) }
    }
    case 'annotation': {
      const { id: _id, ...annotation } = item
      const categoryKey = item.categoryKey === null ? null : apart(item.categoryKey)
      return { ...annotation, imageKey: apart(item.imageKey), categoryKey, where: where(item.where) }
    }
  }
}

/** The formats that a file or folder may be, the likeliest first. @throws NOT_FOUND, READ_ONLY */
export function sniff(path: string): { format: FormatName; sureness: number }[] {
  const probe = probePath(path)
  return (Object.keys(formats) as FormatName[])
    .map((format) => ({ format, sureness: formats[format].reader.sniff(probe) }))
    .filter(({ sureness }) => sureness > 0)
    .sort((a, b) => b.sureness - a.sureness)
}
