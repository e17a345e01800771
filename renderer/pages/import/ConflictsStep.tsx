/** Images that have annotations already: what becomes of them is chosen, never assumed. */
import { useTranslation } from 'react-i18next'
import { chooseLater } from '../../actions/import.ts'
import { Choices } from '../../components/Choices.tsx'
import { useImport } from '../../stores/importing.ts'

export function ConflictsStep() {
  const { t } = useTranslation()
  const standing = useImport((state) => state.standing)
  const conflicts = useImport((state) => state.choices.conflicts)
  if (standing === null) return null
  const title = t('import.conflictTitle', { count: standing.images })
  return (
    <section className="step-body" data-issue="conflicts">
      <h3>{title}</h3>
      <p>
        {t('import.conflictNew', { count: standing.annotations })}{' '}
        {standing.humanAnnotations > 0 ? t('import.conflictHuman', { count: standing.humanAnnotations }) : null}
      </p>
      <p className="dim selectable examples">
        {standing.examples.join(', ')}
        {standing.images > standing.examples.length
          ? ` ${t('import.missingMore', { count: standing.images - standing.examples.length })}`
          : ''}
      </p>
      <Choices
        label={title}
        onChange={(value) => chooseLater({ conflicts: value })}
        options={[
          { value: 'add', label: t('import.add'), hint: t('import.addHint') },
          { value: 'skip', label: t('import.skipImages'), hint: t('import.skipImagesHint') },
          { value: 'replace', label: t('import.replace'), hint: t('import.replaceHint') },
        ]}
        value={conflicts}
      />
    </section>
  )
}
