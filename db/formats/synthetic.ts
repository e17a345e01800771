/** The training folder's scenes: COCO with a caption and the referring expressions of every box. */
import { exportCoco } from './coco.ts'
import { readCocoFiles } from './cocoReader.ts'
import { isOfKind, isSynthetic, sniffCoco } from './cocoSniff.ts'
import { expressionsOf, withExpressions } from './expressions.ts'
import type { Format } from './format.ts'
import { isRow } from './items.ts'

const judge = (sight: Parameters<typeof isSynthetic>[0]): number => (isSynthetic(sight) ? 0.95 : 0)

export const synthetic: Format = {
  name: 'Groma training scenes',
  shape: 'file',
  extension: '.json',
  keeps: 'What COCO instances keeps, with the caption and the referring expressions of every box.',
  loses: 'The talk, and colours of classes. Boxes without a class become "object".',
  reader: {
    folders: true,
    sniff: (probe) => sniffCoco(probe, judge),
    read: (input) =>
      readCocoFiles(input, isOfKind(judge), (annotation, row) =>
        withExpressions(
          annotation,
          Array.isArray(row.referring) ? row.referring.filter((text) => typeof text === 'string') : [],
        ),
      ),
  },
  export: (source, options) =>
    exportCoco(source, options, {
      annotation: (row, box) => {
        const { expressions: _expressions, caption: _caption, ...attributes } = row.attributes
        return {
          ...row,
          caption: box.caption ?? '',
          attributes: isRow(attributes) ? attributes : {},
          referring: expressionsOf(box.extras),
        }
      },
    }),
}
