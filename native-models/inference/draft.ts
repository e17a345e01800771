import type { SpecialTokens } from '../groma/specialTokens.ts'

/**
 * Guesses at the tokens to come, so that one pass can check several: a pass over k + 1 rows reads the weights once and costs
 * less than k + 1 passes. A wrong guess costs time only: what is said is what greedy decoding says anyhow.
 */
export interface Drafter {
  /** Guesses behind `ids`, best first to come; none where guessing does not pay. At most `limit`. */
  guess(ids: readonly number[], limit: number): readonly number[]
  /** Tells how many of the last guesses were right, and of how many it came out. */
  learn(right: number, checked: number): void
  /** Tells how long a pass of so many rows took, in any unit. */
  timed(rows: number, duration: number): void
}

/** Where a guess comes from; each kind has its own record of successes. */
type Source = 'grammar-roi' | 'grammar-end' | 'copy-1' | 'copy-2' | 'copy-3' | 'copy-4'

/** Right guesses that a source is credited with before any was seen, and how many guesses that counts for. */
const PRIORS: Record<Source, number> = {
  'grammar-roi': 0.95,
  'grammar-end': 0.8,
  'copy-1': 0.3,
  'copy-2': 0.5,
  'copy-3': 0.65,
  'copy-4': 0.75,
}
const PRIOR_WEIGHT = 2
/** Old successes and failures fade, so that a source can fall out of use and come back. */
const FADING = 0.95
/** More rows a pass never paid on any machine measured. */
const MAX_GUESSES = 7
const LONGEST_MATCH = 4
/** Expected tokens a second must rise by so much: a wrong estimate then costs next to nothing. */
const GAIN = 1.03
/** What a further row costs before it has been measured, as a share of a pass of one row: 4-bit weights on two cores. */
const ROW_COST = 0.25
/** A new measurement's weight in the average: what disturbs a pass only ever makes it slower. */
const FASTER = 0.5
const SLOWER = 0.1
/** What spoke against guessing is forgotten by so much with every pass that went without, and tried again some day. */
const FORGETTING = 0.01
const HISTORY_TOKENS = 4096

/** What has been learned about guessing with one model on this machine; shared by all its answers. */
export class DraftRecord {
  readonly #successes = new Map<Source, { right: number; all: number }>()
  readonly #durations = new Map<number, number>()
  readonly #history: { topic: string; ids: readonly number[] }[] = []

  /** Keeps a question and its answer to copy from. `topic` names the prompt that its regions belong to. */
  remember(topic: string, ids: readonly number[]): void {
    this.#history.unshift({ topic, ids })
    let total = 0
    const end = this.#history.findIndex((entry) => {
      total += entry.ids.length
      return total > HISTORY_TOKENS
    })
    if (end >= 0) this.#history.length = Math.max(1, end)
  }

  /** Texts to copy from, the likeliest first: those about the same prompt, then the latest. */
  texts(topic: string): { ids: readonly number[]; sameRegions: boolean }[] {
    const entries = this.#history.map(({ ids, topic: other }) => ({ ids, sameRegions: other === topic }))
    return [...entries.filter(({ sameRegions }) => sameRegions), ...entries.filter(({ sameRegions }) => !sameRegions)]
  }

  chance(source: Source): number {
    const { right, all } = this.#successes.get(source) ?? { right: 0, all: 0 }
    return (PRIORS[source] * PRIOR_WEIGHT + right) / (PRIOR_WEIGHT + all)
  }

  count(source: Source, isRight: boolean): void {
    const { right, all } = this.#successes.get(source) ?? { right: 0, all: 0 }
    this.#successes.set(source, { right: right * FADING + (isRight ? 1 : 0), all: all * FADING + 1 })
  }

  time(rows: number, duration: number): void {
    const known = this.#durations.get(rows) ?? duration
    this.#durations.set(rows, known + (duration < known ? FASTER : SLOWER) * (duration - known))
  }

  /** A pass went without guesses though there were some of this source. */
  passedOver(source: Source): void {
    const seen = this.#successes.get(source)
    if (seen) this.#successes.set(source, { right: seen.right * (1 - FORGETTING), all: seen.all * (1 - FORGETTING) })
    const one = this.#durations.get(1) ?? 0
    for (const [rows, duration] of this.#durations) {
      const usual = one * (1 + ROW_COST * (rows - 1))
      this.#durations.set(rows, duration + FORGETTING * (usual - duration))
    }
  }

  /** What a pass of so many rows costs, in passes of one row: measured, or read off between what was measured. */
  cost(rows: number): number {
    const one = this.#durations.get(1)
    if (one === undefined || rows === 1) return 1 + ROW_COST * (rows - 1)
    const exact = this.#durations.get(rows)
    if (exact !== undefined) return exact / one
    const known = [...this.#durations].sort(([a], [b]) => a - b)
    const below = known.filter(([count]) => count < rows).at(-1)!
    const above = known.find(([count]) => count > rows)
    const [count, duration] = below
    if (above) return (duration + ((above[1] - duration) * (rows - count)) / (above[0] - count)) / one
    const slope = count > 1 ? (duration / one - 1) / (count - 1) : ROW_COST
    return duration / one + slope * (rows - count)
  }
}

interface Guess {
  id: number
  source: Source
}

/**
 * Drafts from Groma's grammar (`</p>` is followed by `<roi>`, a region mostly by `</roi>`) and by copying what followed the
 * same few tokens before: in the question, in this answer, in earlier answers. How many guesses a pass takes follows from
 * how often each source was right and from what passes of so many rows have cost here; where it does not pay, none.
 */
export class AnswerDrafter implements Drafter {
  readonly #record: DraftRecord
  readonly #tokens: SpecialTokens
  readonly #question: readonly number[]
  readonly #earlier: ReturnType<DraftRecord['texts']>
  #pending: Guess[] = []

  /** @param options.question ids of the prompt from the question on */
  constructor(
    record: DraftRecord,
    { tokens, question, topic }: { tokens: SpecialTokens; question: readonly number[]; topic: string },
  ) {
    this.#record = record
    this.#tokens = tokens
    this.#question = question
    this.#earlier = record.texts(topic)
  }

  guess(ids: readonly number[], limit: number): number[] {
    const text = [...this.#question, ...ids]
    const guesses: Guess[] = []
    // tokens that a pass is expected to give: one for sure, each guess if all before it are right
    let expected = 1
    let allRight = 1
    let best = { count: 0, speed: GAIN }
    while (guesses.length < Math.min(limit, MAX_GUESSES)) {
      const next = this.#next(text)
      if (!next) break
      guesses.push(next)
      text.push(next.id)
      allRight *= this.#record.chance(next.source)
      expected += allRight
      const speed = expected / this.#record.cost(guesses.length + 1)
      if (speed > best.speed) best = { count: guesses.length, speed }
      if (next.id === this.#tokens.eos) break
    }
    if (best.count === 0 && guesses[0]) this.#record.passedOver(guesses[0].source)
    this.#pending = guesses.slice(0, best.count)
    return this.#pending.map(({ id }) => id)
  }

  learn(right: number, checked: number): void {
    // what comes after a wrong guess was never in question
    for (const [index, { source }] of this.#pending.slice(0, Math.min(right + 1, checked)).entries()) {
      this.#record.count(source, index < right)
    }
    this.#pending = []
  }

  timed(rows: number, duration: number): void {
    if (rows <= MAX_GUESSES + 1) this.#record.time(rows, duration)
  }

  #next(text: readonly number[]): Guess | undefined {
    const { phraseEnd, roiStart, roiEnd, regionOfId } = this.#tokens
    const last = text.at(-1)!
    if (last === phraseEnd) return { id: roiStart, source: 'grammar-roi' }
    if (!regionOfId.has(last)) return this.#copy(text, 1)
    return this.#copy(text, 2) ?? { id: roiEnd, source: 'grammar-end' }
  }

  /** What followed the longest stretch of the last tokens, `shortest` at least, where it was said before: the latest time. */
  #copy(text: readonly number[], shortest: number): Guess | undefined {
    const { regionOfId } = this.#tokens
    for (let length = Math.min(LONGEST_MATCH, text.length); length >= shortest; length--) {
      const source: Source = `copy-${length as 1 | 2 | 3 | 4}`
      const own = followerOf(text, text, length)
      if (own !== undefined) return { id: own, source }
      for (const { ids, sameRegions } of this.#earlier) {
        const id = followerOf(ids, text, length)
        // elsewhere `<r3>` is another thing
        if (id !== undefined && (sameRegions || !regionOfId.has(id))) return { id, source }
      }
    }
    return undefined
  }
}

/** What follows the last `length` tokens of `text` where they stand in `ids`, the latest time that something does. */
function followerOf(ids: readonly number[], text: readonly number[], length: number): number | undefined {
  const from = text.length - length
  for (let end = ids.length - 1; end >= length; end--) {
    let same = true
    for (let i = 0; i < length && same; i++) same = ids[end - length + i] === text[from + i]
    if (same) return ids[end]
  }
  return undefined
}
