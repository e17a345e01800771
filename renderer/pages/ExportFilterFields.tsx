/** Which part of the project goes out: images by state and name, boxes by class and confidence. */
import { useTranslation } from 'react-i18next'
import { VirtualList } from '../components/VirtualList.tsx'
import type { ExportFilter } from '../stores/exporting.ts'
import { useRecords } from '../stores/records.ts'

interface Props {
  readonly filter: ExportFilter
  readonly onChange: (filter: ExportFilter) => void
}

const IMAGES = [
  ['all', 'allImages'],
  ['doneOnly', 'doneOnly'],
  ['withBoxesOnly', 'withBoxesOnly'],
] as const

export function ExportFilterFields({ filter, onChange }: Props) {
  const { t } = useTranslation()
  return (
    <>
      <div className="three-columns">
        <div className="form-row">
          <label htmlFor="export-images">{t('export.part')}</label>
          <select
            className="field"
            id="export-images"
            onChange={(event) => {
              const found = IMAGES.find(([value]) => value === event.target.value)
              if (found !== undefined) onChange({ ...filter, images: found[0] })
            }}
            value={filter.images}
          >
            {IMAGES.map(([value, word]) => (
              <option key={value} value={value}>
                {t(`export.${word}`)}
              </option>
            ))}
          </select>
        </div>
        <div className="form-row">
          <label htmlFor="export-name">{t('export.fileName')}</label>
          <input
            className="field"
            id="export-name"
            onChange={(event) => onChange({ ...filter, fileName: event.target.value })}
            spellCheck={false}
            type="text"
            value={filter.fileName}
          />
        </div>
        <div className="form-row">
          <label htmlFor="export-score">{t('export.minScore')}</label>
          <input
            className="field"
            id="export-score"
            max={1}
            min={0}
            onChange={(event) => {
              const minScore = event.target.valueAsNumber
              onChange({ ...filter, minScore: minScore >= 0 && minScore <= 1 ? minScore : 0 })
            }}
            step={0.05}
            type="number"
            value={filter.minScore}
          />
        </div>
      </div>
      <ClassFilter filter={filter} onChange={onChange} />
    </>
  )
}

const ROW_HEIGHT = 26

function ClassFilter({ filter, onChange }: Props) {
  const { t } = useTranslation()
  const categories = useRecords((state) => state.categories)
  const rows = [...categories.values()]
  const chosen = new Set(filter.categories)
  if (rows.length === 0) return null
  const toggle = (name: string) => {
    const next = chosen.has(name) ? filter.categories.filter((other) => other !== name) : [...filter.categories, name]
    onChange({ ...filter, categories: next })
  }
  return (
    <details className="class-filter">
      <summary>{chosen.size === 0 ? t('export.allClasses') : t('export.someClasses', { count: chosen.size })}</summary>
      <VirtualList className="class-checks" count={rows.length} label={t('export.classes')} rowHeight={ROW_HEIGHT}>
        {(index) => {
          const name = rows[index]?.name ?? ''
          return (
            <label className="check">
              <input checked={chosen.has(name)} onChange={() => toggle(name)} type="checkbox" />
              <span className="cut">{name}</span>
            </label>
          )
        }}
      </VirtualList>
    </details>
  )
}
