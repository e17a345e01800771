/** Ids of a file's rows: which are whole and said once, and whether they can be kept. */

/** Largest id that is kept: counting on from it never leaves the integers. */
const LARGEST = 2 ** 40

/** Ids below this are kept as bits: a million of them in 125 KB, at most 16 MB. */
const BITS = 2 ** 27

/** A set of whole numbers that is small while they are. */
export class IdSet {
  #bits = new Uint8Array(1024)
  readonly #large = new Set<number>()
  size = 0

  /** False when it was there already. */
  add(id: number): boolean {
    if (!this.#put(id)) return false
    this.size++
    return true
  }

  #put(id: number): boolean {
    if (id >= BITS) {
      if (this.#large.has(id)) return false
      this.#large.add(id)
      return true
    }
    const at = id >>> 3
    if (at >= this.#bits.length) {
      const larger = new Uint8Array(Math.max(at + 1, this.#bits.length * 2))
      larger.set(this.#bits)
      this.#bits = larger
    }
    const bit = 1 << (id & 7)
    if (((this.#bits[at] as number) & bit) !== 0) return false
    this.#bits[at] = (this.#bits[at] as number) | bit
    return true
  }
}

export class FileIds {
  readonly #seen = new IdSet()
  #lowest = Number.POSITIVE_INFINITY
  #without = false

  /** Takes the id of a row; returns why not, or null. Rows without one get a new id, and so do all others then. */
  add(id: number | undefined): string | null {
    if (id === undefined) {
      this.#without = true
      return null
    }
    if (!this.#seen.add(id)) return `the id ${id} is in the file twice`
    this.#lowest = Math.min(this.#lowest, id)
    if (id > LARGEST) this.#without = true
    return null
  }

  /** Whether every row can keep its id in a table whose ids were used up to `lastId`. */
  keepable(lastId: number): boolean {
    return !this.#without && this.#seen.size > 0 && this.#lowest > lastId
  }
}
