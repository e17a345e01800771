/** Writing the work in another program's format: where, what, and afterwards what was written. Nothing is replaced unless one says so. */
import { type FormEvent, useState } from 'react'
import { useTranslation } from 'react-i18next'
import { type ExportReport, FormatName, type Progress } from '../../electron/contract/api.ts'
import { shell } from '../actions/project.ts'
import { errorText, isCancelled } from '../actions/save.ts'
import { client } from '../client.ts'
import { closeDialog, Dialog } from '../components/Dialog.tsx'
import { FormatFacts, useFormats } from '../components/FormatFacts.tsx'
import { ProgressLine } from '../components/ProgressLine.tsx'
import { Segmented } from '../components/Segmented.tsx'
import {
  type ExportChoices,
  exportInput,
  noFilter,
  parseSplit,
  rememberExport,
  rememberedExport,
  suggestedPath,
} from '../stores/exporting.ts'
import { useRecords } from '../stores/records.ts'
import { ExportFilterFields } from './ExportFilterFields.tsx'

export function ExportDialog() {
  const { t } = useTranslation()
  const projectPath = useRecords((state) => state.project?.path ?? '')
  const formats = useFormats()
  const [choices, setChoices] = useState(rememberedExport)
  const [filter, setFilter] = useState(noFilter)
  /** Null until one is typed: then it follows format and zip. */
  const [typed, setTyped] = useState<string | null>(null)
  const [overwrite, setOverwrite] = useState(false)
  const [problem, setProblem] = useState<string | null>(null)
  const [progress, setProgress] = useState<Progress | null>(null)
  const [abort, setAbort] = useState<AbortController | null>(null)
  const [report, setReport] = useState<ExportReport | null>(null)

  const format = formats.find(({ id }) => id === choices.format)
  const coco = { id: 'coco', shape: 'file', extension: '.json' } as const
  const path = typed ?? suggestedPath(projectPath, format ?? coco, choices.zip)
  const badSplit = parseSplit(choices.split) === null
  const change = (next: Partial<ExportChoices>) => {
    // a place that was typed for another kind of file would be the wrong one
    if (next.format !== undefined || next.zip !== undefined) setTyped(null)
    setChoices({ ...choices, ...next })
  }
  const write = async (event: FormEvent) => {
    event.preventDefault()
    if (abort !== null || badSplit || path.trim() === '') return
    const controller = new AbortController()
    setAbort(controller)
    setProblem(null)
    setProgress({ done: 0, total: null, note: '' })
    rememberExport(choices)
    try {
      const input = exportInput(path, overwrite, choices, filter)
      setReport(await client().run('transfer.export', input, { onProgress: setProgress, signal: controller.signal }))
    } catch (error) {
      if (!isCancelled(error)) setProblem(errorText(error))
    } finally {
      setAbort(null)
      setProgress(null)
    }
  }
  const native = shell()
  const isFolder = format?.shape === 'folder' && !choices.zip
  const check = (key: 'copyImages' | 'keepNames' | 'polygons' | 'proposals' | 'zip', disabled = false) => (
    <label className="check">
      <input
        checked={choices[key] && !disabled}
        disabled={disabled}
        onChange={(event) => change({ [key]: event.target.checked })}
        type="checkbox"
      />
      {t(`export.${key}`)}
    </label>
  )
  if (report !== null) return <Report onAgain={() => setReport(null)} report={report} />
  return (
    <Dialog
      className="export-dialog"
      footer={
        abort === null ? (
          <>
            <button className="button" onClick={closeDialog} type="button">
              {t('common.cancel')}
            </button>
            <button
              className="button primary"
              disabled={path.trim() === '' || badSplit}
              form="export-form"
              type="submit"
            >
              {t('export.write', { format: format?.name ?? '' })}
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
        <fieldset className="dialog-form plain" disabled={abort !== null}>
          <div className="form-row">
            <label htmlFor="export-format">{t('transfer.format')}</label>
            <select
              className="field"
              id="export-format"
              onChange={(event) => change({ format: FormatName.parse(event.target.value) })}
              value={choices.format}
            >
              {formats.map(({ id, name }) => (
                <option key={id} value={id}>
                  {name}
                </option>
              ))}
            </select>
            <FormatFacts format={format} />
          </div>
          <div className="form-row">
            <label htmlFor="export-path">{t(isFolder ? 'export.folder' : 'export.path')}</label>
            <div className="with-button">
              <input
                className="field"
                data-first=""
                id="export-path"
                onChange={(event) => setTyped(event.target.value)}
                onFocus={(event) => event.target.select()}
                spellCheck={false}
                type="text"
                value={path}
              />
              {native === null ? null : (
                <button
                  className="button"
                  onClick={() => void native.pickSave(path).then((chosen) => chosen !== null && setTyped(chosen))}
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
                onChange={(status) => change({ status })}
                options={[
                  { value: 'accepted', label: t('export.accepted') },
                  { value: 'all', label: t('export.all') },
                ]}
                value={choices.status}
              />
            </div>
          </div>
          <ExportFilterFields filter={filter} onChange={setFilter} />
          <div className="form-row">
            <label htmlFor="export-split">{t('export.split')}</label>
            <div className="with-button">
              <input
                aria-describedby="export-split-hint"
                aria-invalid={badSplit}
                className="field"
                id="export-split"
                onChange={(event) => change({ split: event.target.value })}
                placeholder={t('export.splitNone')}
                spellCheck={false}
                type="text"
                value={choices.split}
              />
              <input
                aria-label={t('export.seed')}
                className="field short"
                onChange={(event) => change({ seed: event.target.value })}
                placeholder={t('export.seed')}
                spellCheck={false}
                title={t('export.seed')}
                type="text"
                value={choices.seed}
              />
            </div>
            <span className={badSplit ? 'problem-text small' : 'dim small'} id="export-split-hint">
              {t('export.splitHint')}
            </span>
          </div>
          <div className="check-grid">
            {check('copyImages')}
            {check('keepNames', !choices.copyImages)}
            {check('proposals')}
            {check('zip')}
            {choices.format === 'coco' ? check('polygons') : null}
            <label className="check">
              <input checked={overwrite} onChange={(event) => setOverwrite(event.target.checked)} type="checkbox" />
              {t('export.overwrite')}
            </label>
          </div>
        </fieldset>
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
        <p className="problem-text" role="alert">
          {problem}
        </p>
      )}
    </Dialog>
  )
}

function Report({ report, onAgain }: { report: ExportReport; onAgain: () => void }) {
  const { t } = useTranslation()
  const own = report.files ?? [report.path]
  const files: [string, string | null][] = [
    ...own.map((path): [string, string] => [t('export.file'), path]),
    [t('export.rejectedFile'), report.rejectedPath],
    [t('export.captionsFile'), report.captionsPath],
  ]
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
            <div key={path}>
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
