/** The classes with their number keys: renamed, recoloured and added in place. */
import { useState } from 'react'
import { useTranslation } from 'react-i18next'
import type { Category } from '../../db/records/records.ts'
import { save } from '../actions/save.ts'
import { takeRevision } from '../actions/sync.ts'
import { client } from '../client.ts'
import { Keys } from '../components/Kbd.tsx'
import { focusCanvas } from '../keys/commands.ts'
import { useRecords } from '../stores/records.ts'
import { categoriesByKey } from '../stores/selectors.ts'

export function ClassList() {
  const { t } = useTranslation()
  const categories = useRecords((state) => state.categories)
  const [name, setName] = useState('')
  const add = async () => {
    const made = await save(() => client().call('categories.create', { name: name.trim() }))
    if (made === undefined) return
    if (made.revision !== null) takeRevision(made.revision)
    setName('')
  }
  const rows = categoriesByKey(categories)
  return (
    <section>
      <h3>{t('info.classes')}</h3>
      {rows.length === 0 ? <p className="dim">{t('info.noClasses')}</p> : null}
      <ul className="classes">
        {rows.map((category, index) => (
          <ClassRow category={category} digit={index < 9 ? String(index + 1) : null} key={category.id} />
        ))}
      </ul>
      <input
        aria-label={t('info.add')}
        className="field"
        onChange={(event) => setName(event.target.value)}
        onKeyDown={(event) => {
          if (event.key === 'Enter' && name.trim() !== '') void add()
        }}
        placeholder={t('info.add')}
        type="text"
        value={name}
      />
    </section>
  )
}

function ClassRow({ category, digit }: { category: Category; digit: string | null }) {
  const { t } = useTranslation()
  const [name, setName] = useState<string | null>(null)
  const rename = async () => {
    const next = name?.trim() ?? ''
    setName(null)
    if (next === '' || next === category.name) return
    const revision = await save(() => client().call('categories.rename', { id: category.id, name: next }))
    if (revision !== undefined) takeRevision(revision)
  }
  const recolour = async (color: string) => {
    if (color === category.color) return
    const revision = await save(() => client().call('categories.setColor', { id: category.id, color }))
    if (revision !== undefined) takeRevision(revision)
  }
  return (
    <li>
      <input
        aria-label={t('info.colour', { name: category.name })}
        className="colour"
        defaultValue={category.color}
        key={category.color}
        onBlur={(event) => void recolour(event.target.value)}
        type="color"
      />
      <input
        aria-label={t('info.rename', { name: category.name })}
        className="field class-name"
        onBlur={() => void rename()}
        onChange={(event) => setName(event.target.value)}
        onKeyDown={(event) => {
          if (event.key === 'Escape') setName(null)
          if (event.key === 'Enter') focusCanvas()
        }}
        type="text"
        value={name ?? category.name}
      />
      {digit === null ? null : <Keys caps={[digit]} />}
    </li>
  )
}
