/** The import wizard. Enter goes on from anywhere; where something must be chosen first it says so and goes there. */
import { Check } from 'lucide-react'
import { type FormEvent, useEffect, useState } from 'react'
import { useTranslation } from 'react-i18next'
import {
  cancelImport,
  nextStep,
  pauseImport,
  previousStep,
  resumeImport,
  startImport,
  undoImport,
} from '../../actions/import.ts'
import { errorText } from '../../actions/save.ts'
import { closeDialog, Dialog } from '../../components/Dialog.tsx'
import { useFormats } from '../../components/FormatFacts.tsx'
import { blockedBy, hasChoices, IMPORT_STEPS, isPlanned, useImport } from '../../stores/importing.ts'
import { useRecords } from '../../stores/records.ts'
import { useWork } from '../../stores/work.ts'
import { CheckStep } from './CheckStep.tsx'
import { ClassesStep } from './ClassesStep.tsx'
import { ConfirmStep } from './ConfirmStep.tsx'
import { ConflictsStep } from './ConflictsStep.tsx'
import { planLines, reportText } from './planWords.ts'
import { ReportStep } from './ReportStep.tsx'
import { SourceStep } from './SourceStep.tsx'
import './import.css'

const FORM = 'import-form'
const bodies = {
  source: SourceStep,
  check: CheckStep,
  classes: ClassesStep,
  conflicts: ConflictsStep,
  import: ConfirmStep,
}

/** Where the next choice is to be made; else the button that goes on. */
function focusStep(issue: string | null): void {
  const inBody = (selector: string) => document.querySelector<HTMLElement>(`.import-dialog .dialog-body ${selector}`)
  const open = issue === null ? null : inBody(`[data-issue="${issue}"] :is(input, select)`)
  ;(open ?? inBody('[data-first]') ?? document.querySelector<HTMLElement>('.import-dialog [data-next]'))?.focus()
}

export function ImportDialog() {
  const { t } = useTranslation()
  const state = useImport()
  const { step, writing, result, problem, checking } = state
  /** Someone tried to go on although something is open. */
  const [told, setTold] = useState(false)
  const categories = useRecords((records) => records.categories)
  const blocked = blockedBy(
    state,
    [...categories.values()].map(({ name }) => name),
  )
  const finished = result !== null
  // biome-ignore lint/correctness/useExhaustiveDependencies: the focus follows the step, not what is chosen in it
  useEffect(() => {
    setTold(false)
    focusStep(step === 'conflicts' && blocked !== null ? 'conflicts' : null)
  }, [step, finished, writing === null])
  useEffect(() => {
    void resumeImport()
    return pauseImport
  }, [])

  const goOn = async (event: FormEvent) => {
    event.preventDefault()
    if (finished) return closeDialog()
    if (writing !== null) return
    if (step === 'import' && blocked === null) return startImport()
    if (await nextStep()) return
    setTold(true)
    const open = blockedBy(
      useImport.getState(),
      [...categories.values()].map(({ name }) => name),
    )
    if (open !== null && open !== 'counting') focusStep(open)
  }
  const Body = bodies[step]
  return (
    <Dialog
      className="import-dialog"
      footer={
        finished ? (
          <ReportFooter />
        ) : writing === null ? (
          <>
            <span className="import-told" role="alert">
              {told && blocked !== null ? t(`import.blocked.${blocked}`) : ''}
            </span>
            {step === 'source' ? null : (
              <button className="button" onClick={() => void previousStep()} type="button">
                {t('import.back')}
              </button>
            )}
            <button
              aria-disabled={blocked !== null}
              className={blocked === null ? 'button primary' : 'button primary waiting'}
              data-next=""
              form={FORM}
              type="submit"
            >
              {step === 'import' && state.plan !== null
                ? t('import.run', { count: state.plan.annotations.toAdd })
                : t('import.next')}
            </button>
          </>
        ) : (
          <button className="button" data-next="" onClick={cancelImport} type="button">
            {t('common.cancel')}
          </button>
        )
      }
      locked={writing !== null}
      title={t(finished ? 'import.done' : 'import.title')}
    >
      {finished ? null : <Steps />}
      <form className="import-body" id={FORM} onSubmit={(event) => void goOn(event)}>
        {finished ? <Report /> : <Body />}
      </form>
      {problem === null ? null : (
        <p className="problem-text" role="alert">
          {problem}
        </p>
      )}
      <p aria-live="polite" className="hidden-text">
        {!finished &&
        checking === null &&
        writing === null &&
        isPlanned(state) &&
        state.plan !== null &&
        step !== 'source'
          ? t('import.counted', { count: state.plan.annotations.inFile })
          : writing !== null
            ? t('import.writing')
            : result !== null
              ? t('import.imported', { count: result.plan.annotations.toAdd })
              : ''}
      </p>
    </Dialog>
  )
}

/** Where one is; steps that have nothing to choose are passed over, and look like it. */
function Steps() {
  const { t } = useTranslation()
  const state = useImport()
  const at = IMPORT_STEPS.indexOf(state.step)
  return (
    <ol aria-label={t('import.stepsLabel')} className="steps">
      {IMPORT_STEPS.map((step, index) => (
        <li
          aria-current={index === at ? 'step' : undefined}
          className={[
            index < at ? 'passed' : '',
            state.plan !== null && !hasChoices(state, step) ? 'nothing' : '',
          ].join(' ')}
          key={step}
        >
          <span aria-hidden="true" className="step-mark">
            {state.plan !== null && !hasChoices(state, step) ? (
              '–'
            ) : index < at ? (
              <Check size={11} strokeWidth={3} />
            ) : (
              index + 1
            )}
          </span>
          {t(`import.steps.${step}`)}
        </li>
      ))}
    </ol>
  )
}

function useReport() {
  const { t } = useTranslation()
  const { result, path } = useImport()
  const formats = useFormats()
  const formatName = formats.find(({ id }) => id === result?.plan.format)?.name ?? result?.plan.format ?? ''
  return { t, result, path, formatName }
}

function Report() {
  const { result, path, formatName } = useReport()
  return result === null ? null : <ReportStep formatName={formatName} path={path} result={result} />
}

function ReportFooter() {
  const { t, result, path, formatName } = useReport()
  const [told, setTold] = useState('')
  const [busy, setBusy] = useState(false)
  const [undone, setUndone] = useState(false)
  // a large import is taken back in view, and can be kept after all
  const turning = useWork((work) => work.jobs.find((job) => job.kind === 'undo'))
  if (result === null) return null
  const { seq } = result
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(reportText(result, path, formatName, t))
      setTold(t('import.copiedReport'))
    } catch {
      setTold(t('import.copyFailed'))
    }
  }
  const takeBack = async () => {
    if (seq === null) return
    setBusy(true)
    setTold(t('import.undoing'))
    try {
      const outcome = await undoImport(seq)
      setUndone(outcome === 'undone')
      setTold(t(`import.${outcome}`))
    } catch (error) {
      setTold(errorText(error))
    } finally {
      setBusy(false)
    }
  }
  return (
    <>
      <span aria-live="polite" className="import-told">
        {told}
        {turning?.total ? ` ${Math.floor((100 * turning.done) / turning.total)} %` : ''}
      </span>
      {turning === undefined ? null : (
        <button className="button" onClick={turning.cancel} type="button">
          {t('common.cancel')}
        </button>
      )}
      {seq === null || planLines(result.plan, t).writes.length === 0 ? null : (
        <button className="button" disabled={busy || undone} onClick={() => void takeBack()} type="button">
          {t('import.undo')}
        </button>
      )}
      <button className="button" onClick={() => void copy()} type="button">
        {t('import.copy')}
      </button>
      <button className="button primary" data-next="" form={FORM} type="submit">
        {t('import.close')}
      </button>
    </>
  )
}
