/**
 * Starts work on the next items while earlier ones are awaited, and gives everything in the order of the source.
 * @param ahead how many items are begun before their turn; 0 is one after the other. Asked anew for each item.
 */
export async function* inOrder<T, R>(
  source: AsyncIterable<T>,
  ahead: () => number,
  start: (item: T) => Promise<R>,
): AsyncGenerator<{ item: T; result: Promise<R> }> {
  const begun: { item: T; result: Promise<R> }[] = []
  for await (const item of source) {
    const result = start(item)
    result.catch(() => {}) // told when its turn comes
    begun.push({ item, result })
    while (begun.length > ahead()) yield begun.shift()!
  }
  yield* begun
}
