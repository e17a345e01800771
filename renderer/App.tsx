/** Which page: nothing yet, welcome, or the workspace; dialogs and notices above either. */
import { useTranslation } from 'react-i18next'
import { Banners } from './components/Banners.tsx'
import { Dialogs } from './pages/Dialogs.tsx'
import { Welcome } from './pages/Welcome.tsx'
import { Workspace } from './pages/Workspace.tsx'
import { useRecords } from './stores/records.ts'
import { useView } from './stores/view.ts'
import { useWork } from './stores/work.ts'

export function App() {
  const { t } = useTranslation()
  const opened = useRecords((state) => (state.project === undefined ? undefined : state.project !== null))
  const connected = useView((state) => state.connected)
  return (
    <>
      {opened === undefined ? (
        <main className="page">{connected ? <p className="dim late">{t('app.loading')}</p> : <Banners />}</main>
      ) : opened ? (
        <Workspace />
      ) : (
        <Welcome />
      )}
      <Dialogs />
      <DropZone />
      <Announcer />
    </>
  )
}

/** Shown while files are held over the window. */
function DropZone() {
  const { t } = useTranslation()
  const dropping = useView((state) => state.dropping)
  return dropping ? <div className="drop-zone">{t('transfer.drop')}</div> : null
}

/** Says what changed to those who cannot see it. */
function Announcer() {
  const text = useWork((state) => state.announcement)
  return (
    <div aria-live="polite" className="hidden-text">
      {text}
    </div>
  )
}
