/** LVIS v1: COCO with, for each image, the classes known to be absent or not fully marked, and how frequent each class is. */

import { cornersOf } from './boxes.ts'
import { exportCoco } from './coco.ts'
import { readCocoFiles } from './cocoReader.ts'
import { isLvis, isOfKind, sniffCoco } from './cocoSniff.ts'
import type { Format } from './format.ts'

const judge = (sight: Parameters<typeof isLvis>[0]): number => (isLvis(sight) ? 0.95 : 0)

/** As the paper has it: rare in 1-10 images, common in 11-100, frequent in more. */
const frequencyOf = (images: number): 'r' | 'c' | 'f' => (images <= 10 ? 'r' : images <= 100 ? 'c' : 'f')

export const lvis: Format = {
  name: 'LVIS v1',
  shape: 'file',
  extension: '.json',
  keeps: 'What COCO instances keeps; how often each class is seen is counted anew.',
  loses:
    'Which classes an image surely lacks, synsets and definitions, the talk. Boxes without a class become "object".',
  reader: {
    folders: true,
    sniff: (probe) => sniffCoco(probe, judge),
    read: (input) => readCocoFiles(input, isOfKind(judge)),
  },
  export: (source, options) =>
    exportCoco(source, options, {
      image: (row) => ({ ...row, coco_url: '', neg_category_ids: [], not_exhaustive_category_ids: [] }),
      // its tools read a polygon of every box
      annotation: (row) => ({
        ...row,
        segmentation:
          Array.isArray(row.segmentation) && row.segmentation.length === 0 ? [cornersOf(row.bbox)] : row.segmentation,
      }),
      category: ({ id, name }, { images, instances }) => ({
        id,
        name,
        synset: `${name.replaceAll(' ', '_')}.n.01`,
        synonyms: [name],
        def: '',
        frequency: frequencyOf(images),
        image_count: images,
        instance_count: instances,
      }),
    }),
}
