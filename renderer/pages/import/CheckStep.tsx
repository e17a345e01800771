/** What the file holds and what of it the project can take: counts, missing images, bad rows. */
import { useState } from 'react'
import { useTranslation } from 'react-i18next'
import type { ImportPlan } from '../../../electron/contract/api.ts'
import { choose } from '../../actions/import.ts'
import { Choices } from '../../components/Choices.tsx'
import { type ImportChoices, useImport } from '../../stores/importing.ts'
import { Counting, useNumber } from './parts.tsx'

export function CheckStep() {
  const { plan, checking } = useImport()
  return (
    <>
      <Counting progress={checking} />
      {plan === null ? null : (
        <div className={checking === null ? 'step-body' : 'step-body outdated'}>
          <Counts plan={plan} />
          <Problems plan={plan} />
          <Missing plan={plan} />
          <Options />
          <Notes notes={plan.notes} />
        </div>
      )}
    </>
  )
}

function Counts({ plan: { images, annotations, messages, categories } }: { plan: ImportPlan }) {
  const { t } = useTranslation()
  const number = useNumber()
  const rows: [string, number, string[]][] = [
    [
      t('import.images'),
      images.inFile,
      [
        t('import.matched', { count: images.matched }),
        ...(images.coming > 0 ? [t('import.coming', { count: images.coming })] : []),
        ...(images.missing > 0 ? [t('import.missing', { count: images.missing })] : []),
        ...(images.added > 0 ? [t('import.toAdd', { count: images.added })] : []),
      ],
    ],
    [
      t('import.annotations'),
      annotations.inFile,
      [
        t('import.toAdd', { count: annotations.toAdd }),
        ...(annotations.alreadyThere > 0 ? [t('import.alreadyThere', { count: annotations.alreadyThere })] : []),
        ...(annotations.leftOut > 0 ? [t('import.leftOut', { count: annotations.leftOut })] : []),
      ],
    ],
    [
      t('import.classes'),
      categories.length,
      (['create', 'merge', 'skip'] as const).flatMap((action) => {
        const count = categories.filter((category) => category.action === action).length
        const word = { create: 'newClasses', merge: 'mergedClasses', skip: 'leftOut' } as const
        return count === 0 ? [] : [t(`import.${word[action]}`, { count })]
      }),
    ],
  ]
  if (messages.inFile > 0)
    rows.push([t('import.sentences'), messages.inFile, [t('import.toAdd', { count: messages.toAdd })]])
  return (
    <table className="counts-table selectable">
      <thead className="hidden-text">
        <tr>
          <th />
          <th>{t('import.inFile')}</th>
        </tr>
      </thead>
      <tbody>
        {rows.map(([label, count, parts]) => (
          <tr key={label}>
            <th scope="row">{label}</th>
            <td className="number">{number(count)}</td>
            <td className="dim">{parts.join(' · ')}</td>
          </tr>
        ))}
      </tbody>
    </table>
  )
}

function Problems({ plan: { problems } }: { plan: ImportPlan }) {
  const { t } = useTranslation()
  const skipBad = useImport((state) => state.choices.skipBad)
  if (problems.count === 0) return null
  return (
    <section className="issue" data-issue="problems">
      <h3>{t('import.problems', { count: problems.count })}</h3>
      <ul aria-label={t('import.problems', { count: problems.count })} className="row-list selectable">
        {problems.first.map(({ where, reason }, index) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: two rows may have the same fault
          <li key={index}>
            <b>{where}</b> {reason}
          </li>
        ))}
      </ul>
      {problems.count > problems.first.length ? (
        <p className="dim">{t('import.problemsShown', { count: problems.first.length })}</p>
      ) : null}
      <label className="check">
        <input checked={skipBad} onChange={(event) => void choose({ skipBad: event.target.checked })} type="checkbox" />
        {t('import.skipBad')}
      </label>
    </section>
  )
}

function Missing({ plan: { images, refusal } }: { plan: ImportPlan }) {
  const { t } = useTranslation()
  const { missing, leaveRest } = useImport((state) => state.choices)
  const [folder, setFolder] = useState(useImport.getState().choices.picturesDir)
  const count = Math.max(images.missing, images.added) + images.coming
  if (count === 0 && missing === 'ask') return null
  const title = t('import.missingTitle', { count })
  const examples = images.missingExamples.slice(0, 8)
  const copying = (
    <div className="dialog-form">
      <div className="form-row">
        <label htmlFor="import-pictures">{t('import.picturesDir')}</label>
        <div className="with-button">
          <input
            className="field"
            id="import-pictures"
            onChange={(event) => setFolder(event.target.value)}
            onKeyDown={(event) => {
              if (event.key !== 'Enter' || folder === useImport.getState().choices.picturesDir) return
              event.preventDefault()
              void choose({ picturesDir: folder })
            }}
            spellCheck={false}
            type="text"
            value={folder}
          />
          <button className="button" onClick={() => void choose({ picturesDir: folder })} type="button">
            {t('import.lookFor')}
          </button>
        </div>
      </div>
      {leaveRest || (images.missing > 0 && refusal !== null) ? (
        <label className="check">
          <input
            checked={leaveRest}
            onChange={(event) => void choose({ leaveRest: event.target.checked })}
            type="checkbox"
          />
          {t('import.leaveRest')}
        </label>
      ) : null}
    </div>
  )
  return (
    <section className="issue" data-issue="missing">
      <h3>{title}</h3>
      {examples.length === 0 ? null : (
        <p className="dim selectable examples">
          {examples.join(', ')}
          {images.missing > examples.length
            ? ` ${t('import.missingMore', { count: images.missing - examples.length })}`
            : ''}
        </p>
      )}
      <Choices
        label={title}
        onChange={(value) => void choose({ missing: value, leaveRest: false })}
        options={[
          { value: 'skip', label: t('import.missingSkip') },
          { value: 'copy', label: t('import.missingCopy'), hint: t('import.missingCopyHint'), more: copying },
          { value: 'add', label: t('import.missingAdd'), hint: t('import.missingAddHint') },
        ]}
        value={missing}
      />
    </section>
  )
}

function Options() {
  const { t } = useTranslation()
  const { match, status } = useImport((state) => state.choices)
  return (
    <div className="two-columns">
      <Pick
        label={t('import.match')}
        name="match"
        options={[
          ['auto', t('import.matchAuto')],
          ['name', t('import.matchName')],
          ['hash', t('import.matchHash')],
          ['id', t('import.matchId')],
        ]}
        value={match}
      />
      <Pick
        label={t('import.status')}
        name="status"
        options={[
          ['asFile', t('import.statusAsFile')],
          ['accepted', t('import.statusAccepted')],
          ['proposed', t('import.statusProposed')],
        ]}
        value={status}
      />
    </div>
  )
}

interface PickProps<K extends 'match' | 'status'> {
  readonly name: K
  readonly label: string
  readonly value: ImportChoices[K]
  readonly options: readonly (readonly [ImportChoices[K], string])[]
}

function Pick<K extends 'match' | 'status'>({ name, label, value, options }: PickProps<K>) {
  return (
    <div className="form-row">
      <label htmlFor={`import-${name}`}>{label}</label>
      <select
        className="field"
        id={`import-${name}`}
        onChange={(event) => {
          const option = options.find(([id]) => id === event.target.value)
          if (option !== undefined) void choose({ [name]: option[0] })
        }}
        value={value}
      >
        {options.map(([id, text]) => (
          <option key={id} value={id}>
            {text}
          </option>
        ))}
      </select>
    </div>
  )
}

function Notes({ notes }: { notes: readonly string[] }) {
  const { t } = useTranslation()
  if (notes.length === 0) return null
  return (
    <section aria-label={t('import.notes')}>
      <ul className="notes dim selectable">
        {notes.map((note) => (
          <li key={note}>{note}</li>
        ))}
      </ul>
    </section>
  )
}
