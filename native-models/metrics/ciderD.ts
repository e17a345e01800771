/**
 * CIDEr-D (Vedantam et al., arXiv 1411.5726) as pycocoevalcap computes it: n-grams of 1 to 4 words, counts clipped to the
 * reference's, a Gaussian penalty on the difference of length, document frequencies from the references themselves.
 */

const N = 4
const SIGMA = 6

interface Vector {
  /** Per n-gram length: weight of each n-gram. */
  weights: Map<string, number>[]
  norms: number[]
  /** Number of bigrams: what the original calls length. */
  length: number
}

/** Counts of all n-grams, words joined by single spaces. */
function ngrams(sentence: string): Map<string, { count: number; n: number }> {
  const words = sentence.split(/\s+/).filter((word) => word !== '')
  const counts = new Map<string, { count: number; n: number }>()
  for (let n = 1; n <= N; n++)
    for (let i = 0; i + n <= words.length; i++) {
      const gram = words.slice(i, i + n).join(' ')
      const known = counts.get(gram)
      if (known) known.count++
      else counts.set(gram, { count: 1, n })
    }
  return counts
}

/**
 * @param items tokenised sentences (see `ptbTokenize`): one candidate and its references, at least one each
 * @returns the mean over items, and each item's own score; 10 is the highest
 */
export function ciderD(items: readonly { candidate: string; references: readonly string[] }[]): {
  mean: number | null
  scores: number[]
} {
  const frequency = new Map<string, number>()
  const cooked = items.map(({ candidate, references }) => ({
    candidate: ngrams(candidate),
    references: references.map(ngrams),
  }))
  for (const { references } of cooked)
    for (const gram of new Set(references.flatMap((reference) => [...reference.keys()])))
      frequency.set(gram, (frequency.get(gram) ?? 0) + 1)
  const logCount = Math.log(items.length)

  const vector = (counts: ReturnType<typeof ngrams>): Vector => {
    const weights = Array.from({ length: N }, () => new Map<string, number>())
    const squares = new Array<number>(N).fill(0)
    let length = 0
    for (const [gram, { count, n }] of counts) {
      const weight = count * (logCount - Math.log(Math.max(1, frequency.get(gram) ?? 0)))
      weights[n - 1]!.set(gram, weight)
      squares[n - 1]! += weight ** 2
      if (n === 2) length += count
    }
    return { weights, norms: squares.map(Math.sqrt), length }
  }

  const scores = cooked.map(({ candidate, references }) => {
    const said = vector(candidate)
    const sum = references.map(vector).reduce((total, reference) => total + similarity(said, reference), 0)
    return (10 * sum) / references.length
  })
  return { mean: scores.length === 0 ? null : scores.reduce((sum, score) => sum + score, 0) / scores.length, scores }
}

function similarity(said: Vector, reference: Vector): number {
  const penalty = Math.exp(-((said.length - reference.length) ** 2) / (2 * SIGMA ** 2))
  let total = 0
  for (let n = 0; n < N; n++) {
    let product = 0
    for (const [gram, weight] of said.weights[n]!) {
      const wanted = reference.weights[n]!.get(gram) ?? 0
      product += Math.min(weight, wanted) * wanted
    }
    const norm = said.norms[n]! * reference.norms[n]!
    total += (norm === 0 ? product : product / norm) * penalty
  }
  return total / N
}
