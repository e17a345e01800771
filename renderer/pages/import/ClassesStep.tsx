/** Which class of the project each class of the file becomes. Data sets have a thousand of them: only what is in sight exists. */
import { useState } from 'react'
import { useTranslation } from 'react-i18next'
import type { ImportPlan } from '../../../electron/contract/api.ts'
import { chooseLater } from '../../actions/import.ts'
import { VirtualList } from '../../components/VirtualList.tsx'
import { type CategoryChoice, unknownTargets, useImport } from '../../stores/importing.ts'
import { useRecords } from '../../stores/records.ts'
import { useNumber } from './parts.tsx'

type Planned = ImportPlan['categories'][number]
const ROW_HEIGHT = 38
/** From here on a filter is worth its line. */
const FILTER_FROM = 12

/** Sets (or with null forgets) the choices of some classes. */
function setChoices(names: readonly string[], choice: CategoryChoice | null): void {
  const rest = Object.entries(useImport.getState().choices.categories).filter(([name]) => !names.includes(name))
  const given = choice === null ? [] : names.map((name) => [name, choice] as const)
  chooseLater({ categories: Object.fromEntries([...rest, ...given]) })
}

export function ClassesStep() {
  const { t } = useTranslation()
  const plan = useImport((state) => state.plan)
  const [filter, setFilter] = useState('')
  const all = plan?.categories ?? []
  const needle = filter.trim().toLowerCase()
  const shown = all.filter(({ name }) => name.toLowerCase().includes(needle))
  const names = shown.map(({ name }) => name)
  return (
    <>
      {all.length < FILTER_FROM ? null : (
        <div className="with-button">
          <input
            aria-label={t('import.filterClasses')}
            className="field"
            onChange={(event) => setFilter(event.target.value)}
            placeholder={t('import.filterClasses')}
            spellCheck={false}
            type="text"
            value={filter}
          />
          <button className="button" onClick={() => setChoices(names, { action: 'skip' })} type="button">
            {t('import.skipShown')}
          </button>
          <button className="button" onClick={() => setChoices(names, null)} type="button">
            {t('import.resetShown')}
          </button>
        </div>
      )}
      <div aria-hidden="true" className="class-row class-head dim">
        <span>{t('import.class')}</span>
        <span className="number">{t('import.annotations')}</span>
        <span>{t('import.what')}</span>
        <span>{t('import.into')}</span>
      </div>
      {shown.length === 0 ? <p className="dim list-empty">{t('import.noClass')}</p> : null}
      <VirtualList className="class-list" count={shown.length} label={t('import.classes')} rowHeight={ROW_HEIGHT}>
        {(index) => <ClassRow key={names[index]} planned={shown[index] as Planned} />}
      </VirtualList>
      <ClassNames />
    </>
  )
}

/** The project's classes, offered while one types. */
function ClassNames() {
  const categories = useRecords((state) => state.categories)
  return (
    <datalist id="import-classes">
      {[...categories.values()].map(({ id, name }) => (
        <option key={id} value={name} />
      ))}
    </datalist>
  )
}

function ClassRow({ planned }: { planned: Planned }) {
  const { t } = useTranslation()
  const number = useNumber()
  const { name } = planned
  const choice = useImport((state) => state.choices.categories[name])
  const count = useImport((state) => state.classCounts.get(name)) ?? planned.annotations
  const categories = useRecords((state) => state.categories)
  const unknown = useImport((state) => state.choices.categories)[name]?.action === 'merge' && isUnknown(name)
  const action = choice?.action ?? planned.action
  const into = choice === undefined ? (planned.into ?? '') : (choice.into ?? '')
  const setAction = (next: string) => {
    if (next === 'skip') setChoices([name], { action: 'skip' })
    else if (next === 'create') setChoices([name], { action: 'create', into: name })
    else if (next === 'merge') {
      const alike = [...categories.values()].find((other) => other.name.toLowerCase() === name.toLowerCase())
      setChoices([name], { action: 'merge', ...(alike === undefined ? {} : { into: alike.name }) })
    }
  }
  return (
    <div className="class-row">
      <span className="cut" title={name}>
        {name}
      </span>
      <span className="number dim">{number(count)}</span>
      <select
        aria-label={t('import.actionOf', { name })}
        className="field"
        onChange={(event) => setAction(event.target.value)}
        value={action}
      >
        <option disabled={categories.size === 0} value="merge">
          {t('import.merge')}
        </option>
        <option value="create">{t('import.create')}</option>
        <option value="skip">{t('import.skip')}</option>
      </select>
      {action === 'skip' ? (
        <span />
      ) : (
        <input
          aria-invalid={unknown}
          aria-label={t('import.intoOf', { name })}
          className="field"
          list={action === 'merge' ? 'import-classes' : undefined}
          maxLength={200}
          onChange={(event) => {
            const text = event.target.value
            setChoices([name], { action, ...(text === '' ? {} : { into: text }) })
          }}
          spellCheck={false}
          title={unknown ? t('import.unknownClass') : undefined}
          type="text"
          value={into}
        />
      )}
    </div>
  )
}

function isUnknown(name: string): boolean {
  const classes = [...useRecords.getState().categories.values()].map((category) => category.name)
  return unknownTargets(useImport.getState(), classes).includes(name)
}
