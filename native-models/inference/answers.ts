import type { BoxCxcywh } from '../geometry/boxes.ts'
import { parseGroundedText } from '../groma/groundedText.ts'
import type { GromaTokenizer } from '../preprocess/tokenizer.ts'
import type { Generated, StopReason } from './generate.ts'
import type { SelectedRegion } from './proposals.ts'

/** A region that an answer points at. */
export interface GroundedRegion {
  /** K of its `<rK>` */
  index: number
  boxCxcywh: BoxCxcywh
  /** probability that the model gave to this `<rK>` where it said it */
  score: number
}

export interface AnswerSpan {
  /** the phrase, '' where the model only pointed */
  text: string
  /** code points into the answer's text */
  start: number
  end: number
  regions: GroundedRegion[]
  /** K of every `<rK>` that names no region of this picture */
  unresolved: number[]
}

/** An answer and what it points at. */
export interface GroundedAnswer {
  /** what a person reads, without special tokens */
  text: string
  spans: AnswerSpan[]
  /** the model broke its own grammar; what could be read is here all the same */
  malformed: boolean
  /** new tokens as they came, `</s>` included */
  outputIds: number[]
  /** probability of each of them */
  outputProbabilities: number[]
  stopReason: StopReason
  /** regions[K] is what `<rK>` meant */
  regions: SelectedRegion[]
  /** K of every `<rK>` that was said and names a region, as it came, repetitions included */
  pointed: number[]
}

/** Reads what was generated; total, whatever the ids. */
export function readAnswer(
  generated: Generated,
  tokenizer: GromaTokenizer,
  regions: readonly SelectedRegion[],
): GroundedAnswer {
  const { ids, probabilities, stopReason } = generated
  const parsed = parse(ids, tokenizer, regions.length, true)
  const spans = parsed.spans.map(({ regions: indices, regionTokenIndices, ...span }) => ({
    text: span.text,
    start: span.start,
    end: span.end,
    regions: indices.map((index, i) => ({
      index,
      boxCxcywh: regions[index]!.boxCxcywh,
      score: probabilities[regionTokenIndices[i]!]!,
    })),
    unresolved: span.unresolved,
  }))
  return {
    text: parsed.text,
    spans,
    malformed: parsed.malformed,
    outputIds: [...ids],
    outputProbabilities: [...probabilities],
    stopReason,
    regions: [...regions],
    pointed: ids.flatMap((id) => tokenizer.tokens.regionOfId.get(id) ?? []).filter((k) => k < regions.length),
  }
}

/** The text so far of an answer that is still being written; half characters at its end are held back. */
export function readPartialText(ids: readonly number[], tokenizer: GromaTokenizer, regionCount: number): string {
  return parse(ids, tokenizer, regionCount, false).text.replace(/\ufffd+$/u, '')
}

function parse(ids: readonly number[], { tokens, decode }: GromaTokenizer, regionCount: number, complete: boolean) {
  return parseGroundedText({ ids, tokens, regionCount, decode, complete })
}
