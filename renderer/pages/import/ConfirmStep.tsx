/** The last look: everything that will be written, in words; then the writing. */
import { useTranslation } from 'react-i18next'
import { useImport } from '../../stores/importing.ts'
import { Counting } from './parts.tsx'
import { planLines } from './planWords.ts'

export function ConfirmStep() {
  const { t } = useTranslation()
  const { plan, checking, writing } = useImport()
  if (plan === null) return <Counting progress={checking} />
  const { writes, leaves } = planLines(plan, t)
  return (
    <div className={checking === null ? 'step-body' : 'step-body outdated'}>
      <Counting progress={checking} />
      <h3>{writes.length === 0 ? t('import.nothing') : t('import.will')}</h3>
      <ul className="plan-lines selectable">
        {writes.map((line) => (
          <li key={line}>{line}</li>
        ))}
      </ul>
      <ul className="plan-lines dim selectable">
        {[...leaves, ...plan.notes].map((line) => (
          <li key={line}>{line}</li>
        ))}
      </ul>
      {plan.refusal === null || checking !== null ? null : <p className="problem-text">{plan.refusal}</p>}
      <Counting label={t('import.writing')} progress={writing} />
    </div>
  )
}
