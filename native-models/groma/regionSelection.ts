import { indicesByDescendingScore, nonMaxSuppression } from '../geometry/overlap.ts'
import type { GromaConfig } from './config.ts'

/** The order in which selected regions become `<r0> <r1> ...`; the authors shuffle, we fix it. */
export type RegionOrder = 'score' | 'reverse'

export interface SelectedRegions {
  /** [R, 4] (region in token order, cxcywh 0..1) */
  boxesCxcywh: Float32Array
  /** [R] */
  scores: Float32Array
  /** [R]: the proposal's index, or Q + i for the user's i-th box. */
  sourceIndex: number[]
}

/**
 * Chooses which boxes become region tokens: score above the threshold, class-agnostic NMS, the best `maxRegions`; where
 * none is left, the single best candidate. The user's boxes are candidates with score 1.
 * @param input.boxesCxcywh [Q, 4] proposals in 0..1
 * @param input.scores [Q]
 * @param input.referBoxes [B, 4] the user's boxes in 0..1, if any
 */
export function selectRegions(input: {
  boxesCxcywh: Float32Array
  scores: Float32Array
  referBoxes?: ArrayLike<number> | null
  config: Pick<GromaConfig, 'scoreThreshold' | 'nmsThreshold' | 'maxRegions'>
  order: RegionOrder
}): SelectedRegions {
  const { config } = input
  const refer = Float32Array.from(input.referBoxes ?? [])
  const proposalCount = input.scores.length
  const count = proposalCount + refer.length / 4
  const boxes = new Float32Array(count * 4) // [Q + B, 4] cxcywh
  boxes.set(input.boxesCxcywh.subarray(0, proposalCount * 4))
  boxes.set(refer, proposalCount * 4)
  const scores = new Float32Array(count).fill(1) // [Q + B]
  scores.set(input.scores)

  // torch compares a float32 tensor with the threshold rounded to float32
  const threshold = config.scoreThreshold > 0 ? Math.fround(config.scoreThreshold) : Number.NEGATIVE_INFINITY
  const passing: number[] = []
  for (let i = 0; i < count; i++) if (scores[i]! > threshold) passing.push(i)
  const survivors = nonMaxSuppression(
    cornersOf(boxes, passing),
    passing.map((i) => scores[i]!),
    config.nmsThreshold,
  )
  let chosen = survivors.slice(0, config.maxRegions).map((i) => passing[i]!)
  if (chosen.length === 0) chosen = indicesByDescendingScore(scores).slice(0, 1)
  if (input.order === 'reverse') chosen.reverse()

  const boxesCxcywh = new Float32Array(chosen.length * 4)
  chosen.forEach((source, region) => {
    boxesCxcywh.set(boxes.subarray(source * 4, source * 4 + 4), region * 4)
  })
  return { boxesCxcywh, scores: Float32Array.from(chosen, (i) => scores[i]!), sourceIndex: chosen }
}

/**
 * The selected region that overlaps each of the user's boxes most: what `<refer_box>` and `<refer_feat>` stand for.
 * @param selectedCxcywh [R, 4]
 * @param referCxcywh [B, 4]
 * @returns [B] region indices; ties go to the first
 */
export function bestRegionForEach(selectedCxcywh: Float32Array, referCxcywh: ArrayLike<number>): number[] {
  const refer = Float32Array.from(referCxcywh)
  const all = (length: number) => Array.from({ length }, (_, i) => i)
  const selected = cornersOf(selectedCxcywh, all(selectedCxcywh.length / 4))
  const wanted = cornersOf(refer, all(refer.length / 4))
  return all(refer.length / 4).map((box) => {
    let best = 0
    let bestOverlap = Number.NEGATIVE_INFINITY
    for (let region = 0; region < selected.length / 4; region++) {
      const overlap = iouFloat32(wanted, box * 4, selected, region * 4)
      if (overlap > bestOverlap) {
        best = region
        bestOverlap = overlap
      }
    }
    return best
  })
}

function iouFloat32(a: Float32Array, i: number, b: Float32Array, j: number): number {
  const f = Math.fround
  const width = Math.max(0, f(Math.min(a[i + 2]!, b[j + 2]!) - Math.max(a[i]!, b[j]!)))
  const height = Math.max(0, f(Math.min(a[i + 3]!, b[j + 3]!) - Math.max(a[i + 1]!, b[j + 1]!)))
  const intersection = f(width * height)
  const areaA = f(f(a[i + 2]! - a[i]!) * f(a[i + 3]! - a[i + 1]!))
  const areaB = f(f(b[j + 2]! - b[j]!) * f(b[j + 3]! - b[j + 1]!))
  return f(intersection / f(f(areaA + areaB) - intersection))
}

/** [n, 4] corners of the picked boxes, each operation in float32. */
function cornersOf(boxesCxcywh: Float32Array, picked: readonly number[]): Float32Array {
  const corners = new Float32Array(picked.length * 4)
  picked.forEach((source, row) => {
    const cx = boxesCxcywh[source * 4]!
    const cy = boxesCxcywh[source * 4 + 1]!
    const halfWidth = Math.fround(boxesCxcywh[source * 4 + 2]! * 0.5)
    const halfHeight = Math.fround(boxesCxcywh[source * 4 + 3]! * 0.5)
    corners.set([cx - halfWidth, cy - halfHeight, cx + halfWidth, cy + halfHeight], row * 4)
  })
  return corners
}
