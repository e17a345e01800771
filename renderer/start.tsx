/** Starts the window over a client that is set already. Shared with the harness. */
import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import type { Shell } from '../electron/transport/bridgeClient.ts'
import './styles/tokens.css'
import './styles/base.css'
import { App } from './App.tsx'
import { followDrops } from './actions/dropFiles.ts'
import { lookAgain } from './actions/loadImage.ts'
import { errorText } from './actions/save.ts'
import { startSync } from './actions/sync.ts'
import i18n, { speak } from './i18n/index.ts'
import { bindKeys, keepFocusOnClick } from './keys/bindKeys.ts'
import { run } from './keys/commands.ts'
import { Problem } from './pages/Problem.tsx'
import { rememberPlace } from './stores/place.ts'
import { useRecords } from './stores/records.ts'
import { followWidth, rememberLayout, useView } from './stores/view.ts'
import { notify } from './stores/work.ts'
import { followTheme } from './theme.ts'

const root = () => createRoot(document.getElementById('root') as HTMLElement)

/** Shows the window and keeps it equal to the services. */
export function start(): void {
  followTheme()
  rememberLayout()
  rememberPlace()
  followWidth()
  useRecords.subscribe(({ settings }) => speak(settings.language))
  bindKeys()
  keepFocusOnClick()
  followDrops()
  // back from another program, which may have changed the file
  window.addEventListener('focus', () => lookAgain(useView.getState().imageId))
  const { gromaticShell } = globalThis as { gromaticShell?: Shell }
  gromaticShell?.onMenu?.(run)
  root().render(
    <StrictMode>
      <App />
    </StrictMode>,
  )
  startSync().catch((error: unknown) => {
    useRecords.setState({ project: null })
    notify('error', errorText(error))
  })
}

/** A browser that came without the token: says what to do. */
export function showNoToken(): void {
  followTheme()
  root().render(<Problem title={i18n.t('app.cannotConnect')} text={i18n.t('app.noToken')} />)
}
