/**
 * Area under the ROC curve: how likely a score of the first kind is above one of the second, ties counting half.
 * Null when either kind is empty. Source: the Mann-Whitney U statistic.
 */
export function auroc(positives: readonly number[], negatives: readonly number[]): number | null {
  if (positives.length === 0 || negatives.length === 0) return null
  const all = [
    ...positives.map((score) => ({ score, positive: true })),
    ...negatives.map((score) => ({ score, positive: false })),
  ].sort((a, b) => a.score - b.score)
  let rankSum = 0
  for (let start = 0; start < all.length; ) {
    let end = start
    let count = 0
    for (; end < all.length && all[end]!.score === all[start]!.score; end++) if (all[end]!.positive) count++
    rankSum += count * ((start + end + 1) / 2) // mean rank of a tie, counted from 1
    start = end
  }
  const n = positives.length
  return (rankSum - (n * (n + 1)) / 2) / (n * negatives.length)
}
