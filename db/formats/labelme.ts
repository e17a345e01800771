/** LabelMe: a JSON beside each image, shapes as points in pixels. */
import { basename, dirname, join, posix } from 'node:path'
import { toDbError } from '../errors.ts'
import type { AnnotationExtras, BboxXywh } from '../records/records.ts'
import { boundsOf, fittingSegmentation, MAX_VERTICES, pairsOf } from './boxes.ts'
import type { Format } from './format.ts'
import { attributesFrom, type ImportItem, isRow, note, problem, type Row, sideOf, textOf } from './items.ts'
import { exportFolder } from './output.ts'
import { bestOf } from './probe.ts'
import { type ImportInput, listFilesBelow, readText } from './textFile.ts'

type Point = [number, number]
const WITHOUT_AREA = new Set(['point', 'points', 'line', 'linestrip'])
/** `rotation` is a turned box of X-AnyLabeling. */
const WITH_CORNERS = new Set(['polygon', 'oriented_rectangle', 'rotation'])

function pointsOf(value: unknown): Point[] | null {
  if (!Array.isArray(value) || value.length === 0 || value.length > MAX_VERTICES) return null
  const good = value.every(
    (point) => Array.isArray(point) && point.length >= 2 && point.slice(0, 2).every((side) => Number.isFinite(side)),
  )
  return good ? value.map(([x, y]) => [x, y] as Point) : null
}

function placeOf(type: string, points: Point[]): { bbox: BboxXywh | null; polygon: number[] | null } {
  if (type === 'circle') {
    const [[cx, cy], [ex, ey]] = [points[0] as Point, points[1] ?? (points[0] as Point)]
    const radius = Math.hypot(ex - cx, ey - cy)
    return { bbox: radius > 0 ? [cx - radius, cy - radius, 2 * radius, 2 * radius] : null, polygon: null }
  }
  const bbox = boundsOf(points)
  // the corners of a mask's box are its first and its last pixel
  if (type === 'mask' && bbox !== null) return { bbox: [bbox[0], bbox[1], bbox[2] + 1, bbox[3] + 1], polygon: null }
  return { bbox, polygon: WITH_CORNERS.has(type) && points.length >= 3 ? points.flat() : null }
}

function* readShape(shape: unknown, key: string, where: string, classes: Set<string>): Generator<ImportItem> {
  if (!isRow(shape)) return yield problem(where, 'is no object')
  const label = textOf(shape.label)?.trim() ?? ''
  if (label === '') return yield problem(where, 'the shape has no label')
  const type = textOf(shape.shape_type) ?? 'polygon'
  if (WITHOUT_AREA.has(type)) return yield note('Points and lines have no area and are left out.')
  const points = pointsOf(shape.points)
  if (points === null) return yield problem(where, `the points are not pairs of numbers (or more than ${MAX_VERTICES})`)
  const { bbox, polygon } = placeOf(type, points)
  if (bbox === null) return yield problem(where, 'the shape has no area')
  if (type === 'mask') yield note('Of masks, the box is taken.')
  if (type === 'circle') yield note('Of circles, the box is taken.')
  if (!classes.has(label)) yield { kind: 'category', key: label, name: label, where }
  classes.add(label)
  const flags = attributesFrom(shape.flags)
  const group = Number.isSafeInteger(shape.group_id) ? { group_id: shape.group_id as number } : {}
  const attributes = { ...flags, ...group }
  const extras: AnnotationExtras = {
    ...(polygon === null ? {} : { segmentation: [polygon] }),
    ...(Object.keys(attributes).length === 0 ? {} : { attributes }),
  }
  yield {
    kind: 'annotation',
    imageKey: key,
    categoryKey: label,
    bboxXywh: bbox,
    caption: textOf(shape.description),
    where,
    ...(Object.keys(extras).length === 0 ? {} : { extras }),
  }
}

/** Null: a JSON of another kind, as may lie in the same folder. */
function readFile(input: ImportInput, name: string): Row | string | null {
  try {
    const value: unknown = JSON.parse(readText(input.isFolder ? join(input.path, name) : input.path, input.onBytes))
    if (input.isFolder && !(isRow(value) && 'shapes' in value)) return null
    return isRow(value) && Array.isArray(value.shapes) ? value : 'holds no shapes'
  } catch (error) {
    return toDbError(error, name).message
  }
}

function* read(input: ImportInput): Generator<ImportItem> {
  const names = input.isFolder
    ? listFilesBelow(input.path).filter((name) => name.toLowerCase().endsWith('.json'))
    : [basename(input.path)]
  const classes = new Set<string>()
  for (const name of names) {
    const file = readFile(input, name)
    if (file === null) {
      yield note(`${name} is no LabelMe file and is left out.`)
      continue
    }
    if (typeof file === 'string') {
      yield problem(name, file)
      continue
    }
    const said = textOf(file.imagePath)?.replaceAll('\\', '/') ?? name.replace(/\.json$/i, '')
    const fileName = posix.normalize(posix.join(dirname(name), said))
    yield {
      kind: 'image',
      key: name,
      fileName,
      width: sideOf(file.imageWidth),
      height: sideOf(file.imageHeight),
      where: name,
    }
    for (const [index, shape] of (file.shapes as unknown[]).entries())
      yield* readShape(shape, name, `${name}: shapes[${index}]`, classes)
  }
}

export const labelme: Format = {
  name: 'LabelMe',
  shape: 'folder',
  extension: '',
  keeps: 'Boxes, polygons of one piece, classes, captions as descriptions, groups and flags.',
  loses: 'Scores, verdicts, run lengths and the talk. Boxes without a class become "object".',
  reader: {
    folders: true,
    sniff: (probe) =>
      bestOf(probe, ['.json'], (name) => {
        const json = probe.json(name)
        return json?.has('shapes') || /"shapes"\s*:\s*\[/.test(probe.head(name)) ? 0.95 : 0
      }),
    read,
  },
  export(source, options) {
    return exportFolder(source, options, labelme, {
      imagesFolder: () => '',
      async image({ item: { image }, fileName, boxes }, write) {
        const shapes = boxes.map(({ row, bbox, className }) => {
          const [x, y, w, h] = bbox
          const { group_id, ...attributes } = row.extras?.attributes ?? {}
          const segmentation = fittingSegmentation(row.extras, bbox)
          const [polygon] = Array.isArray(segmentation) && segmentation.length === 1 ? segmentation : []
          const flags = Object.fromEntries(Object.entries(attributes).filter(([, value]) => typeof value === 'boolean'))
          return {
            label: className ?? 'object',
            points:
              polygon === undefined
                ? [
                    [x, y],
                    [x + w, y + h],
                  ]
                : [...pairsOf(polygon)],
            group_id: typeof group_id === 'number' ? group_id : null,
            description: row.caption ?? '',
            shape_type: polygon === undefined ? 'rectangle' : 'polygon',
            flags,
            mask: null,
          }
        })
        const file = {
          version: '5.5.0',
          flags: {},
          shapes,
          imagePath: posix.basename(fileName),
          imageData: null,
          imageHeight: image.height,
          imageWidth: image.width,
        }
        await write(`${fileName.replace(/\.[^./]+$/, '')}.json`, `${JSON.stringify(file, null, 2)}\n`)
      },
      async finish() {},
    })
  },
}
