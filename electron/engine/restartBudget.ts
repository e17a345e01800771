/** Counts crashes inside a sliding window: a process that keeps crashing is not started for ever. */
export class RestartBudget {
  readonly #max: number
  readonly #windowMs: number
  readonly #now: () => number
  #crashes: number[] = []

  constructor(maxRestarts: number, windowMs: number, now: () => number = Date.now) {
    this.#max = maxRestarts
    this.#windowMs = windowMs
    this.#now = now
  }

  count(): void {
    const now = this.#now()
    this.#crashes = [...this.#crashes.filter((at) => now - at < this.#windowMs), now]
  }

  /** More crashes than restarts allowed inside one window. */
  get exhausted(): boolean {
    return this.#crashes.length > this.#max
  }

  /** The last crash is long enough ago to try again. */
  windowPassed(): boolean {
    return this.#now() - (this.#crashes.at(-1) ?? 0) >= this.#windowMs
  }

  reset(): void {
    this.#crashes = []
  }
}
