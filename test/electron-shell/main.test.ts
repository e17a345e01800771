/** The main process with a stand-in for Electron: is each rule of the policy connected, and is everything closed in the end? */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { labels } from '../../electron/shell/labels.ts'

const folder = mkdtempSync(join(tmpdir(), 'gromatic-main-'))
const picture = join(folder, 'picture.webp')

const fake = vi.hoisted(() => ({ order: [] as string[] }))

vi.mock('electron', async () => {
  const { EventEmitter } = await import('node:events')
  const record =
    (name: string) =>
    (...args: unknown[]) => {
      fake.order.push(name)
      state.calls[name] ??= []
      state.calls[name].push(args)
    }
  class FakeContents extends EventEmitter {
    openHandler: (details: { url: string }) => { action: string } = () => ({ action: 'allow' })
    sent: unknown[][] = []
    reloads = 0
    setWindowOpenHandler(handler: FakeContents['openHandler']) {
      this.openHandler = handler
    }
    getType() {
      return 'window'
    }
    isDestroyed() {
      return false
    }
    send(...args: unknown[]) {
      this.sent.push(args)
    }
    reload() {
      this.reloads++
    }
  }
  class FakeWindow extends EventEmitter {
    webContents = new FakeContents()
    options: Record<string, unknown>
    title = ''
    url = ''
    shown = false
    constructor(options: Record<string, unknown>) {
      super()
      this.options = options
      state.window = this
      state.app.emit('web-contents-created', {}, this.webContents)
    }
    show() {
      this.shown = true
    }
    setTitle(title: string) {
      this.title = title
    }
    setRepresentedFilename() {}
    getNormalBounds() {
      return { x: 1, y: 2, width: 1000, height: 700 }
    }
    isMaximized() {
      return false
    }
    isMinimized() {
      return false
    }
    maximize() {}
    focus() {
      fake.order.push('focus')
    }
    loadURL(url: string) {
      this.url = url
      return Promise.resolve()
    }
  }
  let ready: () => void = () => {}
  const app = Object.assign(new EventEmitter(), {
    isPackaged: true,
    enableSandbox: record('enableSandbox'),
    commandLine: { appendSwitch: record('appendSwitch') },
    setPath: record('setPath'),
    setAppLogsPath: record('setAppLogsPath'),
    setAppUserModelId: record('setAppUserModelId'),
    setDesktopName: record('setDesktopName'),
    requestSingleInstanceLock: () => true,
    whenReady: () =>
      new Promise<void>((resolve) => {
        ready = () => {
          fake.order.push('ready')
          resolve()
        }
      }),
    getVersion: () => '1.2.3',
    getAppPath: () => '/clone',
    getPreferredSystemLanguages: () => ['zh-CN'],
    addRecentDocument: record('addRecentDocument'),
    quit: record('quit'),
    exit: record('exit'),
  })
  const protocolHandlers: Record<string, (request: Request) => Promise<Response>> = {}
  const handlers: Record<string, (...args: never[]) => unknown> = {}
  const keep = (name: string) => (handler: (...args: never[]) => unknown) => {
    handlers[name] = handler
  }
  const defaultSession = Object.assign(new EventEmitter(), {
    setPermissionRequestHandler: keep('permissionRequest'),
    setPermissionCheckHandler: keep('permissionCheck'),
    setDevicePermissionHandler: keep('device'),
    setDisplayMediaRequestHandler: keep('displayMedia'),
    webRequest: { onBeforeRequest: keep('beforeRequest') },
    protocol: {
      handle: (scheme: string, handler: (request: Request) => Promise<Response>) => {
        protocolHandlers[scheme] = handler
      },
    },
  })
  const state = {
    app,
    ready: () => ready(),
    calls: {} as Record<string, unknown[][]>,
    window: null as unknown as FakeWindow,
    protocolHandlers,
    handlers,
    defaultSession,
    menus: [] as { label?: string; submenu?: never[] }[][],
  }
  const workArea = { x: 0, y: 0, width: 1600, height: 1000 }
  return {
    __state: state,
    app,
    BrowserWindow: FakeWindow,
    crashReporter: { start: record('crashReporter') },
    dialog: {
      showErrorBox: record('showErrorBox'),
      showMessageBox: (...args: unknown[]) => {
        record('showMessageBox')(...args)
        return Promise.resolve({ response: 0 })
      },
      showOpenDialog: (...args: unknown[]) => {
        record('showOpenDialog')(...args)
        return Promise.resolve({ canceled: false, filePaths: ['/photos'] })
      },
      showSaveDialog: (...args: unknown[]) => {
        record('showSaveDialog')(...args)
        return Promise.resolve({ canceled: true, filePath: '' })
      },
    },
    ipcMain: { on: () => {}, handle: () => {} },
    Menu: {
      buildFromTemplate: (template: never[]) => template,
      setApplicationMenu: (menu: never[]) => state.menus.push(menu),
    },
    nativeTheme: { shouldUseDarkColors: true, themeSource: 'system' },
    protocol: { registerSchemesAsPrivileged: record('registerSchemes') },
    screen: { getPrimaryDisplay: () => ({ id: 1, workArea }), getAllDisplays: () => [{ id: 1, workArea }] },
    session: { defaultSession },
    shell: {
      openExternal: (...args: unknown[]) => {
        record('openExternal')(...args)
        return Promise.resolve()
      },
      showItemInFolder: record('showItemInFolder'),
    },
    utilityProcess: { fork: record('fork') },
  }
})

const services = vi.hoisted(() => ({
  calls: [] as [string, unknown][],
  events: new Map<string, (payload: unknown) => void>(),
  options: null as unknown as Record<string, unknown>,
  closed: 0,
  engineStarts: 0,
  picture: '',
}))
vi.mock('../../electron/services/createServices.ts', async () => {
  const { AppError } = await import('../../electron/contract/errors.ts')
  return {
    createServices: async (options: Record<string, unknown>) => {
      services.options = options
      return {
        client: {
          call: async (name: string, input: unknown) => {
            services.calls.push([name, input])
            if (name === 'project.recent') return [{ path: '/p/a.gromatic', name: 'a', openedAt: 1 }]
            if (name === 'settings.get') return { theme: 'dark', language: 'en', proposeAhead: 3, model: 'demo' }
            if (name === 'project.open') throw new AppError('PROJECT_NEWER', 'Written by a newer version.')
            return null
          },
          on: (name: string, listener: (payload: unknown) => void) => services.events.set(name, listener),
        },
        picture: async (imageId: number) => {
          if (imageId === 404) throw new AppError('NOT_FOUND', 'There is no image 404.')
          if (imageId === 500) throw new AppError('IMAGE_UNREADABLE', 'Broken.')
          return { path: services.picture, contentType: 'image/webp', etag: '"abc"' }
        },
        startEngine: () => {
          services.engineStarts++
        },
        close: async () => {
          services.closed++
        },
      }
    },
  }
})

// biome-ignore lint/suspicious/noExplicitAny: the stand-in is as loose as the events it stands for
let state: any
const settle = () => new Promise((resolve) => setTimeout(resolve, 20))
const event = (more: object = {}) => {
  const made = { prevented: false, preventDefault: () => (made.prevented = true), ...more }
  return made
}

beforeAll(async () => {
  mkdirSync(join(folder, 'photos'))
  writeFileSync(picture, 'pixels')
  services.picture = picture
  vi.stubEnv('GROMATIC_HOME', folder)
  vi.spyOn(process, 'on').mockReturnValue(process) // the main process's last resorts are not the test runner's
  await import('../../electron/main.ts')
  vi.mocked(process.on).mockRestore()
  state = ((await import('electron')) as unknown as { __state: unknown }).__state
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe('main process', () => {
  it('is sandboxed, and has its scheme, before it is ready', async () => {
    expect(fake.order[0]).toBe('enableSandbox')
    expect(fake.order).toContain('registerSchemes')
    expect(fake.order).not.toContain('ready')
    expect(state.calls.crashReporter).toEqual([[expect.objectContaining({ uploadToServer: false })]])
    expect(state.calls.appendSwitch).toContainEqual(['host-resolver-rules', 'MAP * ~NOTFOUND'])
    state.app.emit('open-file', event(), join(folder, 'photos')) // a double-click that started the program
    state.ready()
    await settle()
  })

  it('opens one strict window on the bundle', () => {
    expect(state.window.url).toBe('app://gromatic/index.html')
    expect(state.window.options.webPreferences).toMatchObject({
      sandbox: true,
      contextIsolation: true,
      nodeIntegration: false,
      webviewTag: false,
      webSecurity: true,
      devTools: false,
      preload: expect.stringMatching(/preload\.cjs$/),
    })
    expect(state.window.shown).toBe(false)
    state.window.emit('ready-to-show')
    expect(state.window.shown).toBe(true)
    expect(services.options).toMatchObject({ served: false, version: '1.2.3', homeDir: folder })
    expect(services.engineStarts).toBe(1)
  })

  it('opens what it was asked for before it was ready', () => {
    expect(services.calls).toContainEqual(['project.openFolder', { path: join(folder, 'photos') }])
  })

  it('refuses every permission, device and capture', () => {
    const answers: unknown[] = []
    state.handlers.permissionRequest(null, 'media', (answer: unknown) => answers.push(answer), {})
    answers.push(state.handlers.permissionCheck(null, 'usb', '', {}))
    answers.push(state.handlers.device({ deviceType: 'hid' }))
    state.handlers.displayMedia({}, (answer: unknown) => answers.push(answer))
    expect(answers).toEqual([false, false, false, null])
    const download = event()
    state.defaultSession.emit('will-download', download)
    expect(download.prevented).toBe(true)
    const requests: unknown[] = []
    for (const url of ['app://gromatic/index.html', 'https://github.com/', 'devtools://devtools/x'])
      state.handlers.beforeRequest({ url }, (answer: unknown) => requests.push(answer))
    expect(requests).toEqual([{ cancel: false }, { cancel: true }, { cancel: true }])
  })

  it('keeps its contents where they are', () => {
    const contents = state.window.webContents
    const navigate = (url: string, isMainFrame = true) => {
      const happening = event({ url, isMainFrame })
      contents.emit('will-frame-navigate', happening)
      return happening.prevented
    }
    expect(navigate('app://gromatic/index.html')).toBe(false)
    expect(navigate('app://gromatic/index.html', false)).toBe(true)
    expect(navigate('https://evil.example/')).toBe(true)
    expect(navigate('file:///etc/passwd')).toBe(true)
    expect(state.calls.openExternal).toBeUndefined()
    expect(navigate('https://huggingface.co/')).toBe(true)
    expect(contents.openHandler({ url: 'https://github.com/FoundationVision/Groma' })).toEqual({ action: 'deny' })
    expect(contents.openHandler({ url: 'https://evil.example/' })).toEqual({ action: 'deny' })
    expect(state.calls.openExternal).toEqual([
      ['https://huggingface.co/'],
      ['https://github.com/FoundationVision/Groma'],
    ])
    for (const name of ['will-attach-webview', 'will-redirect']) {
      const happening = event({ url: 'https://evil.example/' })
      contents.emit(name, happening)
      expect(happening.prevented).toBe(true)
    }
    const chosen: string[] = []
    contents.emit('select-bluetooth-device', event(), [], (id: string) => chosen.push(id))
    expect(chosen).toEqual([''])
  })

  it('answers app:// with images by id, and nothing else', async () => {
    const get = (path: string, init?: RequestInit) =>
      state.protocolHandlers.app(new Request(`app://gromatic${path}`, init)) as Promise<Response>
    const image = await get('/images/3?width=64')
    expect(image.status).toBe(200)
    expect(image.headers.get('content-type')).toBe('image/webp')
    expect(image.headers.get('content-security-policy')).toContain("default-src 'none'")
    expect(await image.text()).toBe('pixels')
    expect((await get('/images/3', { headers: { 'if-none-match': '"abc"' } })).status).toBe(304)
    expect((await get('/images/404')).status).toBe(404)
    expect((await get('/images/500')).status).toBe(422)
    expect((await get('/nothing-of-ours.js')).status).toBe(404)
    expect((await get('/..%2fmain.js')).status).toBe(403)
    expect((await get('/index.html', { method: 'POST' })).status).toBe(405)
  })

  it('keeps menu, title and theme in step', async () => {
    const { nativeTheme } = (await import('electron')) as unknown as { nativeTheme: { themeSource: string } }
    expect(nativeTheme.themeSource).toBe('dark')
    expect(state.menus.at(-1)[0].label).toBe(labels.en.file)
    services.events.get('project.changed')!({ name: 'street', path: '/p/street.gromatic' })
    services.events.get('settings.changed')!({ theme: 'light', language: 'zh', proposeAhead: 0, model: 'demo' })
    await settle()
    expect(state.window.title).toBe('street · Gromatic')
    expect(state.calls.addRecentDocument ?? []).toEqual(process.platform === 'linux' ? [] : [['/p/street.gromatic']])
    expect(nativeTheme.themeSource).toBe('light')
    expect(state.menus.at(-1)[0].label).toBe(labels.zh.file)
  })

  it('tells the page its commands, and shows native dialogs', async () => {
    const items = state.menus.at(-1)[0].submenu as { label: string; click?: () => void }[]
    items.find(({ label }) => label === labels.zh.export)!.click!()
    expect(state.window.webContents.sent.at(-1)).toEqual(['gromatic:menu', 'export'])
    items.find(({ label }) => label === labels.zh.openFolder)!.click!()
    await settle()
    expect(state.calls.showOpenDialog.at(-1)[1]).toMatchObject({ properties: ['openDirectory'] })
    expect(services.calls.at(-1)).toEqual(['project.openFolder', { path: '/photos' }])
  })

  it('comes to the front for a second start, and says why something cannot be opened', async () => {
    state.app.emit('second-instance', event(), ['gromatic', 'gone.gromatic'], folder)
    await settle()
    expect(fake.order).toContain('focus')
    expect(services.calls.at(-1)).toEqual(['project.open', { path: join(folder, 'gone.gromatic') }])
    expect(state.calls.showMessageBox.at(-1)[1]).toMatchObject({ type: 'error', detail: 'Written by a newer version.' })
  })

  it('loads a crashed page again, but not for ever', async () => {
    const { webContents } = state.window
    for (let crash = 0; crash < 3; crash++)
      webContents.emit('render-process-gone', event(), { reason: 'crashed', exitCode: 5 })
    expect(webContents.reloads).toBe(3)
    const shown = state.calls.showMessageBox.length
    webContents.emit('render-process-gone', event(), { reason: 'oom', exitCode: 5 })
    expect(state.calls.showMessageBox).toHaveLength(shown + 1)
    await settle()
    expect(webContents.reloads).toBe(4) // "Try Again"
  })

  it('closes the services before it goes', async () => {
    state.window.emit('close')
    state.window.emit('closed')
    const quitting = event()
    state.app.emit('will-quit', quitting)
    expect(quitting.prevented).toBe(true)
    const again = event()
    state.app.emit('will-quit', again) // an impatient person
    expect(again.prevented).toBe(true)
    expect(state.calls.exit).toBeUndefined()
    await settle()
    expect(services.closed).toBe(1)
    expect(state.calls.exit).toEqual([[]])
  })
})
