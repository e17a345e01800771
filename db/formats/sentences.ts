/** Sentences about a whole image: kept as turns of its talk that no model and no person was asked for. PURE. */
import type { GroundedSpan, Message } from '../records/records.ts'
import type { ImportMessage, Key } from './items.ts'

/** A sentence of another program. */
export function sentenceItem(
  imageKey: Key,
  text: string,
  where: string,
  spans: GroundedSpan[] = [],
  id?: number,
): ImportMessage {
  const message = {
    role: 'assistant' as const,
    text,
    spans,
    attachedBoxesXywh: [],
    regions: [],
    modelHash: null,
    malformed: false,
    stopReason: null,
    createdAt: 0,
  }
  return { kind: 'message', imageKey, message, where, ...(id === undefined ? {} : { id }) }
}

/** True for a sentence that came in with a file; what the model answered says why it stopped. */
export const isSentence = (message: Pick<Message, 'role' | 'stopReason'>): boolean =>
  message.role === 'assistant' && message.stopReason === null
