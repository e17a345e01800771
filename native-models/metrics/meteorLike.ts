/**
 * METEOR (Denkowski and Lavie, 2014) as version 1.5 computes it for English, with the matchers that need no dictionary:
 * the same word, and the same stem: what the original gives with `-lower -m "exact stem"`. What pycocoevalcap calls METEOR adds
 * WordNet's synonyms and a paraphrase table of 61 MB, so its numbers are higher, and splits the tokens a second time (`-norm`).
 */
import { porter2 } from './porter2.ts'

/** The original's parameters for its "rank" task, and its weights of the two matchers. */
const ALPHA = 0.85
const BETA = 0.2
const GAMMA = 0.6
const DELTA = 0.75
const WEIGHTS = [1, 0.6] as const
const BEAM = 40

/** Words that count 1 - DELTA: those of relative frequency above 10^-3 in English, as the original lists them. */
const functionWords = new Set(
  (
    `the , . to of and a in that for " is on 's it with was as said at he by be from have has are his but an this not i ` +
    `will \u2019 they ) -rrb- ( -lrb- who their had we which were been more or s its would about new one after you : also up ` +
    `when there than $ all out her people she year two - can if last first \u201c over other \u201d into some what so -- no time ` +
    `years could ? 't \u2014 '`
  ).split(' '),
)

interface Match {
  /** Places in the candidate and in the reference. */
  said: number
  wanted: number
  /** 0 the same word, 1 the same stem */
  module: 0 | 1
}

/** What a score is made of; sums over a corpus make the corpus's score. */
interface Stats {
  saidLength: number
  wantedLength: number
  saidFunction: number
  wantedFunction: number
  /** Per module: [content, function] words matched, as counted in the candidate and in the reference. */
  saidMatches: [number, number][]
  wantedMatches: [number, number][]
  chunks: number
}

/**
 * @param items tokenised sentences (see `ptbTokenize`): one candidate and its references, at least one each
 * @returns the score of the corpus (over summed statistics, as the original's) and of each item; 1 is the highest
 */
export function meteorLike(items: readonly { candidate: string; references: readonly string[] }[]): {
  mean: number | null
  scores: number[]
} {
  const total = emptyStats()
  const scores = items.map(({ candidate, references }) => {
    let best: { stats: Stats; score: number } | null = null
    for (const reference of references) {
      const stats = statsOf(wordsOf(candidate), wordsOf(reference))
      const score = scoreOf(stats)
      if (best === null || score > best.score) best = { stats, score }
    }
    if (best === null) return 0
    addStats(total, best.stats)
    return best.score
  })
  return { mean: items.length === 0 ? null : scoreOf(total), scores }
}

/** A fraction's hard space ("5 1/2") parts no words here, though it does for CIDEr. */
const wordsOf = (sentence: string) => sentence.split(/[ \t\r\n\f]+/).filter((word) => word !== '')

const emptyStats = (): Stats => ({
  saidLength: 0,
  wantedLength: 0,
  saidFunction: 0,
  wantedFunction: 0,
  saidMatches: [
    [0, 0],
    [0, 0],
  ],
  wantedMatches: [
    [0, 0],
    [0, 0],
  ],
  chunks: 0,
})

function addStats(total: Stats, more: Stats): void {
  total.saidLength += more.saidLength
  total.wantedLength += more.wantedLength
  total.saidFunction += more.saidFunction
  total.wantedFunction += more.wantedFunction
  if (!saysItAll(more)) total.chunks += more.chunks
  for (const module of [0, 1])
    for (const kind of [0, 1]) {
      total.saidMatches[module]![kind]! += more.saidMatches[module]![kind]!
      total.wantedMatches[module]![kind]! += more.wantedMatches[module]![kind]!
    }
}

function scoreOf(stats: Stats): number {
  const weightedLength = (length: number, functional: number) =>
    DELTA * (length - functional) + (1 - DELTA) * functional
  const weighted = (matches: Stats['saidMatches']) =>
    matches.reduce((sum, [content, functional], module) => {
      return sum + WEIGHTS[module]! * (DELTA * content + (1 - DELTA) * functional)
    }, 0)
  const precision = weighted(stats.saidMatches) / weightedLength(stats.saidLength, stats.saidFunction)
  const recall = weighted(stats.wantedMatches) / weightedLength(stats.wantedLength, stats.wantedFunction)
  const mean = 1 / ((1 - ALPHA) / precision + ALPHA / recall)
  const said = count(stats.saidMatches)
  const wanted = count(stats.wantedMatches)
  const fragmentation = saysItAll(stats) ? 0 : stats.chunks / ((said + wanted) / 2)
  const score = mean * (1 - GAMMA * fragmentation ** BETA)
  return Number.isNaN(score) ? 0 : Math.max(0, score)
}

const count = (matches: Stats['saidMatches']) => matches.flat().reduce((sum, words) => sum + words, 0)

/** Every word in its order: no penalty for the one chunk. */
const saysItAll = ({ saidMatches, wantedMatches, saidLength, wantedLength, chunks }: Stats) =>
  count(saidMatches) === saidLength && count(wantedMatches) === wantedLength && chunks === 1

function statsOf(said: readonly string[], wanted: readonly string[]): Stats {
  const matches = align(said, wanted)
  const stats = emptyStats()
  stats.saidLength = said.length
  stats.wantedLength = wanted.length
  stats.saidFunction = said.filter((word) => functionWords.has(word)).length
  stats.wantedFunction = wanted.filter((word) => functionWords.has(word)).length
  for (const match of matches) {
    if (match === null) continue
    stats.saidMatches[match.module]![functionWords.has(said[match.said]!) ? 1 : 0]!++
    stats.wantedMatches[match.module]![functionWords.has(wanted[match.wanted]!) ? 1 : 0]!++
  }
  stats.chunks = chunksOf(matches)
  return stats
}

/** Stretches of matches that follow each other in both sentences. */
function chunksOf(matches: readonly (Match | null)[]): number {
  let chunks = 0
  let last: Match | null = null
  for (const match of matches) {
    if (match !== null && (last === null || match.said !== last.said + 1)) chunks++
    last = match
  }
  return chunks
}

/** A way through the reference so far. */
interface Path {
  /** [place in the reference] */
  matches: (Match | null)[]
  used: ReadonlySet<number>
  exact: number
  chunks: number
  distance: number
  /** Place behind the last match in the candidate; -1 after a gap. */
  lastEnd: number
}

/**
 * Which words stand for which: most exact matches, then fewest chunks, then nearest places, by the original's beam search.
 * @returns one entry per word of the reference
 */
function align(said: readonly string[], wanted: readonly string[]): (Match | null)[] {
  const identical = said.length === wanted.length && said.every((word, i) => word === wanted[i])
  const saidStems = said.map(porter2)
  const candidates = wanted.map((word, place): Match[] => {
    const stem = porter2(word)
    const places = said.map((_, i) => i)
    const exact = places.filter((i) => said[i] === word)
    const stems = identical ? [] : places.filter((i) => said[i] !== word && saidStems[i] === stem)
    return [
      ...exact.map((i): Match => ({ said: i, wanted: place, module: 0 })),
      ...stems.map((i): Match => ({ said: i, wanted: place, module: 1 })),
    ]
  })
  const coverage = said.map((_, i) => candidates.flat().filter((match) => match.said === i).length)
  /** The only match of both words: no choice to make. */
  const fixed = candidates.map((matches) =>
    matches.length === 1 && coverage[matches[0]!.said] === 1 ? matches[0]! : null,
  )
  const used = new Set(fixed.flatMap((match) => (match === null ? [] : [match.said])))

  let paths: Path[] = [{ matches: [], used, exact: 0, chunks: 0, distance: 0, lastEnd: -1 }]
  for (const [place, matches] of candidates.entries()) {
    const next: Path[] = []
    for (const path of paths.sort(better).slice(0, BEAM)) {
      const certain = fixed[place]!
      if (certain !== null) {
        next.push(withMatch(path, certain, distanceTo(certain)))
        continue
      }
      // As in the original, a match's distance is charged to the paths that come after it here, not to its own.
      let { distance } = path
      for (const match of matches) {
        if (path.used.has(match.said)) continue
        next.push(withMatch({ ...path, distance }, match, 0))
        distance += distanceTo(match)
      }
      const gap = path.lastEnd !== -1 ? 1 : 0
      next.push({ ...path, distance, matches: [...path.matches, null], chunks: path.chunks + gap, lastEnd: -1 })
    }
    paths = next
  }
  for (const path of paths) if (path.lastEnd !== -1) path.chunks++
  return paths.sort(better)[0]!.matches
}

const distanceTo = ({ said, wanted }: Match) => Math.abs(said - wanted)
const better = (a: Path, b: Path) => b.exact - a.exact || a.chunks - b.chunks || a.distance - b.distance

function withMatch(path: Path, match: Match, distance: number): Path {
  const broken = path.lastEnd !== -1 && match.said !== path.lastEnd
  return {
    matches: [...path.matches, match],
    used: new Set([...path.used, match.said]),
    exact: path.exact + (match.module === 0 ? 1 : 0), // in the original a stem's half is cut to a whole number: 0
    chunks: path.chunks + (broken ? 1 : 0),
    distance: path.distance + distance,
    lastEnd: match.said + 1,
  }
}
