/** The edge between two columns: dragged, or moved with arrow keys. */
import { useRef } from 'react'

interface Props {
  readonly label: string
  readonly side: 'left' | 'right'
  readonly size: number
  readonly min: number
  readonly max: number
  readonly onSize: (size: number) => void
}

export function Resizer({ label, side, size, min, max, onSize }: Props) {
  const from = useRef<{ x: number; size: number } | null>(null)
  const set = (next: number) => onSize(Math.round(Math.min(max, Math.max(min, next))))
  const grow = side === 'left' ? 1 : -1
  return (
    // biome-ignore lint/a11y/useSemanticElements: <hr> cannot hold a value; this is the window splitter pattern
    <div
      aria-label={label}
      aria-orientation="vertical"
      aria-valuemax={max}
      aria-valuemin={min}
      aria-valuenow={size}
      className={`resizer ${side}`}
      onKeyDown={(event) => {
        const step = { ArrowLeft: -16, ArrowRight: 16 }[event.key]
        if (step === undefined) return
        event.preventDefault()
        set(size + step * grow)
      }}
      onPointerDown={(event) => {
        event.currentTarget.setPointerCapture(event.pointerId)
        from.current = { x: event.clientX, size }
      }}
      onPointerMove={(event) => {
        if (from.current !== null) set(from.current.size + (event.clientX - from.current.x) * grow)
      }}
      onPointerUp={() => {
        from.current = null
      }}
      role="separator"
      tabIndex={0}
    />
  )
}
