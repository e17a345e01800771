/** What an evaluation works on and what comes out of it. Boxes are `[x, y, width, height]`, pixels of the upright image. */
import type { Xywh } from '../../../native-models/metrics/detection.ts'
import type { EngineImage, EngineResult, EngineTask } from '../../contract/engineProtocol.ts'
import type { Plot } from './plots.ts'

export interface EvaluationObject {
  bboxXywh: Xywh
  /** The class's name, as the data have it; null without one. */
  category: string | null
  /** The mask's area in square pixels where the data say it: it decides the size class. */
  area?: number | undefined
  crowd: boolean
  /** Sentences about this box alone; any of them is right. */
  captions: readonly string[]
  /** Words that name its properties: `{colour: 'red'}`. */
  attributes: Readonly<Record<string, string>>
}

export interface EvaluationImage {
  id: number | string
  fileName: string
  /** Absolute. */
  path: string
  width: number
  height: number
  objects: readonly EvaluationObject[]
  /** Referring expressions: phrases that mean this box and no other. */
  references: readonly { phrase: string; bboxXywh: Xywh }[]
  /** Phrases that name nothing in it (`the large red star`), and classes of which nothing is in it. */
  absentPhrases: readonly string[]
  absentCategories: readonly string[]
  /** Classes of which not every box is labelled here. */
  notExhaustive: readonly string[]
}

export interface EvaluationOptions {
  resize: 'pillow' | 'opencv'
  /** captions: which boxes are described. drawn: the true ones with each side off by up to a tenth of the box. */
  boxes: 'truth' | 'drawn' | 'proposed'
  detail: 'brief' | 'detailed'
  /** refer, ground-all: phrases an image that name nothing in it, for the AUROC of the confidence. */
  absent: number
  seed: number
}

export interface Asker {
  image: EngineImage
  run<K extends EngineTask['kind']>(task: Extract<EngineTask, { kind: K }>): Promise<EngineResult<K>>
}

/** One number of a report; null where the data hold nothing to measure it on. */
export interface Measure {
  key: string
  label: string
  value: number | null
  /** share: printed as it is, 0 to 1. count: a whole number. */
  unit: 'share' | 'count' | 'score'
}

/** One image with what should have been and what was, to be drawn. Worst first. */
export interface WorstCase {
  image: EvaluationImage
  /** The question, and what came of it, in a sentence. */
  text: string
  truth: readonly Xywh[]
  predicted: readonly Xywh[]
}

export interface Findings {
  measures: Measure[]
  plots: Plot[]
  worst: WorstCase[]
}

/** One of the things that can be measured. `Row` is what the model said of one image: JSON, kept for resuming. */
export interface EvaluationTask<Row> {
  /** Checks a row that was read back. @throws when it is none */
  parse(value: unknown): Row
  /** Options that change what the model is asked. */
  relevant: readonly (keyof EvaluationOptions)[]
  /** How many questions an image holds; images without any are passed over. */
  questions(image: EvaluationImage, options: EvaluationOptions): number
  ask(image: EvaluationImage, asker: Asker, options: EvaluationOptions): Promise<Row>
  /** Rows in the order of the images' ids. */
  findings(rows: readonly { image: EvaluationImage; row: Row }[], options: EvaluationOptions): Findings
}

export const WORST = 20
