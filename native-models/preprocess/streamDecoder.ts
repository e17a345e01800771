/** Text of an answer while it is being written. */
export interface StreamDecoder {
  /** Adds a token; returns the text that became certain with it, often ''. */
  push(id: number): string
  /** The rest, once no token will follow. */
  finish(): string
  /** Everything returned so far. */
  readonly text: string
}

/**
 * Decodes token by token. A trailing U+FFFD may be half a character and is held back until it is resolved. What has been
 * returned is never taken back; the whole answer's `decode` remains the exact text.
 */
export function createStreamDecoder(decode: (ids: readonly number[]) => string): StreamDecoder {
  const ids: number[] = []
  let text = ''
  const emit = (upTo: string): string => {
    const grown = upTo.length > text.length && upTo.startsWith(text) ? upTo.slice(text.length) : ''
    text += grown
    return grown
  }
  return {
    push(id) {
      ids.push(id)
      return emit(decode(ids).replace(/\ufffd+$/, ''))
    },
    finish: () => emit(decode(ids)),
    get text() {
      return text
    },
  }
}
