/** The region that holds the stage: focusable, described in words, with a sentence where there is no picture. */
import { useCallback, useEffect, useRef, useState } from 'react'
import { useTranslation } from 'react-i18next'
import { useRecords } from '../stores/records.ts'
import { useCurrentRegion, useRegions } from '../stores/selectors.ts'
import { useView } from '../stores/view.ts'
import { bindStage } from './bindStage.ts'
import './canvas.css'

export function CanvasView() {
  const { t } = useTranslation()
  const host = useRef<HTMLDivElement>(null)
  const region = useRef<HTMLElement>(null)
  const [failedId, setFailedId] = useState<number | null>(null)
  const imageId = useView((view) => view.imageId)
  const image = useRecords((state) => (imageId === null ? undefined : state.images.get(imageId)))
  const loaded = useRecords((state) => state.imagesLoaded)
  const onPixels = useCallback((id: number, shown: boolean) => setFailedId(shown ? null : id), [])
  useEffect(() => {
    if (host.current === null) return
    region.current?.focus({ preventScroll: true })
    return bindStage(host.current, onPixels)
  }, [onPixels])
  const missing = image?.status === 'missing'
  const unreadable = !missing && image !== undefined && failedId === image.id
  return (
    <section
      aria-describedby="canvas-summary"
      aria-label={t('canvas.title')}
      className="canvas"
      data-pane="canvas"
      ref={region}
      // biome-ignore lint/a11y/noNoninteractiveTabindex: the keys of the flow work on the picture
      tabIndex={0}
    >
      <div className="canvas-host" ref={host} />
      <Summary />
      {missing || unreadable ? (
        <div className="canvas-empty">
          <strong>{t(missing ? 'canvas.missing' : 'canvas.unreadable')}</strong>
          <span className="dim">{image.fileName}</span>
          {missing ? <span className="dim">{t('canvas.missingHint')}</span> : null}
        </div>
      ) : null}
      {loaded && image === undefined ? <div className="canvas-empty dim">{t('canvas.noProject')}</div> : null}
    </section>
  )
}

/** What the picture shows, for those who cannot see it; the list of regions is its full alternative. */
function Summary() {
  const { t } = useTranslation()
  const imageId = useView((view) => view.imageId)
  const image = useRecords((state) => (imageId === null ? undefined : state.images.get(imageId)))
  const regions = useRegions()
  const current = useCurrentRegion()
  const category = useRecords((state) => (current?.categoryId ? state.categories.get(current.categoryId) : undefined))
  if (image === undefined) return null
  const { fileName: name, width, height } = image
  const text = [current?.caption ?? category?.name, current?.modelScore?.toFixed(2)].filter(Boolean).join(', ')
  return (
    <>
      <p className="hidden-text" id="canvas-summary">
        {t('canvas.summary', { name, width, height, count: regions.length })}
      </p>
      <p aria-live="polite" className="hidden-text">
        {current === null ? '' : t('canvas.current', { text: `${text}, ${t(`regions.${current.status}`)}` })}
      </p>
    </>
  )
}
