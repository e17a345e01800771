/** How far something is; slides while that is not known. */
export function ProgressLine({ done, total, label }: { done: number; total: number | null; label: string }) {
  const share = total === null || total === 0 ? null : Math.min(1, done / total)
  return (
    <div
      aria-label={label}
      aria-valuemax={100}
      aria-valuemin={0}
      aria-valuenow={share === null ? undefined : Math.round(share * 100)}
      className={share === null ? 'bar-track unknown' : 'bar-track'}
      role="progressbar"
    >
      <i style={share === null ? undefined : { width: `${share * 100}%` }} />
    </div>
  )
}
