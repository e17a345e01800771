/** Cuts an answer into plain text and phrases. Pure; offsets are code points, JavaScript strings count differently. */
import type { GroundedSpan, Message } from '../../db/records/records.ts'

export interface AnswerPart {
  readonly text: string
  readonly spanIndex: number | null
}

/**
 * The text in order, each piece with its span. A span without words (the model named only boxes) is an empty piece;
 * spans that overlap or lie outside are left as plain text.
 */
export function answerParts(text: string, spans: readonly GroundedSpan[]): AnswerPart[] {
  const points = [...text]
  const parts: AnswerPart[] = []
  let at = 0
  const inOrder = spans.map((span, spanIndex) => ({ span, spanIndex })).sort((a, b) => a.span.start - b.span.start)
  for (const { span, spanIndex } of inOrder) {
    if (span.start < at || span.end > points.length || span.end < span.start) continue
    if (span.start > at) parts.push({ text: points.slice(at, span.start).join(''), spanIndex: null })
    parts.push({ text: points.slice(span.start, span.end).join(''), spanIndex })
    at = span.end
  }
  if (at < points.length) parts.push({ text: points.slice(at).join(''), spanIndex: null })
  return parts
}

/** How many different regions an answer points to. */
export function regionCount(message: Message): number {
  return new Set(message.spans.flatMap((span) => span.boxes.map((box) => box.region))).size
}
