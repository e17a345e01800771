/** Telling the members of the COCO family apart by the first entry of each list. */
import { isRow, type Row } from './items.ts'
import { bestOf, type Probe, probePath } from './probe.ts'

export interface CocoSight {
  lists: ReadonlySet<string>
  image: Row
  annotation: Row
  category: Row
}

export function cocoSight(json: ReadonlyMap<string, unknown> | null): CocoSight | null {
  if (json === null) return null
  const row = (list: string): Row => {
    const value = json.get(list)
    return isRow(value) ? value : {}
  }
  return {
    lists: new Set(json.keys()),
    image: row('images'),
    annotation: row('annotations'),
    category: row('categories'),
  }
}

/** Judges each JSON file of a probe by what its lists begin with. */
export function sniffCoco(probe: Probe, judge: (sight: CocoSight) => number): number {
  return bestOf(probe, ['.json'], (name) => {
    const sight = cocoSight(probe.json(name))
    return sight === null ? 0 : judge(sight)
  })
}

/** Whether a file of a folder is for this reader: the same judgement that chose the format. */
export const isOfKind =
  (judge: (sight: CocoSight) => number) =>
  (path: string): boolean => {
    const probe = probePath(path)
    const sight = cocoSight(probe.json(probe.names[0] ?? ''))
    return sight !== null && judge(sight) > 0
  }

/** Of a file whose boxes come first nobody may have seen the images yet. */
const hasImages = ({ lists, annotation }: CocoSight): boolean =>
  lists.has('images') || (lists.has('categories') && 'image_id' in annotation)

export const isLvis = ({ image, category, ...sight }: CocoSight): boolean =>
  hasImages({ image, category, ...sight }) &&
  !isCaptions({ image, category, ...sight }) &&
  ('neg_category_ids' in image ||
    'synset' in category ||
    'frequency' in category ||
    'not_exhaustive_category_ids' in image)

export const isCaptions = ({ annotation, lists }: CocoSight): boolean =>
  (lists.has('images') || 'image_id' in annotation) && typeof annotation.caption === 'string' && !('bbox' in annotation)

/** Scenes of our training folder say what refers to each object. */
export const isSynthetic = ({ annotation }: CocoSight): boolean => Array.isArray(annotation.referring)

export function isInstances(sight: CocoSight): number {
  const { lists, annotation } = sight
  if ('segments_info' in annotation) return 0 // panoptic: its masks are pictures
  if (!hasImages(sight) || !(lists.has('annotations') || lists.has('categories')) || isCaptions(sight)) return 0
  if (isLvis(sight) || isSynthetic(sight)) return 0.4
  return 'bbox' in annotation || 'segmentation' in annotation ? 0.9 : 0.5
}
