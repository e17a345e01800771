/** The menu of the window, on the native popover: it closes by itself and needs no layer of ours. */
import { EllipsisVertical } from 'lucide-react'
import { useRef } from 'react'
import { useTranslation } from 'react-i18next'
import { changeSettings, closeProject } from '../actions/project.ts'
import { CommandKeys } from '../components/Kbd.tsx'
import { run } from '../keys/commands.ts'
import type { CommandId } from '../keys/keymap.ts'
import { useRecords } from '../stores/records.ts'

export function AppMenu() {
  const { t } = useTranslation()
  const menu = useRef<HTMLDivElement>(null)
  const opened = useRecords((state) => Boolean(state.project))
  const { theme, language } = useRecords((state) => state.settings)
  const choose = (action: () => void) => () => {
    menu.current?.hidePopover()
    action()
  }
  const item = (label: string, action: () => void, command?: CommandId) => (
    <button className="menu-item" onClick={choose(action)} role="menuitem" type="button">
      <span>{label}</span>
      {command === undefined ? null : <CommandKeys command={command} />}
    </button>
  )
  const radio = (label: string, checked: boolean, action: () => void) => (
    <button aria-checked={checked} className="menu-item" onClick={choose(action)} role="menuitemradio" type="button">
      <span>{label}</span>
      {checked ? <span aria-hidden="true">✓</span> : null}
    </button>
  )
  return (
    <>
      <button
        aria-haspopup="menu"
        aria-label={t('top.menu')}
        className="button quiet icon"
        popoverTarget="app-menu"
        type="button"
      >
        <EllipsisVertical aria-hidden="true" size={16} />
      </button>
      <div
        aria-label={t('top.menu')}
        className="menu"
        id="app-menu"
        onKeyDown={(event) => {
          if (event.key !== 'ArrowDown' && event.key !== 'ArrowUp') return
          event.preventDefault()
          const items = [...(menu.current?.querySelectorAll<HTMLElement>('.menu-item') ?? [])]
          const at = items.indexOf(document.activeElement as HTMLElement)
          items[(at + (event.key === 'ArrowDown' ? 1 : -1) + items.length) % items.length]?.focus()
        }}
        onToggle={(event) => {
          if (event.newState === 'open') menu.current?.querySelector<HTMLElement>('.menu-item')?.focus()
        }}
        popover="auto"
        ref={menu}
        role="menu"
      >
        {item(t('menu.openFolder'), () => run('openFolder'), 'openFolder')}
        {item(t('menu.openProject'), () => run('openProject'))}
        {opened ? (
          <>
            {item(t('menu.rescan'), () => run('rescan'))}
            {item(t('menu.import'), () => run('import'), 'import')}
            {item(t('menu.export'), () => run('export'), 'export')}
            {item(t('menu.close'), () => void closeProject())}
          </>
        ) : null}
        <hr />
        {radio(t('settings.system'), theme === 'system', () => void changeSettings({ theme: 'system' }))}
        {radio(t('settings.light'), theme === 'light', () => void changeSettings({ theme: 'light' }))}
        {radio(t('settings.dark'), theme === 'dark', () => void changeSettings({ theme: 'dark' }))}
        <hr />
        {radio('English', language === 'en', () => void changeSettings({ language: 'en' }))}
        {radio('中文', language === 'zh', () => void changeSettings({ language: 'zh' }))}
        <hr />
        {item(t('menu.settings'), () => run('settings'))}
        {item(t('menu.keys'), () => run('keys'), 'keys')}
      </div>
    </>
  )
}
