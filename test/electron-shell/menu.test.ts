import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { labels, languageOf } from '../../electron/shell/labels.ts'
import { openLog } from '../../electron/shell/logFile.ts'
import {
  type MenuAction,
  type MenuItem,
  type MenuState,
  menuTemplate,
  pageCommands,
} from '../../electron/shell/menuTemplate.ts'
import { openTarget, openTargetFromArgs } from '../../electron/shell/openTarget.ts'

const state: MenuState = {
  platform: 'linux',
  labels: labels.en,
  theme: 'dark',
  projectOpen: true,
  recent: [{ path: '/p/a & b.gromatic', name: 'a & b' }],
  packaged: true,
}
const flat = (items: MenuItem[]): MenuItem[] => items.flatMap((item) => [item, ...flat(item.submenu ?? [])])
const build = (change: Partial<MenuState> = {}) => {
  const actions: MenuAction[] = []
  const menu = menuTemplate({ ...state, ...change }, (action) => actions.push(action))
  return { menu, actions, items: flat(menu) }
}
const platforms = ['linux', 'win32', 'darwin'] as const

describe('menu', () => {
  it('has the usual places', () => {
    const { file, edit, view, help, window } = labels.en
    expect(build().menu.map(({ label }) => label)).toEqual([file, edit, view, help])
    expect(build({ platform: 'darwin' }).menu.map(({ label }) => label)).toEqual([
      'Gromatic',
      file,
      edit,
      view,
      window,
      help,
    ])
  })

  it.each(platforms)('on %s every item does something, and no accelerator twice', (platform) => {
    const { items } = build({ platform, packaged: false })
    for (const item of items) {
      if (item.type === 'separator' || item.enabled === false) continue
      expect(item.click ?? item.role ?? item.submenu, item.label).toBeDefined()
      expect(item.label ?? item.role).toBeDefined()
    }
    const keys = items.flatMap(({ accelerator }) => accelerator ?? [])
    expect(new Set(keys).size).toBe(keys.length)
    expect(items.filter(({ role }) => role === 'quit')).toHaveLength(1)
    expect(items.filter(({ role }) => role === 'about')).toHaveLength(1)
  })

  it('tells what was chosen', () => {
    const { items, actions } = build()
    for (const item of items) item.click?.()
    expect(actions).toEqual([
      { kind: 'openFolder' },
      { kind: 'openProject' },
      { kind: 'openRecent', path: '/p/a & b.gromatic' },
      { kind: 'page', command: 'rescan' },
      { kind: 'page', command: 'import' },
      { kind: 'page', command: 'export' },
      { kind: 'closeProject' },
      { kind: 'page', command: 'settings' },
      { kind: 'page', command: 'undo' },
      { kind: 'page', command: 'redo' },
      { kind: 'theme', theme: 'system' },
      { kind: 'theme', theme: 'light' },
      { kind: 'theme', theme: 'dark' },
      { kind: 'page', command: 'keys' },
      { kind: 'showLogs' },
      { kind: 'aboutGroma' },
    ])
  })

  it('follows the state', () => {
    const byLabel = (items: MenuItem[], label: string) => items.find((item) => item.label === label)
    expect(byLabel(build({ projectOpen: false }).items, labels.en.export)?.enabled).toBe(false)
    expect(byLabel(build({ projectOpen: false }).items, labels.en.undo)?.enabled).toBe(true)
    expect(byLabel(build({ recent: [] }).items, labels.en.noRecent)?.enabled).toBe(false)
    expect(byLabel(build().items, 'a && b')).toBeDefined() // an ampersand is a mnemonic otherwise
    expect(
      build()
        .items.filter(({ checked }) => checked)
        .map(({ label }) => label),
    ).toEqual([labels.en.themeDark])
  })

  it('has no developer tools in a package', () => {
    const roles = (packaged: boolean) => build({ packaged }).items.map(({ role }) => role)
    expect(roles(true)).not.toContain('toggleDevTools')
    expect(roles(true)).not.toContain('reload')
    expect(roles(false)).toContain('toggleDevTools')
  })
})

describe('commands of the page', () => {
  it('are commands of its keymap', async () => {
    const { keymap } = (await import(new URL('../../renderer/keys/keymap.ts', import.meta.url).href)) as {
      keymap: { command: string }[]
    }
    const known = keymap.map(({ command }) => command)
    for (const command of pageCommands) expect(known).toContain(command)
  })
})

describe('labels', () => {
  it('are complete in every language', () => {
    for (const table of Object.values(labels)) {
      expect(Object.keys(table).sort()).toEqual(Object.keys(labels.en).sort())
      for (const text of Object.values(table)) expect(text.trim()).not.toBe('')
    }
  })
  it.each([
    [['zh-Hans-CN', 'en'], 'zh'],
    [['de-DE', 'en-GB'], 'en'],
    [['de-DE', 'zh-TW', 'en'], 'zh'],
    [['de-DE'], 'en'],
    [[], 'en'],
  ])('%j speaks %s', (preferred, expected) => expect(languageOf(preferred)).toBe(expected))
})

describe('what to open', () => {
  const base = mkdtempSync(join(tmpdir(), 'gromatic-open-'))
  afterAll(() => rmSync(base, { recursive: true }))
  const application = join(base, 'clone')
  const photos = join(base, 'my photos')
  mkdirSync(application)
  mkdirSync(photos)
  writeFileSync(join(base, 'work.gromatic'), '')
  writeFileSync(join(base, 'note.txt'), '')
  const from = (...args: string[]) => openTargetFromArgs(['/usr/bin/electron', ...args], base, application)

  it('knows projects and folders', () => {
    expect(openTarget(join(base, 'work.gromatic'))).toEqual({ kind: 'project', path: join(base, 'work.gromatic') })
    expect(openTarget(photos)).toEqual({ kind: 'folder', path: photos })
    expect(openTarget(join(base, 'note.txt'))).toBeNull()
    expect(openTarget(join(base, 'nothing'))).toBeNull()
    // Gone, but named: the person is told.
    expect(openTarget(join(base, 'gone.gromatic'))).toEqual({ kind: 'project', path: join(base, 'gone.gromatic') })
  })
  it('reads a command line', () => {
    expect(from(application)).toBeNull()
    expect(from(application, '--flag', 'work.gromatic')).toEqual({ kind: 'project', path: join(base, 'work.gromatic') })
    expect(from('--allow-file-access-from-files', application, photos)).toEqual({ kind: 'folder', path: photos })
    expect(from('note.txt', 'my photos')).toEqual({ kind: 'folder', path: photos })
    expect(from()).toBeNull()
  })
})

describe('log', () => {
  it('stays small and never throws', () => {
    const folder = mkdtempSync(join(tmpdir(), 'gromatic-log-'))
    const path = join(folder, 'logs', 'window.log')
    const log = openLog(path, () => new Date(0))
    log('info', 'first\nsecond')
    expect(readFileSync(path, 'utf8')).toBe('1970-01-01T00:00:00.000Z info first\n  second\n')
    for (let line = 0; line < 1200; line++) log('warn', 'x'.repeat(2000))
    expect(existsSync(`${path}.1`)).toBe(true)
    expect(statSync(path).size + statSync(`${path}.1`).size).toBeLessThan(2.2 * 1024 * 1024)
    rmSync(folder, { recursive: true })
    expect(() => log('error', 'the folder is gone')).not.toThrow()
  })
})
