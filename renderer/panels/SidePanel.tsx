/** The right column: regions, facts or history above, the talk below. */
import { useTranslation } from 'react-i18next'
import { useRegions } from '../stores/selectors.ts'
import { type RightTab, useView } from '../stores/view.ts'
import { HistoryPanel } from './HistoryPanel.tsx'
import { InfoPanel } from './InfoPanel.tsx'
import { RegionList } from './RegionList.tsx'
import { TalkPanel } from './TalkPanel.tsx'
import './sidePanel.css'

const TABS: readonly RightTab[] = ['regions', 'info', 'history']

export function SidePanel() {
  const { t } = useTranslation()
  const tab = useView((view) => view.rightTab)
  const count = useRegions().length
  const select = (next: RightTab | undefined) => next !== undefined && useView.setState({ rightTab: next })
  return (
    <>
      <div
        className="tabs"
        onKeyDown={(event) => {
          const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key]
          if (step === undefined) return
          event.preventDefault()
          select(TABS[(TABS.indexOf(tab) + step + TABS.length) % TABS.length])
          requestAnimationFrame(() => document.querySelector<HTMLElement>('.tab[aria-selected="true"]')?.focus())
        }}
        role="tablist"
      >
        {TABS.map((name) => (
          <button
            aria-controls="side-panel"
            aria-selected={tab === name}
            className="tab"
            id={`tab-${name}`}
            key={name}
            onClick={() => select(name)}
            role="tab"
            tabIndex={tab === name ? 0 : -1}
            type="button"
          >
            {name === 'regions' ? t('regions.tab', { count }) : t(`${name}.tab`)}
          </button>
        ))}
      </div>
      <div aria-labelledby={`tab-${tab}`} className="side-body" id="side-panel" role="tabpanel">
        {tab === 'regions' ? <RegionList /> : tab === 'info' ? <InfoPanel /> : <HistoryPanel />}
      </div>
      <TalkPanel />
    </>
  )
}
