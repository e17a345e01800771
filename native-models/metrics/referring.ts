/** One referring expression: IoU of the box that was given, or null where none was. */
export interface ReferringSummary {
  count: number
  /** Share with IoU > 0.5, as the authors' evaluation counts; an answer without a box is wrong. */
  accuracy: number | null
  /** Mean IoU, 0 where no box was given. */
  meanIou: number | null
  /** Share without a box. */
  unanswered: number | null
}

/** REC accuracy@0.5 and mean IoU, as the authors count them. */
export function referringSummary(ious: readonly (number | null)[]): ReferringSummary {
  const count = ious.length
  const share = (part: number) => (count === 0 ? null : part / count)
  return {
    count,
    accuracy: share(ious.filter((iou) => (iou ?? 0) > 0.5).length),
    meanIou: share(ious.reduce<number>((sum, iou) => sum + (iou ?? 0), 0)),
    unanswered: share(ious.filter((iou) => iou === null).length),
  }
}

/** Counts in `bins` equal parts of 0..1; 1 itself falls into the last. */
export function histogram(values: readonly number[], bins: number): number[] {
  const counts = new Array<number>(bins).fill(0)
  for (const value of values) counts[Math.min(bins - 1, Math.max(0, Math.floor(value * bins)))]!++
  return counts
}
