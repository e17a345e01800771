/**
 * The application menu as data. What the page must decide (is a text field being edited? which dialog?) is sent to it as
 * a command; what only this process can do is done here. Accelerators repeat the window's own keys: a key that the page
 * has handled never reaches the menu.
 */
import type { Labels } from './labels.ts'

/** Commands for the window, by the names of its own keymap. */
export const pageCommands = ['undo', 'redo', 'import', 'export', 'rescan', 'settings', 'keys'] as const
export type PageCommand = (typeof pageCommands)[number]

export type MenuAction =
  | { kind: 'page'; command: PageCommand }
  | { kind: 'openFolder' | 'openProject' | 'closeProject' | 'showLogs' | 'aboutGroma' }
  | { kind: 'openRecent'; path: string }
  | { kind: 'theme'; theme: 'system' | 'light' | 'dark' }

/** The part of Electron's MenuItemConstructorOptions that we use. */
export interface MenuItem {
  label?: string
  role?:
    | 'cut'
    | 'copy'
    | 'paste'
    | 'selectAll'
    | 'reload'
    | 'toggleDevTools'
    | 'resetZoom'
    | 'zoomIn'
    | 'zoomOut'
    | 'togglefullscreen'
    | 'minimize'
    | 'zoom'
    | 'front'
    | 'about'
    | 'services'
    | 'hide'
    | 'hideOthers'
    | 'unhide'
    | 'quit'
    | 'help'
  type?: 'normal' | 'separator' | 'submenu' | 'radio'
  accelerator?: string
  checked?: boolean
  enabled?: boolean
  click?: () => void
  submenu?: MenuItem[]
}

export interface MenuState {
  platform: NodeJS.Platform
  labels: Labels
  theme: 'system' | 'light' | 'dark'
  projectOpen: boolean
  recent: ReadonlyArray<{ path: string; name: string }>
  /** A built application has no reload and no developer tools in its menu. */
  packaged: boolean
}

const separator: MenuItem = { type: 'separator' }
/** An ampersand marks the mnemonic on Windows and Linux; a file's name has none. */
const plain = (name: string) => name.replaceAll('&', '&&')

/** The whole menu; `act` is told what was chosen. */
export function menuTemplate(state: MenuState, act: (action: MenuAction) => void): MenuItem[] {
  const { labels, platform } = state
  const mac = platform === 'darwin'
  const page = (command: PageCommand, accelerator: string | null, enabled = state.projectOpen): MenuItem => ({
    label: labels[command],
    ...(accelerator === null ? {} : { accelerator }),
    enabled,
    click: () => act({ kind: 'page', command }),
  })

  const recent: MenuItem[] =
    state.recent.length === 0
      ? [{ label: labels.noRecent, enabled: false }]
      : state.recent.slice(0, 10).map(({ path, name }) => ({
          label: plain(name),
          click: () => act({ kind: 'openRecent', path }),
        }))

  const file: MenuItem = {
    label: labels.file,
    submenu: [
      { label: labels.openFolder, accelerator: 'CmdOrCtrl+O', click: () => act({ kind: 'openFolder' }) },
      { label: labels.openProject, accelerator: 'CmdOrCtrl+Shift+O', click: () => act({ kind: 'openProject' }) },
      { label: labels.openRecent, submenu: recent },
      separator,
      page('rescan', null),
      page('import', 'CmdOrCtrl+I'),
      page('export', 'CmdOrCtrl+E'),
      separator,
      { label: labels.closeProject, enabled: state.projectOpen, click: () => act({ kind: 'closeProject' }) },
      ...(mac ? [] : [separator, page('settings', 'Ctrl+,', true)]),
      ...(mac ? [] : [separator, { role: 'quit', label: labels.quit, accelerator: 'CmdOrCtrl+Q' } satisfies MenuItem]),
    ],
  }

  const edit: MenuItem = {
    label: labels.edit,
    submenu: [
      // Also without a project: a text field has its own undo.
      page('undo', 'CmdOrCtrl+Z', true),
      page('redo', mac ? 'Cmd+Shift+Z' : 'Ctrl+Y', true),
      separator,
      { role: 'cut', label: labels.cut },
      { role: 'copy', label: labels.copy },
      { role: 'paste', label: labels.paste },
      { role: 'selectAll', label: labels.selectAll },
    ],
  }

  const themeItem = (theme: MenuState['theme'], label: string): MenuItem => ({
    type: 'radio',
    label,
    checked: state.theme === theme,
    click: () => act({ kind: 'theme', theme }),
  })
  const view: MenuItem = {
    label: labels.view,
    submenu: [
      {
        label: labels.theme,
        submenu: [
          themeItem('system', labels.themeSystem),
          themeItem('light', labels.themeLight),
          themeItem('dark', labels.themeDark),
        ],
      },
      separator,
      { role: 'resetZoom', label: labels.actualSize },
      { role: 'zoomIn', label: labels.larger },
      { role: 'zoomOut', label: labels.smaller },
      separator,
      { role: 'togglefullscreen', label: labels.fullScreen },
      ...(state.packaged
        ? []
        : [
            separator,
            { role: 'reload', label: labels.reload } satisfies MenuItem,
            { role: 'toggleDevTools', label: labels.developerTools } satisfies MenuItem,
          ]),
    ],
  }

  const help: MenuItem = {
    label: labels.help,
    role: 'help',
    submenu: [
      page('keys', 'F1', true),
      separator,
      { label: labels.logs, click: () => act({ kind: 'showLogs' }) },
      { label: labels.aboutGroma, click: () => act({ kind: 'aboutGroma' }) },
      ...(mac ? [] : [separator, { role: 'about', label: labels.about } satisfies MenuItem]),
    ],
  }

  if (!mac) return [file, edit, view, help]
  const application: MenuItem = {
    label: 'Gromatic',
    submenu: [
      { role: 'about', label: labels.about },
      separator,
      page('settings', 'Cmd+,', true),
      separator,
      { role: 'services' },
      separator,
      { role: 'hide' },
      { role: 'hideOthers' },
      { role: 'unhide' },
      separator,
      { role: 'quit', label: labels.quit },
    ],
  }
  const window: MenuItem = {
    label: labels.window,
    submenu: [{ role: 'minimize' }, { role: 'zoom' }, separator, { role: 'front' }],
  }
  return [application, file, edit, view, window, help]
}
