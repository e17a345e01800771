/** Timing. Sides are measured in turns (A B A B), so that whatever else the machine does falls on both. */

/** Seconds that some work takes. */
export async function seconds(work: () => unknown): Promise<number> {
  const startedAt = performance.now()
  await work()
  return (performance.now() - startedAt) / 1000
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

export interface Spread {
  median: number
  least: number
  most: number
}

const spreadOf = (values: readonly number[]): Spread => ({
  median: median(values),
  least: Math.min(...values),
  most: Math.max(...values),
})

/** Measures both sides in turns, `rounds` times each. */
export async function interleaved(
  rounds: number,
  ours: (round: number) => Promise<number>,
  theirs: (round: number) => Promise<number>,
): Promise<{ ours: Spread; theirs: Spread }> {
  const values = { ours: [] as number[], theirs: [] as number[] }
  for (let round = 0; round < rounds; round++) {
    values.ours.push(await ours(round))
    values.theirs.push(await theirs(round))
  }
  return { ours: spreadOf(values.ours), theirs: spreadOf(values.theirs) }
}

/** The span of a side's measurements, for a note. */
export const spreadText = ({ least, most }: Spread): string => `${brief(least)}..${brief(most)}`

/** Three digits that count. */
export function brief(value: number): string {
  if (value === 0) return '0'
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))))
  return value.toFixed(Math.min(4, digits))
}
