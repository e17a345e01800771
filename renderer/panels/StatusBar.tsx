/** The status bar: whether all is saved, what undo would do, what is under way, and the figures of the view. */
import { Check, CircleAlert, LoaderCircle, PanelLeft, PanelRight, X } from 'lucide-react'
import { useEffect, useState } from 'react'
import { useTranslation } from 'react-i18next'
import { ProgressLine } from '../components/ProgressLine.tsx'
import { run } from '../keys/commands.ts'
import { useRecords } from '../stores/records.ts'
import { rightShown, useView } from '../stores/view.ts'
import { type Job, useWork } from '../stores/work.ts'
import './statusBar.css'

export function StatusBar() {
  const { t } = useTranslation()
  const project = useRecords((state) => state.project) ?? null
  const imageId = useView((view) => view.imageId)
  const image = useRecords((state) => (imageId === null ? undefined : state.images.get(imageId)))
  const zoom = useView((view) => view.zoom)
  const leftOpen = useView((view) => view.leftOpen)
  const rightOpen = useView(rightShown)
  return (
    <footer className="status-bar">
      <button
        aria-label={t('status.images')}
        aria-pressed={leftOpen}
        className="button quiet icon small"
        onClick={() => run('toggleLeft')}
        title={`${t('status.images')}  (Ctrl+B)`}
        type="button"
      >
        <PanelLeft aria-hidden="true" size={14} />
      </button>
      <SaveState />
      {project?.undoLabel ? <span className="dim cut">{t('history.undoIs', { label: project.undoLabel })}</span> : null}
      {project?.readOnly ? <span className="read-only">{t('status.readOnly')}</span> : null}
      <span className="spring" />
      <Jobs />
      {image === undefined ? null : (
        <>
          <span className="dim">
            {image.width} × {image.height}
          </span>
          <span className="dim">{t('status.zoom', { percent: Math.round(zoom * 100) })}</span>
        </>
      )}
      <button className="status-keys" onClick={() => run('keys')} type="button">
        <span aria-hidden="true">? </span>
        {t('status.keys')}
      </button>
      <button
        aria-label={t('status.panel')}
        aria-pressed={rightOpen}
        className="button quiet icon small"
        onClick={() => run('toggleRight')}
        title={`${t('status.panel')}  (Ctrl+J)`}
        type="button"
      >
        <PanelRight aria-hidden="true" size={14} />
      </button>
    </footer>
  )
}

/** "Saved" only after COMMIT: a command's promise resolves no earlier. */
function SaveState() {
  const { t } = useTranslation()
  const pending = useWork((work) => work.pending)
  const error = useWork((work) => work.saveError)
  const state = pending > 0 ? 'saving' : error !== null ? 'error' : 'saved'
  const Icon = { saving: LoaderCircle, error: CircleAlert, saved: Check }[state]
  return (
    <span className={`save-state ${state}`}>
      <Icon aria-hidden="true" size={14} />
      <span className="cut" role="status">
        {state === 'error' ? error : t(`status.${state}`)}
      </span>
    </span>
  )
}

/** The newest long job with its cancel; short ones never show. */
function Jobs() {
  const jobs = useWork((work) => work.jobs)
  const job = jobs.at(-1)
  return job === undefined ? null : <JobLine job={job} key={job.id} more={jobs.length - 1} />
}

const SHOW_AFTER_MS = 250

function JobLine({ job, more }: { job: Job; more: number }) {
  const { t } = useTranslation()
  const [shown, setShown] = useState(false)
  useEffect(() => {
    const timer = setTimeout(() => setShown(true), SHOW_AFTER_MS)
    return () => clearTimeout(timer)
  }, [])
  if (!shown) return null
  const numbers = job.total === null ? '' : ` ${job.done} / ${job.total}`
  const words = job.note === '' ? job.title : job.note
  return (
    <span className="job">
      <span className="cut">
        {words}
        {numbers}
        {more > 0 ? ` (+${more})` : ''}
      </span>
      <ProgressLine done={job.done} label={job.title} total={job.total} />
      <button
        aria-label={`${t('jobs.cancel')}: ${job.title}`}
        className="button quiet icon small"
        onClick={job.cancel}
        title={t('jobs.cancel')}
        type="button"
      >
        <X aria-hidden="true" size={13} />
      </button>
    </span>
  )
}
