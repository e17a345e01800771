/** Three columns between two bars. Columns resize and collapse; in a narrow window the right one is a drawer. */
import { useRef } from 'react'
import { useTranslation } from 'react-i18next'
import { CanvasView } from '../canvas/CanvasView.tsx'
import { Banners } from '../components/Banners.tsx'
import { Resizer } from '../components/Resizer.tsx'
import { DecisionBar } from '../panels/DecisionBar.tsx'
import { ImagesPanel } from '../panels/ImagesPanel.tsx'
import { SidePanel } from '../panels/SidePanel.tsx'
import { StatusBar } from '../panels/StatusBar.tsx'
import { ToolRail } from '../panels/ToolRail.tsx'
import { TopBar } from '../panels/TopBar.tsx'
import { rightShown, useView } from '../stores/view.ts'
import './workspace.css'

export function Workspace() {
  const { t } = useTranslation()
  const leftOpen = useView((view) => view.leftOpen)
  const rightOpen = useView(rightShown)
  const leftWidth = useView((view) => view.leftWidth)
  const rightWidth = useView((view) => view.rightWidth)
  const columns = useRef<HTMLDivElement>(null)
  return (
    <div className="workspace">
      <TopBar />
      <div className="columns" ref={columns}>
        {leftOpen ? (
          <>
            <aside className="column left" style={{ width: leftWidth }}>
              <ImagesPanel />
            </aside>
            <Resizer
              label={t('status.resizeImages')}
              max={420}
              min={180}
              onSize={(leftWidth) => useView.setState({ leftWidth })}
              side="left"
              size={leftWidth}
            />
          </>
        ) : null}
        <main className="middle">
          <Banners />
          <div className="stage-frame">
            <CanvasView />
            <ToolRail />
            <DecisionBar />
          </div>
        </main>
        {rightOpen ? (
          <>
            <Resizer
              label={t('status.resizePanel')}
              max={640}
              min={280}
              onSize={(rightWidth) => useView.setState({ rightWidth })}
              side="right"
              size={rightWidth}
            />
            <aside className="column right" style={{ width: rightWidth }}>
              <SidePanel />
            </aside>
          </>
        ) : null}
      </div>
      <StatusBar />
    </div>
  )
}
