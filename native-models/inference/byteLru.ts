/** Recomputable values, the least recently used of which go when all together are larger than the limit. */
export class ByteLru {
  readonly #limit: number
  readonly #entries = new Map<string, { value: unknown; bytes: number }>()
  #bytes = 0

  constructor(limitBytes: number) {
    this.#limit = limitBytes
  }

  get bytes(): number {
    return this.#bytes
  }

  /** The value under a key, made when it is not there. One larger than the limit is handed out and not kept. */
  async getOrMake<T>(key: string, make: () => Promise<T>, bytesOf: (value: T) => number): Promise<T> {
    const found = this.get<T>(key)
    if (found !== undefined) return found
    const value = await make()
    this.set(key, value, bytesOf(value))
    return value
  }

  get<T>(key: string): T | undefined {
    const entry = this.#entries.get(key)
    if (!entry) return undefined
    this.#entries.delete(key) // a Map keeps insertion order: last is most recent
    this.#entries.set(key, entry)
    return entry.value as T
  }

  set(key: string, value: unknown, bytes: number): void {
    this.#drop(key)
    if (bytes > this.#limit) return
    this.#entries.set(key, { value, bytes })
    this.#bytes += bytes
    for (const oldest of this.#entries.keys()) {
      if (this.#bytes <= this.#limit) return
      this.#drop(oldest)
    }
  }

  /** Keys that begin so, least recently used first. */
  keys(start: string): string[] {
    return [...this.#entries.keys()].filter((key) => key.startsWith(start))
  }

  /** Values under some of the keys; looking is not using. */
  values<T>(matches: (key: string) => boolean): T[] {
    return [...this.#entries].flatMap(([key, { value }]) => (matches(key) ? [value as T] : []))
  }

  delete(key: string): void {
    this.#drop(key)
  }

  clear(): void {
    this.#entries.clear()
    this.#bytes = 0
  }

  #drop(key: string): void {
    this.#bytes -= this.#entries.get(key)?.bytes ?? 0
    this.#entries.delete(key)
  }
}
