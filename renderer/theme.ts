/** Light or dark: what the person chose, else what the system says. Set on <html>, where the tokens look for it. */
import { useRecords } from './stores/records.ts'

const system = () => globalThis.matchMedia?.('(prefers-color-scheme: light)')

/** The theme on screen. */
export function shownTheme(): 'light' | 'dark' {
  const { theme } = useRecords.getState().settings
  if (theme !== 'system') return theme
  return system()?.matches ? 'light' : 'dark'
}

/** Keeps <html data-theme> right from now on. */
export function followTheme(): void {
  const apply = () => {
    const theme = shownTheme()
    if (document.documentElement.dataset.theme !== theme) document.documentElement.dataset.theme = theme
  }
  apply()
  useRecords.subscribe(apply)
  system()?.addEventListener('change', apply)
}
