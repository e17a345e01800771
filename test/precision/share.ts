/** How many of those that were compared agree. */
export class Share {
  equal = 0
  asked = 0

  add(equal: number, asked: number): void {
    this.equal += equal
    this.asked += asked
  }

  /** 0..1 */
  get value(): number {
    return this.equal / this.asked
  }

  toString(): string {
    return `${this.equal.toLocaleString('en')} of ${this.asked.toLocaleString('en')}`
  }
}

/** Scenes that nobody has seen before, unless GROMATIC_SEED says which; to be printed, so that what is found can be met again. */
export const freshSeed = (): number =>
  Number(process.env.GROMATIC_SEED ?? 100_000_000 + Math.floor(Math.random() * 1e9))
