/** The command bar: what is open, how far one is, what the model is doing, and what one can do. */
import { Redo2, Undo2 } from 'lucide-react'
import { useTranslation } from 'react-i18next'
import { CommandKeys } from '../components/Kbd.tsx'
import { Mark } from '../components/Mark.tsx'
import { run } from '../keys/commands.ts'
import { useRecords } from '../stores/records.ts'
import { useView } from '../stores/view.ts'
import { useWork } from '../stores/work.ts'
import { AppMenu } from './AppMenu.tsx'
import { EngineStatus } from './EngineStatus.tsx'
import './topBar.css'

export function TopBar() {
  const { t } = useTranslation()
  const project = useRecords((state) => state.project) ?? null
  const imageId = useView((view) => view.imageId)
  const proposing = useWork((work) => work.jobs.some((job) => job.kind === 'propose' && job.imageId === imageId))
  const missing = useRecords((state) => imageId === null || state.images.get(imageId)?.status !== 'ready')
  if (project === null) return null
  return (
    <header className="top-bar">
      <span className="brand">
        <Mark />
        <b>{t('app.name')}</b>
      </span>
      <span className="project-name" title={project.path}>
        {project.path.split(/[\\/]/).at(-1)}
      </span>
      <ProjectProgress />
      <span className="spring" />
      <EngineStatus />
      <div className="top-actions">
        <button
          aria-label={t('top.undo')}
          className="button quiet icon"
          disabled={project.undoLabel === null}
          onClick={() => run('undo')}
          title={`${t('top.undo')}${project.undoLabel === null ? '' : `: ${project.undoLabel}`}  (Backspace)`}
          type="button"
        >
          <Undo2 aria-hidden="true" size={16} />
        </button>
        <button
          aria-label={t('top.redo')}
          className="button quiet icon"
          disabled={project.redoLabel === null}
          onClick={() => run('redo')}
          title={`${t('top.redo')}${project.redoLabel === null ? '' : `: ${project.redoLabel}`}  (Ctrl+Shift+Z)`}
          type="button"
        >
          <Redo2 aria-hidden="true" size={16} />
        </button>
        <button className="button" disabled={proposing || missing} onClick={() => run('propose')} type="button">
          {t('top.propose')}
          <CommandKeys command="propose" />
        </button>
        <button className="button primary" onClick={() => run('export')} type="button">
          {t('top.export')}
        </button>
        <button
          aria-label={t('top.commands')}
          className="button palette-button"
          onClick={() => run('palette')}
          type="button"
        >
          <CommandKeys command="palette" />
        </button>
        <AppMenu />
      </div>
    </header>
  )
}

/** Done images, then images begun, as one line; in words beside it. */
function ProjectProgress() {
  const { t } = useTranslation()
  const project = useRecords((state) => state.project)
  const images = useRecords((state) => state.images)
  if (!project) return null
  let begun = 0
  for (const { done, counts } of images.values()) {
    if (!done && counts.accepted + counts.edited + counts.rejected > 0) begun++
  }
  const total = Math.max(1, project.imageCount)
  const words = t('top.counts', { done: project.doneCount, images: project.imageCount, decided: project.decidedCount })
  return (
    <>
      <div
        aria-label={t('top.progress')}
        aria-valuemax={project.imageCount}
        aria-valuemin={0}
        aria-valuenow={project.doneCount}
        aria-valuetext={words}
        className="project-progress"
        role="progressbar"
      >
        <i className="done" style={{ width: `${(100 * project.doneCount) / total}%` }} />
        <i className="begun" style={{ width: `${(100 * Math.min(begun, total - project.doneCount)) / total}%` }} />
      </div>
      <span className="counts dim">{words}</span>
    </>
  )
}
