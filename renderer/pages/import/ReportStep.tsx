/** What came in and what did not; can be copied, and taken back. */
import { useTranslation } from 'react-i18next'
import type { Output } from '../../../electron/contract/api.ts'

import { planLines } from './planWords.ts'

export function ReportStep({
  result,
  path,
  formatName,
}: {
  result: Output<'transfer.import'>
  path: string
  formatName: string
}) {
  const { t } = useTranslation()
  const { plan, copied, seq } = result
  const { writes, leaves } = planLines(plan, t)
  const left = [...leaves, ...plan.notes]
  return (
    <div className="step-body">
      <p className="dim selectable examples">{t('import.from', { path, format: formatName })}</p>
      <ul className="plan-lines selectable">
        {seq === null ? <li>{t('import.nothingAdded')}</li> : writes.map((line) => <li key={line}>{line}</li>)}
        {copied > 0 ? <li>{t('import.copied', { count: copied })}</li> : null}
      </ul>
      {left.length === 0 ? null : (
        <ul className="plan-lines dim selectable">
          {left.map((line) => (
            <li key={line}>{line}</li>
          ))}
        </ul>
      )}
      {plan.problems.count === 0 ? null : (
        <ul aria-label={t('import.problems', { count: plan.problems.count })} className="row-list selectable">
          {plan.problems.first.map(({ where, reason }, index) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: two rows may have the same fault
            <li key={index}>
              <b>{where}</b> {reason}
            </li>
          ))}
        </ul>
      )}
    </div>
  )
}
