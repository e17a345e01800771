/**
 * Average precision and recall of boxes, number for number as pycocotools (and, for classes whose boxes are not all
 * labelled, as the LVIS API) counts them. Source: COCOeval's evaluateImg, accumulate and summarize.
 */

export type Xywh = readonly [x: number, y: number, width: number, height: number]

export interface TruthBox {
  bboxXywh: Xywh
  /** What decides its size class: the mask's area where there is one, else the box's. Default: the box's. */
  area?: number | undefined
  /** A box around a crowd: any number of detections may match it, and none of them counts. */
  crowd?: boolean | undefined
}

export interface DetectedBox {
  bboxXywh: Xywh
  score: number
}

/** Square pixels, both ends included. */
export const areaRanges = {
  all: [0, 1e10],
  small: [0, 32 ** 2],
  medium: [32 ** 2, 96 ** 2],
  large: [96 ** 2, 1e10],
} as const
export type AreaName = keyof typeof areaRanges
const areaNames = Object.keys(areaRanges) as AreaName[]

/** 0.50, 0.55, ... 0.95 as `np.linspace` makes them. */
export const cocoIouThresholds = Array.from({ length: 10 }, (_, i) => 0.5 + i * ((0.95 - 0.5) / 9))
/** 0.00, 0.01, ... 1.00 */
export const recallThresholds = Array.from({ length: 101 }, (_, i) => i * 0.01)

/** What one image of one class adds: detections by descending score, a bit per IoU threshold. */
interface Row {
  scores: Float64Array
  matched: Uint16Array
  ignored: Uint16Array
  /** Truth boxes that count. */
  truths: number
}

export interface DetectionSummary {
  /** Mean over IoU 0.50 to 0.95, at the largest number of detections; null where no truth box is of that size. */
  ap: Record<AreaName, number | null>
  ap50: number | null
  ap75: number | null
  /** Average recall at k detections an image (and class), mean over IoU 0.50 to 0.95. */
  ar: { k: number; byArea: Record<AreaName, number | null> }[]
  ar50: number | null
  ar75: number | null
}

const meanOf = (values: readonly number[]) =>
  values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length

/** Gathers images, then sums up. Images must come in the order of their ids for ties to fall as they do in pycocotools. */
export class DetectionEvaluation {
  readonly #rows = new Map<number, Record<AreaName, Row[]>>()
  readonly #maxDetections: readonly number[]
  readonly #most: number
  readonly #cache = new Map<string, { precision: Float64Array[]; recall: number[] } | null>()

  /** @param options.maxDetections ascending, pycocotools' maxDets: 1, 10, 100 */
  constructor(options: { maxDetections?: readonly number[] } = {}) {
    this.#maxDetections = options.maxDetections ?? [1, 10, 100]
    this.#most = this.#maxDetections.at(-1)!
  }

  /**
   * One image's boxes of one class.
   * @param options.category 0 where classes do not matter
   * @param options.exhaustive false: not every box of the class is labelled here, so what matches nothing does not count
   */
  add(
    truths: readonly TruthBox[],
    detections: readonly DetectedBox[],
    { category = 0, exhaustive = true }: { category?: number; exhaustive?: boolean } = {},
  ): void {
    if (truths.length === 0 && detections.length === 0) return
    this.#cache.clear()
    let rows = this.#rows.get(category)
    if (rows === undefined) {
      rows = { all: [], small: [], medium: [], large: [] }
      this.#rows.set(category, rows)
    }
    const best = [...detections].sort((a, b) => b.score - a.score).slice(0, this.#most)
    const ious = best.map((detection) => truths.map((truth) => iouOf(detection.bboxXywh, truth)))
    for (const name of areaNames) rows[name].push(matchImage(truths, best, ious, name, exhaustive))
  }

  /** Precision at recall 0.00, 0.01, ... 1.00, mean over classes; null when there is no truth box. */
  precisionCurve(iou = 0.5): number[] | null {
    const place = thresholdAt(iou)
    const curves = this.#categories('all', this.#most).map(({ precision }) => precision[place]!)
    if (curves.length === 0) return null
    return recallThresholds.map((_, r) => meanOf(curves.map((curve) => curve[r]!))!)
  }

  summary(): DetectionSummary {
    const byArea = <T>(value: (name: AreaName) => T) =>
      Object.fromEntries(areaNames.map((name) => [name, value(name)])) as Record<AreaName, T>
    return {
      ap: byArea((name) => this.#averagePrecision(name)),
      ap50: this.#averagePrecision('all', 0.5),
      ap75: this.#averagePrecision('all', 0.75),
      ar: this.#maxDetections.map((k) => ({ k, byArea: byArea((name) => this.#averageRecall(name, k)) })),
      ar50: this.#averageRecall('all', this.#most, 0.5),
      ar75: this.#averageRecall('all', this.#most, 0.75),
    }
  }

  #averagePrecision(area: AreaName, iou?: number): number | null {
    const places = placesOf(iou)
    return meanOf(
      this.#categories(area, this.#most).flatMap(({ precision }) => places.flatMap((p) => [...precision[p]!])),
    )
  }

  #averageRecall(area: AreaName, k: number, iou?: number): number | null {
    const places = placesOf(iou)
    return meanOf(this.#categories(area, k).flatMap(({ recall }) => places.map((p) => recall[p]!)))
  }

  #categories(area: AreaName, k: number): { precision: Float64Array[]; recall: number[] }[] {
    return [...this.#rows].flatMap(([category, rows]) => {
      const key = `${category} ${area} ${k}`
      let found = this.#cache.get(key)
      if (found === undefined) {
        found = accumulate(rows[area], k)
        this.#cache.set(key, found)
      }
      return found ?? []
    })
  }
}

const placesOf = (iou?: number) => (iou === undefined ? cocoIouThresholds.map((_, i) => i) : [thresholdAt(iou)])

function thresholdAt(iou: number): number {
  const place = cocoIouThresholds.findIndex((threshold) => Math.abs(threshold - iou) < 1e-9)
  if (place < 0) throw new RangeError(`${iou} is none of the IoU thresholds 0.50, 0.55, ... 0.95`)
  return place
}

/** Greedy matching by score, once per IoU threshold. */
function matchImage(
  truths: readonly TruthBox[],
  detections: readonly DetectedBox[],
  ious: readonly (readonly number[])[],
  areaName: AreaName,
  exhaustive: boolean,
): Row {
  const [low, high] = areaRanges[areaName]
  const outside = (area: number) => area < low || area > high
  const ignore = truths.map((truth) => truth.crowd === true || outside(truth.area ?? boxArea(truth.bboxXywh)))
  const order = truths.map((_, i) => i).sort((a, b) => Number(ignore[a]) - Number(ignore[b]))
  const matched = new Uint16Array(detections.length)
  const ignored = new Uint16Array(detections.length)
  for (const [place, threshold] of cocoIouThresholds.entries()) {
    const bit = 1 << place
    const taken = new Set<number>()
    for (const [d, detection] of detections.entries()) {
      let best = Math.min(threshold, 1 - 1e-10)
      let match = -1
      for (const t of order) {
        if (taken.has(t) && truths[t]!.crowd !== true) continue
        if (match >= 0 && !ignore[match] && ignore[t]) break // a box that counts goes before one that does not
        if (ious[d]![t]! < best) continue
        best = ious[d]![t]!
        match = t
      }
      if (match >= 0) {
        taken.add(match)
        matched[d]! |= bit
        if (ignore[match]) ignored[d]! |= bit
      } else if (!exhaustive || outside(boxArea(detection.bboxXywh))) ignored[d]! |= bit
    }
  }
  return {
    scores: Float64Array.from(detections, ({ score }) => score),
    matched,
    ignored,
    truths: ignore.filter((ignored) => !ignored).length,
  }
}

/** Null when no truth box counts. */
function accumulate(rows: readonly Row[], k: number): { precision: Float64Array[]; recall: number[] } | null {
  const truths = rows.reduce((sum, row) => sum + row.truths, 0)
  if (truths === 0) return null
  const entries = rows.flatMap((row) =>
    Array.from(row.scores.subarray(0, k), (score, i) => ({
      score,
      matched: row.matched[i]!,
      ignored: row.ignored[i]!,
    })),
  )
  entries.sort((a, b) => b.score - a.score) // stable, as numpy's mergesort
  const recall: number[] = []
  const precision = cocoIouThresholds.map((_, place) => {
    const bit = 1 << place
    const points: { recall: number; precision: number }[] = []
    let right = 0
    let wrong = 0
    for (const { matched, ignored } of entries) {
      if ((ignored & bit) === 0) {
        if ((matched & bit) !== 0) right++
        else wrong++
      }
      points.push({ recall: right / truths, precision: right / (wrong + right + Number.EPSILON) })
    }
    recall.push(points.at(-1)?.recall ?? 0)
    for (let i = points.length - 1; i > 0; i--) {
      if (points[i]!.precision > points[i - 1]!.precision) points[i - 1]!.precision = points[i]!.precision
    }
    const curve = new Float64Array(recallThresholds.length)
    let at = 0
    for (const [r, threshold] of recallThresholds.entries()) {
      while (at < points.length && points[at]!.recall < threshold) at++
      if (at === points.length) break
      curve[r] = points[at]!.precision
    }
    return curve
  })
  return { precision, recall }
}

const boxArea = ([, , width, height]: Xywh) => width * height

/** pycocotools' own arithmetic; of a crowd's box only the part of the detection that lies in it is asked for. */
function iouOf([dx, dy, dw, dh]: Xywh, { bboxXywh: [tx, ty, tw, th], crowd }: TruthBox): number {
  const width = Math.min(dw + dx, tw + tx) - Math.max(dx, tx)
  const height = Math.min(dh + dy, th + ty) - Math.max(dy, ty)
  if (width <= 0 || height <= 0) return 0
  const intersection = width * height
  return intersection / (crowd === true ? dw * dh : dw * dh + tw * th - intersection)
}

/** Intersection over union of two pixel boxes, as above. */
export const iouXywh = (a: Xywh, b: Xywh): number => iouOf(a, { bboxXywh: b })
