/** The regions of the open image: the keyboard's and the screen reader's way to what the canvas shows. */
import { useVirtualizer } from '@tanstack/react-virtual'
import { Check, Circle, CircleDot, Pencil, X } from 'lucide-react'
import { type CSSProperties, memo, useEffect, useRef } from 'react'
import { useTranslation } from 'react-i18next'
import type { Annotation, AnnotationStatus, Category } from '../../db/records/records.ts'
import { selectRegion } from '../actions/select.ts'
import { overlap, SAME_THING_IOU } from '../canvas/boxMath.ts'
import { startEditing } from '../keys/commands.ts'
import { isAbove } from '../stores/queue.ts'
import { useRecords } from '../stores/records.ts'
import { useRegions } from '../stores/selectors.ts'
import { type Editing, useView } from '../stores/view.ts'
import { captionColour } from './colourWords.ts'
import { RegionEditor } from './RegionEditor.tsx'
import './regionList.css'

const ROW_HEIGHT = 32
const RENDER_ALL = 200

const ICONS: Readonly<Record<AnnotationStatus, typeof Check>> = {
  proposed: Circle,
  accepted: Check,
  edited: Pencil,
  rejected: X,
}

export function RegionList() {
  const { t } = useTranslation()
  const regions = useRegions()
  const categories = useRecords((state) => state.categories)
  const regionId = useView((view) => view.regionId)
  const imageId = useView((view) => view.imageId)
  const hoveredId = useView((view) => view.hoveredId)
  const lit = useView((view) => view.lit)
  const threshold = useView((view) => view.threshold)
  const editing = useView((view) => view.editing)
  const loaded = useRecords((state) => imageId !== null && state.annotations.has(imageId))
  const scroller = useRef<HTMLUListElement>(null)
  const rows = useVirtualizer({
    count: regions.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW_HEIGHT,
    overscan: regions.length <= RENDER_ALL ? RENDER_ALL : 12,
  })
  const index = regions.findIndex((region) => region.id === regionId)
  useEffect(() => {
    if (index >= 0) rows.scrollToIndex(index, { align: 'auto' })
  }, [index, rows])
  return (
    <>
      <ul
        aria-label={t('regions.title')}
        className="region-list"
        ref={scroller}
        style={{ '--rows': `${rows.getTotalSize()}px` } as CSSProperties}
      >
        {rows.getVirtualItems().map((row) => {
          const region = regions[row.index]
          return region === undefined ? null : (
            <RegionRow
              category={region.categoryId === null ? undefined : categories.get(region.categoryId)}
              current={region.id === regionId}
              editing={editing?.annotationId === region.id && editing.place === 'row' ? editing : null}
              focusable={region.id === regionId || (regionId === null && row.index === 0)}
              hovered={
                region.id === hoveredId || lit.some((box) => overlap(box.bboxXywh, region.bboxXywh) >= SAME_THING_IOU)
              }
              key={region.id}
              position={row.index + 1}
              region={region}
              shown={isAbove(region, threshold)}
              size={regions.length}
              top={row.start}
            />
          )
        })}
      </ul>
      {loaded && regions.length === 0 ? (
        <div className="regions-empty">
          <p>{t('regions.empty')}</p>
          <p className="dim">{t('regions.emptyHint')}</p>
        </div>
      ) : null}
    </>
  )
}

interface RowProps {
  readonly region: Annotation
  readonly category: Category | undefined
  readonly current: boolean
  readonly hovered: boolean
  readonly focusable: boolean
  /** False when the slider hides it on the picture. */
  readonly shown: boolean
  readonly editing: Editing | null
  readonly position: number
  readonly size: number
  readonly top: number
}

const RegionRow = memo(function RegionRow(props: RowProps) {
  const { region, category, current, hovered, editing } = props
  const { t } = useTranslation()
  const element = useRef<HTMLLIElement>(null)
  useEffect(() => {
    // the focus follows the region in question while it is in the list
    if (current && document.activeElement?.closest('.region-list')) element.current?.focus({ preventScroll: true })
  }, [current])
  const Icon = current && region.status === 'proposed' ? CircleDot : ICONS[region.status]
  const colour = captionColour(region.caption)
  const edit = (field: 'category' | 'caption') => {
    selectRegion(region.id)
    startEditing(field, 'row')
  }
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: the keys of the flow work on the focused row
    <li
      aria-current={current ? 'true' : undefined}
      aria-posinset={props.position}
      aria-setsize={props.size}
      className={`region-row${hovered ? ' hovered' : ''}${props.shown ? '' : ' below'}${editing === null ? '' : ' editing'}`}
      data-id={region.id}
      data-pane={props.focusable ? 'regions' : undefined}
      data-status={region.status}
      onClick={() => selectRegion(region.id)}
      onFocus={() => selectRegion(region.id)}
      onMouseEnter={() => useView.setState({ hoveredId: region.id })}
      onMouseLeave={() => useView.setState({ hoveredId: null })}
      ref={element}
      style={{ transform: `translateY(${props.top}px)` }}
      tabIndex={props.focusable ? 0 : -1}
    >
      <Icon aria-hidden="true" className="state-icon" size={14} strokeWidth={2.25} />
      <span className="hidden-text">{t(`regions.${region.status}`)}: </span>
      {editing === null ? (
        <>
          <span
            aria-hidden="true"
            className={colour === null ? 'swatch class' : 'swatch'}
            style={colour === null ? (category ? { borderColor: category.color } : undefined) : { background: colour }}
          />
          {/* biome-ignore lint/a11y/noStaticElementInteractions: a shortcut of the pointer; L and C are the keys */}
          <span
            className={category ? 'region-class cut' : 'region-class cut dim'}
            onDoubleClick={() => edit('category')}
          >
            {category?.name ?? t('regions.unclassed')}
          </span>{' '}
          {/* biome-ignore lint/a11y/noStaticElementInteractions: as above */}
          <span className="region-caption cut dim" onDoubleClick={() => edit('caption')} title={region.caption ?? ''}>
            {region.caption ?? ''}
          </span>{' '}
          <span className="region-score dim">
            {region.modelScore?.toFixed(2) ?? t(region.provenance === 'import' ? 'regions.imported' : 'regions.byHand')}
          </span>
        </>
      ) : (
        <RegionEditor field={editing.field === 'category' ? 'category' : 'caption'} region={region} />
      )}
    </li>
  )
})
