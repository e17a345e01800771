/** Ids of a file's rows: which are whole and said once, and whether they can be kept. */

/** Largest id that is kept: counting on from it never leaves the integers. */
const LARGEST = 2 ** 40

export class FileIds {
  readonly #seen = new Set<number>()
  #lowest = Number.POSITIVE_INFINITY
  #without = false

  /** Takes the id of a row; returns why not, or null. Rows without one get a new id, and so do all others then. */
  add(id: number | undefined): string | null {
    if (id === undefined) {
      this.#without = true
      return null
    }
    if (this.#seen.has(id)) return `the id ${id} is in the file twice`
    this.#seen.add(id)
    this.#lowest = Math.min(this.#lowest, id)
    if (id > LARGEST) this.#without = true
    return null
  }

  /** Whether every row can keep its id in a table whose ids were used up to `lastId`. */
  keepable(lastId: number): boolean {
    return !this.#without && this.#seen.size > 0 && this.#lowest > lastId
  }

  clear(): void {
    this.#seen.clear()
  }
}
