/** The one place for the decision: the slider with "Accept N", and the region in question with its keys. */
import type { CSSProperties, ReactNode } from 'react'
import { useTranslation } from 'react-i18next'
import type { Annotation } from '../../db/records/records.ts'
import { decide } from '../actions/decide.ts'
import { nextOpenImage } from '../actions/select.ts'
import { CommandKeys, Keys } from '../components/Kbd.tsx'
import { run, setThreshold } from '../keys/commands.ts'
import type { CommandId } from '../keys/keymap.ts'
import { EPSILON, nextUndecided } from '../stores/queue.ts'
import { useRecords } from '../stores/records.ts'
import { useAcceptCount, useCurrentRegion, useRegions } from '../stores/selectors.ts'
import { useView } from '../stores/view.ts'
import { useWork } from '../stores/work.ts'
import { captionColour } from './colourWords.ts'
import { RegionEditor } from './RegionEditor.tsx'
import './decisionBar.css'

export function DecisionBar() {
  const imageId = useView((view) => view.imageId)
  if (imageId === null) return null
  return (
    <div className="decision-bar">
      <SliderRow />
      <QuestionRow imageId={imageId} />
    </div>
  )
}

function SliderRow() {
  const { t } = useTranslation()
  const threshold = useView((view) => view.threshold)
  const count = useAcceptCount()
  return (
    <div className="bar-row">
      <label className="dim" htmlFor="confidence">
        {t('bar.confidence')}
      </label>
      <input
        aria-valuetext={threshold.toFixed(2)}
        className="slider"
        id="confidence"
        max={1}
        min={0}
        onChange={(event) => setThreshold(event.target.valueAsNumber)}
        step={0.01}
        style={{ '--at': `${threshold * 100}%` } as CSSProperties}
        type="range"
        value={threshold}
      />
      <span aria-hidden="true" className="threshold">
        {threshold.toFixed(2)}
      </span>
      <button
        className="button primary accept-all"
        disabled={count === 0}
        onClick={() => run('acceptAbove')}
        type="button"
      >
        {t('bar.acceptCount', { count })}
        <CommandKeys command="acceptAbove" />
      </button>
    </div>
  )
}

/** A button that is a key cap and its word; the accessible name is the word alone. */
function KeyButton({ command, name, disabled = false }: { command: CommandId; name: string; disabled?: boolean }) {
  return (
    <button className="key-button" disabled={disabled} onClick={() => run(command)} type="button">
      <CommandKeys command={command} />
      <span className="key-word">{name}</span>
    </button>
  )
}

function QuestionRow({ imageId }: { imageId: number }) {
  const { t } = useTranslation()
  const region = useCurrentRegion()
  const tool = useView((view) => view.tool)
  const editing = useView((view) => view.editing)
  if (tool === 'draw') {
    return (
      <Row title={t('bar.drawing')}>
        <span className="hint dim">{t('canvas.drawHint')}</span>
        <KeyButton command="select" name={t('bar.cancel')} />
      </Row>
    )
  }
  if (region === null) return <NothingInQuestion imageId={imageId} />
  if (editing?.annotationId === region.id && editing.field === 'box') return <BoxEditing region={region} />
  if (editing?.annotationId === region.id && editing.place === 'bar') {
    return (
      <div className="bar-row question">
        <RegionEditor field={editing.field === 'category' ? 'category' : 'caption'} key={region.id} region={region} />
        <span className="hint dim">
          <Keys caps={['↵']} /> {t('bar.keep')} <Keys caps={['Esc']} /> {t('bar.cancel')}
        </span>
      </div>
    )
  }
  return <RegionInQuestion region={region} />
}

function Row({ title, children }: { title: ReactNode; children: ReactNode }) {
  return (
    <div className="bar-row question">
      <strong className="cut">{title}</strong>
      <span className="spring" />
      {children}
    </div>
  )
}

function RegionInQuestion({ region }: { region: Annotation }) {
  const { t } = useTranslation()
  const category = useRecords((state) =>
    region.categoryId === null ? undefined : state.categories.get(region.categoryId),
  )
  const busy = useWork((work) => work.jobs.some((job) => job.kind === 'caption'))
  const colour = captionColour(region.caption)
  const undecided = region.status === 'proposed'
  const title = region.caption ?? category?.name ?? (busy ? t('jobs.captioning') : t('bar.noCaption'))
  return (
    <div className="bar-row question">
      <span className="in-question">
        {colour === null ? null : <i aria-hidden="true" className="swatch" style={{ background: colour }} />}
        <strong className="cut" title={title}>
          {title}
        </strong>
        {undecided ? (
          <span className="dim">{region.modelScore?.toFixed(2)}</span>
        ) : (
          <span className={`verdict ${region.status}`}>{t(`regions.${region.status}`)}</span>
        )}
      </span>
      <span className="keys">
        {undecided ? <KeyButton command="accept" name={t('bar.accept')} /> : <AcceptDecided region={region} />}
        <KeyButton command="reject" disabled={region.status === 'rejected'} name={t('bar.reject')} />
        <KeyButton command="edit" name={t('bar.edit')} />
        <KeyButton command="caption" name={t('bar.caption')} />
        <KeyButton command="skip" name={t('bar.skip')} />
      </span>
    </div>
  )
}

/** A rejected region can still be accepted; an accepted one leaves the button without work. */
function AcceptDecided({ region }: { region: Annotation }) {
  const { t } = useTranslation()
  return (
    <button
      className="key-button"
      disabled={region.status !== 'rejected'}
      onClick={() => void decide('accept')}
      type="button"
    >
      {t('bar.accept')}
    </button>
  )
}

function BoxEditing({ region }: { region: Annotation }) {
  const { t } = useTranslation()
  const box = useView((view) => view.draftBox) ?? region.bboxXywh
  const [x, y, width, height] = box.map((value) => Math.round(value))
  return (
    <div className="bar-row question">
      <strong className="box-figures">
        {x}, {y} · {width} × {height}
      </strong>
      <span className="spring" />
      <span className="hint dim">
        <Keys caps={['←', '→']} /> {t('bar.move')}
        <Keys caps={['Alt', '→']} /> {t('bar.resize')}
        <Keys caps={['⇧']} /> {t('bar.larger')}
        <Keys caps={['↵']} /> {t('bar.keep')}
        <Keys caps={['Esc']} /> {t('bar.cancel')}
      </span>
    </div>
  )
}

/** Nothing proposed, all decided, or just nothing chosen: what comes next. */
function NothingInQuestion({ imageId }: { imageId: number }) {
  const { t } = useTranslation()
  const regions = useRegions()
  const threshold = useView((view) => view.threshold)
  const deciding = useView((view) => view.deciding)
  const image = useRecords((state) => state.images.get(imageId))
  const computing = useRecords((state) => state.activity.get(imageId)?.state === 'computing')
  const proposing = useWork((work) => work.jobs.some((job) => job.kind === 'propose' && job.imageId === imageId))
  const last = useRecords(() => nextOpenImage() === null)
  if (image === undefined) return null
  if (image.status === 'missing') {
    return (
      <Row title={t('canvas.missing')}>
        <KeyButton command="nextImage" name={t('bar.next')} />
      </Row>
    )
  }
  if ((computing || proposing) && regions.length === 0) return <Row title={t('bar.computing')}>{null}</Row>
  if (regions.length === 0 && image.proposedAt === null && !image.done) {
    return (
      <Row title={t('bar.nothingYet')}>
        <KeyButton command="draw" name={t('bar.drawIt')} />
        <KeyButton command="find" name={t('bar.findIt')} />
      </Row>
    )
  }
  if (nextUndecided(regions, null, threshold, deciding) !== null) {
    return (
      <Row title={<span className="dim plain">{t('bar.choose')}</span>}>
        <KeyButton command="skip" name={t('bar.nextRegion')} />
      </Row>
    )
  }
  const below = regions.filter((r) => r.status === 'proposed' && (r.modelScore ?? 1) < threshold - EPSILON).length
  return (
    <Row
      title={
        below > 0 ? t('bar.below', { count: below }) : t(regions.length === 0 ? 'bar.nothingFound' : 'bar.allDecided')
      }
    >
      <KeyButton command="draw" name={t('bar.drawIt')} />
      <KeyButton command="find" name={t('bar.findIt')} />
      {image.done && last ? (
        <KeyButton command="done" name={t('bar.reopen')} />
      ) : (
        <KeyButton command="accept" name={t(image.done ? 'bar.next' : 'bar.doneNext')} />
      )}
    </Row>
  )
}
