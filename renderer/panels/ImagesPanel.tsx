/** The file list: a listbox of thumbnails with their state in words. Only what is in sight exists once it gets long. */
import { useVirtualizer } from '@tanstack/react-virtual'
import { memo, useEffect, useMemo, useRef } from 'react'
import { useTranslation } from 'react-i18next'
import type { ImageSummary } from '../../db/records/records.ts'
import { openImage } from '../actions/select.ts'
import { client } from '../client.ts'
import { Keys } from '../components/Kbd.tsx'
import { focusCanvas } from '../keys/commands.ts'
import { type Activity, useRecords } from '../stores/records.ts'
import { imagesShown } from '../stores/selectors.ts'
import { useView } from '../stores/view.ts'
import { imageState } from './imageState.ts'
import './imagesPanel.css'

const ROW_HEIGHT = 54
/** Up to here every row exists: find-in-page and screen readers see the whole list. */
const RENDER_ALL = 150

export function ImagesPanel() {
  const { t } = useTranslation()
  const filter = useView((view) => view.imageFilter)
  return (
    <>
      <div className="images-filter">
        <input
          aria-label={t('images.filter')}
          className="field"
          data-pane="filter"
          onChange={(event) => useView.setState({ imageFilter: event.target.value })}
          onKeyDown={(event) => {
            if (event.key === 'Escape') useView.setState({ imageFilter: '' })
            if (event.key !== 'Enter' && event.key !== 'Escape' && event.key !== 'ArrowDown') return
            event.preventDefault()
            if (event.key === 'ArrowDown') document.querySelector<HTMLElement>('[data-pane="images"]')?.focus()
            else focusCanvas()
          }}
          placeholder={t('images.filter')}
          spellCheck={false}
          type="text"
          value={filter}
        />
        <Keys caps={['/']} />
      </div>
      <ImageList />
      <Skipped />
    </>
  )
}

function ImageList() {
  const { t } = useTranslation()
  const order = useRecords((state) => state.imageOrder)
  const images = useRecords((state) => state.images)
  const activity = useRecords((state) => state.activity)
  const loaded = useRecords((state) => state.imagesLoaded)
  const imageId = useView((view) => view.imageId)
  const filter = useView((view) => view.imageFilter)
  const scroller = useRef<HTMLDivElement>(null)
  const shown = useMemo(() => imagesShown(order, images, filter), [order, images, filter])
  const rows = useVirtualizer({
    count: shown.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW_HEIGHT,
    overscan: shown.length <= RENDER_ALL ? RENDER_ALL : 10,
  })
  const index = imageId === null ? -1 : shown.indexOf(imageId)
  useEffect(() => {
    if (index >= 0) rows.scrollToIndex(index, { align: 'auto' })
  }, [index, rows])
  const go = (next: number) => {
    const id = shown[Math.min(shown.length - 1, Math.max(0, next))]
    if (id !== undefined) openImage(id)
  }
  return (
    <div
      aria-activedescendant={index >= 0 ? `image-${imageId}` : undefined}
      aria-label={t('images.title')}
      className="image-list"
      data-pane="images"
      onKeyDown={(event) => {
        const page = Math.max(1, Math.floor((scroller.current?.clientHeight ?? 0) / ROW_HEIGHT) - 1)
        const moves: Record<string, number> = {
          ArrowDown: index + 1,
          ArrowUp: index - 1,
          PageDown: index + page,
          PageUp: index - page,
          Home: 0,
          End: shown.length - 1,
        }
        const next = moves[event.key]
        if (event.key === 'Enter') focusCanvas()
        else if (next !== undefined && !event.ctrlKey && !event.altKey) go(next)
        else return
        event.preventDefault()
        event.stopPropagation()
        event.nativeEvent.stopImmediatePropagation()
      }}
      ref={scroller}
      role="listbox"
      tabIndex={0}
    >
      <div className="rows" role="presentation" style={{ height: rows.getTotalSize() }}>
        {rows.getVirtualItems().map((row) => {
          const image = images.get(shown[row.index] ?? 0)
          return image === undefined ? null : (
            <ImageRow
              activity={activity.get(image.id)}
              image={image}
              key={image.id}
              position={row.index + 1}
              selected={image.id === imageId}
              size={shown.length}
              top={row.start}
            />
          )
        })}
      </div>
      {loaded && shown.length === 0 ? (
        <p className="list-empty dim">{t(order.length === 0 ? 'images.none' : 'images.noMatch')}</p>
      ) : null}
    </div>
  )
}

interface RowProps {
  readonly image: ImageSummary
  readonly activity: Activity | undefined
  readonly selected: boolean
  readonly position: number
  readonly size: number
  readonly top: number
}

const ImageRow = memo(function ImageRow({ image, activity, selected, position, size, top }: RowProps) {
  const { t } = useTranslation()
  const { words, tone } = imageState(image, activity, t as never)
  const slash = image.fileName.lastIndexOf('/')
  return (
    // biome-ignore lint/a11y/useFocusableInteractive: the listbox has the focus and names its active option
    // biome-ignore lint/a11y/useKeyWithClickEvents: the listbox handles the keys
    <div
      aria-posinset={position}
      aria-selected={selected}
      aria-setsize={size}
      className="image-row"
      data-id={image.id}
      id={`image-${image.id}`}
      onClick={() => openImage(image.id)}
      role="option"
      style={{ transform: `translateY(${top}px)` }}
      title={image.fileName}
    >
      {image.status === 'missing' ? (
        <span className="thumb" />
      ) : (
        <img
          alt=""
          className="thumb"
          decoding="async"
          draggable={false}
          height={42}
          loading="lazy"
          src={client().imageUrl(image.id, 112, image.contentSha256)}
          width={56}
        />
      )}
      <span className="image-words">
        <span className="cut">{slash < 0 ? image.fileName : image.fileName.slice(slash + 1)}</span>{' '}
        <span className={`image-state tone-${tone}`}>{words}</span>
      </span>
    </div>
  )
})

function Skipped() {
  const { t } = useTranslation()
  const count = useRecords((state) => state.skipped.length)
  if (count === 0) return null
  return (
    <p className="skipped">
      <button className="link" onClick={() => useView.setState({ dialog: 'skipped' })} type="button">
        {t('images.skipped', { count })}
      </button>
    </p>
  )
}
