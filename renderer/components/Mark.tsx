/** The mark: a groma, the surveyor's cross-bar with plumb lines. */
export function Mark({ size = 20 }: { size?: number }) {
  return (
    <svg
      aria-hidden="true"
      className="mark"
      fill="none"
      height={size}
      stroke="currentColor"
      strokeLinecap="round"
      viewBox="0 0 20 20"
      width={size}
    >
      <path d="M10 3v13.5M2.5 5.5h15" strokeWidth="1.6" />
      <path d="M4 5.5v5M16 5.5v5" strokeWidth="1.2" />
      <path d="M2.4 10.6h3.2L4 14zM14.4 10.6h3.2L16 14z" fill="currentColor" strokeLinejoin="round" strokeWidth="0.8" />
      <path d="M7.2 17h5.6" strokeWidth="1.6" />
    </svg>
  )
}
