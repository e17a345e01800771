/** Writing COCO: where, what, and afterwards what was written. Nothing is replaced unless one says so. */
import { type FormEvent, useState } from 'react'
import { useTranslation } from 'react-i18next'
import type { ExportReport, Progress } from '../../electron/contract/api.ts'
import { shell } from '../actions/project.ts'
import { errorText, isCancelled } from '../actions/save.ts'
import { client } from '../client.ts'
import { closeDialog, Dialog } from '../components/Dialog.tsx'
import { ProgressLine } from '../components/ProgressLine.tsx'
import { Segmented } from '../components/Segmented.tsx'
import { useRecords } from '../stores/records.ts'

/** The layout that training code expects, in a folder beside the project. Works for both kinds of slashes. */
function defaultPath(projectPath: string): string {
  const slash = projectPath.includes('\\') ? '\\' : '/'
  return [`${projectPath.replace(/\.gromatic$/, '')}-coco`, 'annotations', 'instances_train.json'].join(slash)
}

export function ExportDialog() {
  const { t } = useTranslation()
  const project = useRecords((state) => state.project)
  const [path, setPath] = useState(() => defaultPath(project?.path ?? ''))
  const [status, setStatus] = useState<'accepted' | 'all'>('accepted')
  const [copyImages, setCopyImages] = useState(false)
  const [overwrite, setOverwrite] = useState(false)
  const [problem, setProblem] = useState<string | null>(null)
  const [progress, setProgress] = useState<Progress | null>(null)
  const [abort, setAbort] = useState<AbortController | null>(null)
  const [report, setReport] = useState<ExportReport | null>(null)

  const write = async (event: FormEvent) => {
    event.preventDefault()
    const controller = new AbortController()
    setAbort(controller)
    setProblem(null)
    setProgress({ done: 0, total: null, note: '' })
    try {
      const input = { path: path.trim(), status, copyImages, overwrite }
      setReport(await client().run('transfer.export', input, { onProgress: setProgress, signal: controller.signal }))
    } catch (error) {
      if (!isCancelled(error)) setProblem(errorText(error))
    } finally {
      setAbort(null)
      setProgress(null)
    }
  }
  const native = shell()
  if (report !== null) return <Report onAgain={() => setReport(null)} report={report} />
  return (
    <Dialog
      footer={
        abort === null ? (
          <>
            <button className="button" onClick={closeDialog} type="button">
              {t('common.cancel')}
            </button>
            <button className="button primary" disabled={path.trim() === ''} form="export-form" type="submit">
              {t('export.write')}
            </button>
          </>
        ) : (
          <button className="button" onClick={() => abort.abort()} type="button">
            {t('common.cancel')}
          </button>
        )
      }
      locked={abort !== null}
      title={t('export.title')}
    >
      <form className="dialog-form" id="export-form" onSubmit={(event) => void write(event)}>
        <div className="form-row">
          <label htmlFor="export-path">{t('export.path')}</label>
          <div className="with-button">
            <input
              className="field"
              disabled={abort !== null}
              id="export-path"
              onChange={(event) => setPath(event.target.value)}
              onFocus={(event) => event.target.select()}
              spellCheck={false}
              type="text"
              value={path}
            />
            {native === null ? null : (
              <button
                className="button"
                onClick={() => void native.pickSave(path).then((chosen) => chosen !== null && setPath(chosen))}
                type="button"
              >
                {t('export.browse')}
              </button>
            )}
          </div>
        </div>
        <div className="form-row">
          <span className="label">{t('export.what')}</span>
          <div>
            <Segmented
              label={t('export.what')}
              onChange={setStatus}
              options={[
                { value: 'accepted', label: t('export.accepted') },
                { value: 'all', label: t('export.all') },
              ]}
              value={status}
            />
          </div>
        </div>
        <label className="check">
          <input checked={copyImages} onChange={(event) => setCopyImages(event.target.checked)} type="checkbox" />
          {t('export.copyImages')}
        </label>
        <label className="check">
          <input checked={overwrite} onChange={(event) => setOverwrite(event.target.checked)} type="checkbox" />
          {t('export.overwrite')}
        </label>
      </form>
      {progress === null ? null : (
        <div className="form-row">
          <span className="dim">
            {progress.note || t('export.writing')}
            {progress.total === null ? '' : ` ${progress.done} / ${progress.total}`}
          </span>
          <ProgressLine done={progress.done} label={t('export.writing')} total={progress.total} />
        </div>
      )}
      {problem === null ? null : (
        <p className="problem-text selectable" role="alert">
          {problem}
        </p>
      )}
    </Dialog>
  )
}

function Report({ report, onAgain }: { report: ExportReport; onAgain: () => void }) {
  const { t } = useTranslation()
  const files = [
    [t('export.file'), report.path],
    [t('export.captionsFile'), report.captionsPath],
    [t('export.rejectedFile'), report.rejectedPath],
  ] as const
  return (
    <Dialog
      footer={
        <>
          <button className="button" onClick={onAgain} type="button">
            {t('export.again')}
          </button>
          <button className="button primary" onClick={closeDialog} type="button">
            {t('export.close')}
          </button>
        </>
      }
      title={t('export.done')}
    >
      <p>
        {t('export.summary', { annotations: report.annotations, images: report.images, categories: report.categories })}
      </p>
      <dl className="report selectable">
        {files.map(([name, path]) =>
          path === null ? null : (
            <div key={name}>
              <dt>{name}</dt>
              <dd>{path}</dd>
            </div>
          ),
        )}
      </dl>
      {report.notes.length === 0 ? null : (
        <ul className="report dim selectable">
          {report.notes.map((note) => (
            <li key={note}>{note}</li>
          ))}
        </ul>
      )}
    </Dialog>
  )
}
