/** Small parts that several steps share. */
import { useTranslation } from 'react-i18next'
import type { Progress } from '../../../electron/contract/api.ts'
import { ProgressLine } from '../../components/ProgressLine.tsx'

/** Writes numbers as the language does. */
export function useNumber(): (value: number) => string {
  const { i18n } = useTranslation()
  const format = new Intl.NumberFormat(i18n.language)
  return (value) => format.format(value)
}

const KILO = 1024
/** Counters of files are bytes: `12.4 MB of 447.0 MB`. */
const megabytes = (bytes: number): string => `${(bytes / KILO / KILO).toFixed(1)} MB`

/** How far a reading or writing is, in words and as a line. Nothing when none is under way. */
export function Counting({ progress, label }: { progress: Progress | null; label?: string }) {
  const { t } = useTranslation()
  if (progress === null) return null
  const words = progress.note || label || t('import.reading')
  const large = progress.total !== null && progress.total > KILO * KILO
  return (
    <div className="counting">
      <span className="dim">
        {words}
        {large && progress.total !== null ? `  ${megabytes(progress.done)} / ${megabytes(progress.total)}` : ''}
      </span>
      <ProgressLine done={progress.done} label={label ?? t('import.reading')} total={progress.total} />
    </div>
  )
}
