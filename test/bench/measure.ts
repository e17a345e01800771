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

/** Measures each side in turns, `rounds` times. */
export async function inTurns<Side extends string>(
  rounds: number,
  sides: Record<Side, (round: number) => Promise<number>>,
): Promise<Record<Side, Spread>> {
  const names = Object.keys(sides) as Side[]
  const values = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Record<Side, number[]>
  for (let round = 0; round < rounds; round++) {
    for (const name of names) values[name].push(await sides[name](round))
  }
  return Object.fromEntries(names.map((name) => [name, spreadOf(values[name])])) as Record<Side, Spread>
}

/** Measures both sides in turns, `rounds` times each. */
export const interleaved = (
  rounds: number,
  ours: (round: number) => Promise<number>,
  theirs: (round: number) => Promise<number>,
): Promise<{ ours: Spread; theirs: Spread }> => inTurns(rounds, { ours, theirs })

/** The span of a side's measurements, for a note. */
export const spreadText = ({ least, most }: Spread): string => `${brief(least)}..${brief(most)}`

/** Three digits that count. */
export function brief(value: number): string {
  if (value === 0) return '0'
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))))
  return value.toFixed(Math.min(4, digits))
}
