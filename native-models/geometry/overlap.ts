/** Intersection over union of two corner boxes (any one unit); 0 when they do not touch or have no area. */
export function iouXyxy(
  [ax1, ay1, ax2, ay2]: readonly [number, number, number, number],
  [bx1, by1, bx2, by2]: readonly [number, number, number, number],
): number {
  const width = Math.min(ax2, bx2) - Math.max(ax1, bx1)
  const height = Math.min(ay2, by2) - Math.max(ay1, by1)
  if (!(width > 0 && height > 0)) return 0
  const intersection = width * height
  const union = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - intersection
  return union > 0 ? intersection / union : 0
}

/**
 * Indices that survive greedy non-maximum suppression, by descending score (ties keep their input order).
 * A box goes when its IoU with a better kept one is greater than `iouThreshold`.
 * Every operation is rounded to float32 in torchvision's CPU order, so that the same boxes survive as in training.
 * @param boxesXyxy [n, 4] corners, row-major
 * @param scores [n]
 */
export function nonMaxSuppression(
  boxesXyxy: ArrayLike<number>,
  scores: ArrayLike<number>,
  iouThreshold: number,
): number[] {
  const f = Math.fround
  const count = scores.length
  const areas = new Float32Array(count)
  for (let i = 0; i < count; i++) {
    const width = f(boxesXyxy[4 * i + 2]! - boxesXyxy[4 * i]!)
    const height = f(boxesXyxy[4 * i + 3]! - boxesXyxy[4 * i + 1]!)
    areas[i] = width * height
  }
  const order = indicesByDescendingScore(scores)
  const suppressed = new Uint8Array(count)
  const kept: number[] = []
  for (let rank = 0; rank < count; rank++) {
    const i = order[rank]!
    if (suppressed[i]) continue
    kept.push(i)
    for (let later = rank + 1; later < count; later++) {
      const j = order[later]!
      if (suppressed[j]) continue
      const left = Math.max(boxesXyxy[4 * i]!, boxesXyxy[4 * j]!)
      const top = Math.max(boxesXyxy[4 * i + 1]!, boxesXyxy[4 * j + 1]!)
      const right = Math.min(boxesXyxy[4 * i + 2]!, boxesXyxy[4 * j + 2]!)
      const bottom = Math.min(boxesXyxy[4 * i + 3]!, boxesXyxy[4 * j + 3]!)
      const intersection = f(Math.max(0, f(right - left)) * Math.max(0, f(bottom - top)))
      const overlap = f(intersection / f(f(areas[i]! + areas[j]!) - intersection))
      if (overlap > iouThreshold) suppressed[j] = 1
    }
  }
  return kept
}

/** Indices 0..n-1 by descending score; stable, NaN last. */
export function indicesByDescendingScore(scores: ArrayLike<number>): number[] {
  const key = (i: number) => (Number.isNaN(scores[i]) ? Number.NEGATIVE_INFINITY : scores[i]!)
  return Array.from({ length: scores.length }, (_, i) => i).sort((a, b) => {
    const left = key(a)
    const right = key(b)
    return left === right ? a - b : left > right ? -1 : 1
  })
}
