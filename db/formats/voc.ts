/** Pascal VOC: one XML for each image, corners in whole pixels from 1, both inside the box. */
import { basename, dirname, join } from 'node:path'
import type { BboxXywh } from '../records/records.ts'
import type { Format } from './format.ts'
import { type ImportItem, note, parseNumber, problem, sideOf } from './items.ts'
import { exportFolder } from './output.ts'
import { bestOf } from './probe.ts'
import { type ImportInput, listFilesBelow, readHead } from './textFile.ts'
import { wholePixels } from './wholePixels.ts'
import { child, childText, escapeXml, readXml, reasonOf, type XmlElement } from './xml.ts'

const FLAGS = ['difficult', 'truncated', 'occluded'] as const

/** `Annotations/a/b.xml` with `b.jpg` in it is about `a/b.jpg`. */
function fileNameOf(annotation: XmlElement, name: string): string {
  const below = dirname(name).replace(/^(.*\/)?annotations(\/|$)/i, '')
  const folder = below === '.' || below === '' ? '' : `${below}/`
  const said = childText(annotation, 'filename')
  if (said === undefined || said === '') return folder + basename(name).replace(/\.xml$/i, '')
  return said.includes('/') || said.includes('\\') ? said : folder + said
}

const FILES_LOOKED_AT = 500
const FROM_ZERO =
  'Corners are counted from 0 here (one of them is 0), as many tools do; Pascal VOC itself counts from 1.'

/** Whether a data set counts its pixels from 0: it has a corner there. */
function countsFromZero(paths: readonly string[]): boolean {
  return paths.slice(0, FILES_LOOKED_AT).some((path) => /<[xy]min>\s*0(\.0*)?\s*</.test(readHead(path)))
}

interface Reading {
  classes: Set<string>
  /** The number of the first pixel. Counted from 1, the far corner is the last pixel inside; from 0, it is the edge. */
  first: 0 | 1
}

function* readObject(
  object: XmlElement,
  key: string,
  where: string,
  { classes, first }: Reading,
): Generator<ImportItem> {
  const name = childText(object, 'name')
  const box = child(object, 'bndbox')
  if (name === undefined || name === '') return yield problem(where, 'the object has no name')
  if (box === undefined) return yield problem(where, 'the object has no bndbox')
  const [xmin, ymin, xmax, ymax] = ['xmin', 'ymin', 'xmax', 'ymax'].map((side) =>
    parseNumber(childText(box, side)),
  ) as [number, number, number, number]
  const bboxXywh: BboxXywh = [xmin - first, ymin - first, xmax - xmin + first, ymax - ymin + first]
  if (!bboxXywh.every(Number.isFinite)) return yield problem(where, 'the bndbox is not four numbers')
  if (!classes.has(name)) yield { kind: 'category', key: name, name, where }
  classes.add(name)
  const flags = FLAGS.filter((flag) => childText(object, flag) === '1').map((flag) => [flag, true] as const)
  const pose = childText(object, 'pose')
  const attributes = Object.fromEntries([
    ...flags,
    ...(pose === undefined || pose === '' || pose === 'Unspecified' ? [] : [['pose', pose] as const]),
  ])
  yield {
    kind: 'annotation',
    imageKey: key,
    categoryKey: name,
    bboxXywh,
    where,
    ...(Object.keys(attributes).length === 0 ? {} : { extras: { attributes } }),
  }
}

function* read(input: ImportInput): Generator<ImportItem> {
  const names = input.isFolder ? listFilesBelow(input.path).filter((name) => name.toLowerCase().endsWith('.xml')) : ['']
  const pathOf = (name: string): string => (input.isFolder ? join(input.path, name) : input.path)
  const fromZero = countsFromZero(names.map(pathOf))
  if (fromZero) yield note(FROM_ZERO)
  const reading: Reading = { classes: new Set(), first: fromZero ? 0 : 1 }
  for (const name of names) {
    const path = pathOf(name)
    const file = input.isFolder ? name : basename(path)
    try {
      let found = false
      for (const annotation of readXml(path, (element) => element === 'annotation', input.onBytes)) {
        found = true
        const size = child(annotation, 'size')
        const side = (of: string): number | null =>
          size === undefined ? null : sideOf(parseNumber(childText(size, of)))
        yield {
          kind: 'image',
          key: file,
          fileName: fileNameOf(annotation, file),
          // files that were renamed leave their old name inside
          otherNames: [file.replace(/\.xml$/i, '').replace(/^(.*\/)?annotations\//i, '')],
          width: side('width'),
          height: side('height'),
          where: file,
        }
        const objects = annotation.children.filter((element) => element.name === 'object')
        for (const object of objects) yield* readObject(object, file, `${file} line ${object.line}`, reading)
      }
      if (!found) yield problem(file, 'holds no <annotation>')
    } catch (error) {
      yield problem(file, reasonOf(error, file))
    }
  }
}

export const voc: Format = {
  name: 'Pascal VOC',
  shape: 'folder',
  extension: '',
  keeps: 'Boxes in whole pixels, classes, and the marks difficult, truncated, occluded and pose.',
  loses: 'Parts of pixels, captions, scores, polygons, verdicts and the talk. Boxes without a class become "object".',
  reader: {
    folders: true,
    sniff: (probe) =>
      bestOf(probe, ['.xml'], (name) => {
        const head = probe.head(name)
        if (!/<annotation[\s>]/.test(head) || /<annotations[\s>]/.test(head)) return 0
        return /<bndbox>/.test(head) || /<size>/.test(head) ? 0.9 : 0.5
      }),
    read,
  },
  export(source, options) {
    const sets = new Map<string, string[]>()
    return exportFolder(source, options, voc, {
      imagesFolder: () => 'JPEGImages',
      async image({ item, fileName, boxes }, write) {
        const { width, height } = item.image
        const stem = fileName.replace(/\.[^./]+$/, '')
        const subset = item.subset ?? 'train'
        sets.set(subset, [...(sets.get(subset) ?? []), stem])
        const objects = boxes.map(({ row, bbox, className }) => {
          const [x, y, w, h] = wholePixels(bbox, width, height)
          const attributes = row.extras?.attributes ?? {}
          const flags = FLAGS.map((flag) => `\t\t<${flag}>${attributes[flag] === true ? 1 : 0}</${flag}>\n`).join('')
          const pose = typeof attributes.pose === 'string' ? attributes.pose : 'Unspecified'
          return (
            `\t<object>\n\t\t<name>${escapeXml(className ?? 'object')}</name>\n\t\t<pose>${escapeXml(pose)}</pose>\n${flags}` +
            `\t\t<bndbox>\n\t\t\t<xmin>${x + 1}</xmin>\n\t\t\t<ymin>${y + 1}</ymin>\n\t\t\t<xmax>${x + w}</xmax>\n\t\t\t<ymax>${y + h}</ymax>\n\t\t</bndbox>\n\t</object>\n`
          )
        })
        const size = `\t<size>\n\t\t<width>${width}</width>\n\t\t<height>${height}</height>\n\t\t<depth>3</depth>\n\t</size>\n`
        const head = `<annotation>\n\t<folder>JPEGImages</folder>\n\t<filename>${escapeXml(fileName)}</filename>\n\t<source>\n\t\t<database>Gromatic</database>\n\t</source>\n${size}\t<segmented>0</segmented>\n`
        await write(`Annotations/${stem}.xml`, `${head}${objects.join('')}</annotation>\n`)
      },
      async finish(write) {
        for (const [subset, stems] of sets)
          await write(`ImageSets/Main/${subset}.txt`, stems.map((stem) => `${stem}\n`).join(''))
      },
    })
  },
}
