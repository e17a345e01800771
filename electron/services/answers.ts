/** The engine's answers as messages: boxes in pixels, spans in code points, confidences kept. PURE. */
import type { BboxXywh, GroundedSpan, Message } from '../../db/records/records.ts'
import type { EngineAnswer } from '../contract/engineProtocol.ts'
import { type Size, toPixels, unitScore } from './boxes.ts'

type Spans = Pick<Message, 'text' | 'spans' | 'regions' | 'malformed' | 'stopReason'>

/** What an answer says and shows. A region that has no pixel keeps its number, so that `<rK>` means the same for ever. */
export function answerContent(answer: EngineAnswer, size: Size): Spans {
  const length = [...answer.text].length
  const spans: GroundedSpan[] = answer.spans.map((span) => ({
    text: span.text,
    start: Math.min(Math.max(0, span.start), length),
    end: Math.min(Math.max(0, span.end), length),
    boxes: span.regions.flatMap(({ index, boxCxcywh, score }) => {
      const bboxXywh = toPixels(boxCxcywh, size)
      return bboxXywh === null ? [] : [{ region: index, bboxXywh, score: unitScore(score) }]
    }),
    unresolved: span.unresolved.filter((index) => index >= 0),
  }))
  return {
    text: answer.text,
    spans,
    regions: answer.regions.map(({ boxCxcywh, score }) => ({
      bboxXywh: toPixels(boxCxcywh, size) ?? pointBox(boxCxcywh, size),
      score: unitScore(score),
    })),
    malformed: answer.malformed,
    stopReason: answer.stopReason,
  }
}

/** One pixel where a region's centre is. */
function pointBox([cx, cy]: readonly number[], { width, height }: Size): BboxXywh {
  const at = (fraction: number | undefined, side: number) => {
    const pixel = Math.floor((fraction ?? 0) * side)
    return Number.isFinite(pixel) ? Math.min(Math.max(pixel, 0), side - 1) : 0
  }
  return [at(cx, width), at(cy, height), 1, 1]
}

/** Every box that an answer names, each region once, best confidence first. */
export function namedBoxes(spans: readonly GroundedSpan[]): GroundedSpan['boxes'] {
  const best = new Map<number, GroundedSpan['boxes'][number]>()
  for (const box of spans.flatMap((span) => span.boxes)) {
    if ((best.get(box.region)?.score ?? -1) < box.score) best.set(box.region, box)
  }
  return [...best.values()].sort((a, b) => b.score - a.score)
}

/** The answer to "where is PHRASE": the phrase itself, linked to what was found. */
export function locatedContent(answer: EngineAnswer, phrase: string, size: Size): Spans {
  const content = answerContent(answer, size)
  const boxes = namedBoxes(content.spans)
  const unresolved = content.spans.flatMap((span) => span.unresolved)
  const text = boxes.length === 0 ? `Nothing found for "${phrase}".` : phrase
  const span = { text: phrase, start: 0, end: [...phrase].length, boxes, unresolved }
  return { ...content, text, spans: boxes.length === 0 ? [] : [span] }
}
