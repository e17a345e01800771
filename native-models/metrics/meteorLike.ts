/**
 * A METEOR without dictionaries: the score of Denkowski and Lavie (2014, sections 2.1 and 2.2) over words that are the same or
 * have the same stem. No synonyms, no paraphrases, and every word weighs the same (the original lets function words count
 * less), so that its numbers are to be compared with its own only.
 */
import { porter2 } from './porter2.ts'

/** The paper's parameters for ranking in English: recall against precision, and how fragments are punished. */
const ALPHA = 0.85
const BETA = 0.2
const GAMMA = 0.6
/** What a match counts: the same word, the same stem. */
const WEIGHTS = { exact: 1, stem: 0.6 }
/** No place, and not one before any. */
const NONE = -2

/** What a score is made of; sums over a corpus make the corpus's score. */
interface Counts {
  saidLength: number
  wantedLength: number
  /** words that stand for each other, and their weight */
  matches: number
  weight: number
  /** stretches of them that follow each other in both sentences */
  chunks: number
}

/**
 * @param items tokenised sentences (see `ptbTokenize`): one candidate and its references, at least one each
 * @returns the score of the corpus (over summed counts) and of each item (its best reference); 1 is the highest
 */
export function meteorLike(items: readonly { candidate: string; references: readonly string[] }[]): {
  mean: number | null
  scores: number[]
} {
  const best = items.map(({ candidate, references }) => {
    const said = wordsOf(candidate)
    const all = references.map((reference) => countsOf(said, wordsOf(reference)))
    return all.reduce((a, b) => (scoreOf(b) > scoreOf(a) ? b : a))
  })
  return { mean: best.length === 0 ? null : scoreOf(sumOf(best)), scores: best.map(scoreOf) }
}

const wordsOf = (sentence: string) => sentence.split(/\s+/).filter((word) => word !== '')

function scoreOf({ saidLength, wantedLength, matches, weight, chunks }: Counts): number {
  if (matches === 0) return 0
  const precision = weight / saidLength
  const recall = weight / wantedLength
  const mean = 1 / ((1 - ALPHA) / precision + ALPHA / recall)
  // one stretch over the whole of both sentences is no fragment
  const whole = chunks === 1 && matches === saidLength && matches === wantedLength
  return mean * (1 - (whole ? 0 : GAMMA * (chunks / matches) ** BETA))
}

function sumOf(all: readonly Counts[]): Counts {
  const sum = (of: (counts: Counts) => number) => all.reduce((total, counts) => total + of(counts), 0)
  return {
    saidLength: sum((counts) => counts.saidLength),
    wantedLength: sum((counts) => counts.wantedLength),
    matches: sum((counts) => counts.matches),
    weight: sum((counts) => counts.weight),
    chunks: sum((counts) => counts.chunks),
  }
}

/** Aligns two sentences: same words first, then same stems, each time the longest stretch that is left. */
function countsOf(said: readonly string[], wanted: readonly string[]): Counts {
  /** per word of the candidate the place of its partner in the reference, or NONE */
  const partner = said.map(() => NONE)
  const taken = wanted.map(() => false)
  const counts = { saidLength: said.length, wantedLength: wanted.length, matches: 0, weight: 0 }
  const matchAll = (a: readonly string[], b: readonly string[], weight: number) => {
    for (;;) {
      const run = longestRun(a, b, partner, taken)
      if (run.length === 0) return
      for (let i = 0; i < run.length; i++) {
        partner[run.said + i] = run.wanted + i
        taken[run.wanted + i] = true
      }
      counts.matches += run.length
      counts.weight += weight * run.length
    }
  }
  matchAll(said, wanted, WEIGHTS.exact)
  matchAll(said.map(porter2), wanted.map(porter2), WEIGHTS.stem)
  const starts = partner.filter((place, i) => place >= 0 && (i === 0 || partner[i - 1] !== place - 1))
  return { ...counts, chunks: starts.length }
}

/** The longest stretch of free words that are the same in both; of equal ones that which moved least. */
function longestRun(
  a: readonly string[],
  b: readonly string[],
  partner: readonly number[],
  taken: readonly boolean[],
): { said: number; wanted: number; length: number } {
  let best = { said: 0, wanted: 0, length: 0 }
  const moved = (run: { said: number; wanted: number }) => Math.abs(run.said - run.wanted)
  const free = (said: number, wanted: number) => partner[said] === NONE && !taken[wanted] && a[said] === b[wanted]
  for (let said = 0; said < a.length; said++) {
    for (let wanted = 0; wanted < b.length; wanted++) {
      let length = 0
      while (said + length < a.length && wanted + length < b.length && free(said + length, wanted + length)) length++
      const run = { said, wanted, length }
      if (length > best.length || (length > 0 && length === best.length && moved(run) < moved(best))) best = run
    }
  }
  return best
}
