/** A list of rows of one height, of which only those in sight exist once it is long. */
import { useVirtualizer } from '@tanstack/react-virtual'
import { type ReactNode, useEffect, useRef } from 'react'

/** Up to here every row exists: find-in-page and screen readers see the whole list. */
const RENDER_ALL = 100

interface Props {
  readonly label: string
  readonly count: number
  readonly rowHeight: number
  readonly className?: string
  /** Kept in sight. */
  readonly at?: number | undefined
  readonly children: (index: number) => ReactNode
}

export function VirtualList({ label, count, rowHeight, className = '', at, children }: Props) {
  const scroller = useRef<HTMLDivElement>(null)
  const rows = useVirtualizer({
    count,
    getScrollElement: () => scroller.current,
    estimateSize: () => rowHeight,
    overscan: count <= RENDER_ALL ? RENDER_ALL : 12,
  })
  useEffect(() => {
    if (at !== undefined && at >= 0) rows.scrollToIndex(at)
  }, [at, rows])
  return (
    <div className={`virtual-list ${className}`} ref={scroller}>
      {/* biome-ignore lint/a11y/useSemanticElements: rows are placed by hand, and hold more than text */}
      <div aria-label={label} role="list" style={{ height: rows.getTotalSize(), position: 'relative' }}>
        {rows.getVirtualItems().map(({ index, start, key }) => (
          // biome-ignore lint/a11y/useSemanticElements: as above
          <div
            aria-posinset={index + 1}
            aria-setsize={count}
            className="virtual-row"
            key={key}
            role="listitem"
            style={{ height: rowHeight, transform: `translateY(${start}px)` }}
          >
            {children(index)}
          </div>
        ))}
      </div>
    </div>
  )
}
