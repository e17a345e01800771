/** What an engine process prints: native libraries write to stdout and stderr, and the last line often says why it died. */

/**
 * Follows a child's output line by line.
 * @param tell told every line that is not blank, trimmed
 * @returns a function that gives the last such line; empty before the first
 */
export function followOutput(
  streams: readonly (NodeJS.ReadableStream | null)[],
  tell: ((line: string) => void) | undefined,
): () => string {
  let lastLine = ''
  for (const stream of streams) {
    stream?.setEncoding('utf8')
    stream?.on('data', (text: string) => {
      for (const line of text.split('\n')) {
        if (line.trim() === '') continue
        lastLine = line.trim()
        tell?.(lastLine)
      }
    })
  }
  return () => lastLine
}
