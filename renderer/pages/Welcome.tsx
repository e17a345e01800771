/** The first page: open something. No account, no wizard. */
import { FolderOpen, Images, ScrollText } from 'lucide-react'
import { useEffect, useState } from 'react'
import { useTranslation } from 'react-i18next'
import type { Output } from '../../electron/contract/api.ts'
import { chooseAndOpen, openFolder, openProject } from '../actions/project.ts'
import { client } from '../client.ts'
import { Banners } from '../components/Banners.tsx'
import { Mark } from '../components/Mark.tsx'
import { AppMenu } from '../panels/AppMenu.tsx'
import { EngineStatus } from '../panels/EngineStatus.tsx'
import '../panels/topBar.css'
import './pages.css'

export function Welcome() {
  const { t, i18n } = useTranslation()
  const [recent, setRecent] = useState<Output<'project.recent'>>([])
  const [samplesDir, setSamplesDir] = useState<string | null>(null)
  const [problem, setProblem] = useState<string | null>(null)
  const [busy, setBusy] = useState(false)
  useEffect(() => {
    client()
      .call('project.recent', {})
      .then(setRecent, () => setRecent([]))
    client()
      .call('app.info', {})
      .then(
        (info) => setSamplesDir(info.samplesDir),
        () => setSamplesDir(null),
      )
  }, [])
  const attempt = async (open: () => Promise<string | null>) => {
    setBusy(true)
    setProblem(await open())
    setBusy(false)
  }
  const date = new Intl.DateTimeFormat(i18n.language, { dateStyle: 'medium' })
  return (
    <main className="page">
      <Banners />
      <header className="page-bar">
        <EngineStatus />
        <AppMenu />
      </header>
      <div className="page-card">
        <Mark size={40} />
        <h1>{t('welcome.title')}</h1>
        <p className="dim lead">{t('welcome.lead')}</p>
        <div className="page-actions">
          <button
            className="button primary large"
            disabled={busy}
            onClick={() => void chooseAndOpen('folder')}
            type="button"
          >
            <FolderOpen aria-hidden="true" size={16} />
            {t('welcome.openFolder')}
          </button>
          <button className="button large" disabled={busy} onClick={() => void chooseAndOpen('project')} type="button">
            <ScrollText aria-hidden="true" size={16} />
            {t('welcome.openProject')}
          </button>
          {samplesDir === null ? null : (
            <button
              className="button large"
              disabled={busy}
              onClick={() => void attempt(() => openFolder(samplesDir))}
              type="button"
            >
              <Images aria-hidden="true" size={16} />
              {t('welcome.samples')}
            </button>
          )}
        </div>
        {problem === null ? null : (
          <p className="problem-text" role="alert">
            {problem}
          </p>
        )}
        <section className="recent">
          <h2>{t('welcome.recent')}</h2>
          {recent.length === 0 ? <p className="dim">{t('welcome.noRecent')}</p> : null}
          <ul>
            {recent.slice(0, 6).map((project) => (
              <li key={project.path}>
                <button
                  className="recent-row"
                  disabled={busy}
                  onClick={() => void attempt(() => openProject(project.path))}
                  type="button"
                >
                  <span className="cut">
                    <b>{project.name}</b> <span className="dim">{project.path}</span>
                  </span>
                  <span className="dim">{date.format(project.openedAt)}</span>
                </button>
              </li>
            ))}
          </ul>
        </section>
      </div>
    </main>
  )
}
