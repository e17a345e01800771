import { type BoxCxcywh, cxcywhToXyxy } from '../geometry/boxes.ts'
import { iouXyxy } from '../geometry/overlap.ts'
import type { SelectedRegions } from '../groma/regionSelection.ts'
import { boxAt } from './proposals.ts'

/** Boxes that one prompt can describe: each stands for a region of one selection. */
export interface CaptionGroup {
  selection: SelectedRegions
  /** which of the caller's boxes, and the region that it is */
  members: { box: number; region: number }[]
}

/** Boxes that differ by less than this are one region. */
const SAME_REGION_IOU = 0.98

/**
 * Puts boxes into as few selections as possible, since each costs a pass over the whole prompt: those that are selected
 * regions anyway share the image's own selection; the others share one with all of them added, and those that lost their
 * place there to another of them get their own.
 * @param select chooses regions with some of the boxes added as the user's
 */
export function groupForCaptions(
  boxes: readonly BoxCxcywh[],
  select: (userBoxes: readonly BoxCxcywh[]) => SelectedRegions,
): CaptionGroup[] {
  const groups: CaptionGroup[] = []
  const assign = (selection: SelectedRegions, candidates: readonly number[]): number[] => {
    const found = candidates.map((box) => ({ box, region: regionOf(boxes[box]!, selection) }))
    const members = found.flatMap(({ box, region }) => (region === undefined ? [] : [{ box, region }]))
    if (members.length > 0) groups.push({ selection, members })
    return found.flatMap(({ box, region }) => (region === undefined ? [box] : []))
  }
  const all = boxes.map((_, box) => box)
  const drawn = assign(select([]), all)
  const crowdedOut = drawn.length > 0 ? assign(select(drawn.map((box) => boxes[box]!)), drawn) : []
  for (const box of crowdedOut) {
    const selection = select([boxes[box]!])
    groups.push({ selection, members: [{ box, region: regionOf(boxes[box]!, selection, 0) ?? 0 }] })
  }
  return groups
}

/** The selected region that a box is: the one that overlaps it most, if it does so by more than `threshold`. */
export function regionOf(
  box: BoxCxcywh,
  { boxesCxcywh, scores }: SelectedRegions,
  threshold = SAME_REGION_IOU,
): number | undefined {
  const corners = cxcywhToXyxy(box)
  let best: number | undefined
  let bestIou = threshold
  for (let region = 0; region < scores.length; region++) {
    const iou = iouXyxy(corners, cxcywhToXyxy(boxAt(boxesCxcywh, region)))
    if (iou > bestIou) {
      best = region
      bestIou = iou
    }
  }
  return best
}
