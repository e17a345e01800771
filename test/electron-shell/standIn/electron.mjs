/**
 * As much of Electron as the built main process needs to run under Node. A utility process is a forked child; the page
 * is whoever forked this process: what it sends arrives as IPC, what the window is sent goes back.
 */
import { fork } from 'node:child_process'
import { EventEmitter } from 'node:events'

const nothing = () => {}
const contents = Object.assign(new EventEmitter(), {
  isDestroyed: () => false,
  getType: () => 'window',
  setWindowOpenHandler: nothing,
  reload: nothing,
  send: (channel, value) => process.send?.({ channel, value }),
})
const event = { sender: contents, senderFrame: { url: 'app://gromatic/index.html', parent: null } }

export class BrowserWindow extends EventEmitter {
  webContents = contents
  constructor() {
    super()
    app.emit('web-contents-created', {}, contents)
  }
  loadURL = async (url) => {
    process.send?.({ channel: 'loaded', value: url })
    this.emit('ready-to-show')
  }
  getNormalBounds = () => ({ x: 0, y: 0, width: 1200, height: 800 })
  isMaximized = () => false
  show = nothing
  setTitle = (title) => process.send?.({ channel: 'title', value: title })
  setRepresentedFilename = nothing
}

export const app = Object.assign(new EventEmitter(), {
  isPackaged: false,
  enableSandbox: nothing,
  commandLine: { appendSwitch: nothing },
  setPath: nothing,
  setAppLogsPath: nothing,
  setAppUserModelId: nothing,
  setDesktopName: nothing,
  requestSingleInstanceLock: () => true,
  whenReady: async () => {},
  getVersion: () => '0.0.0-test',
  getAppPath: () => process.cwd(),
  getPreferredSystemLanguages: () => ['en'],
  addRecentDocument: nothing,
  quit() {
    const quitting = { preventDefault: nothing }
    app.emit('will-quit', quitting)
  },
  exit: (code = 0) => process.exit(code),
})

const onIpc = new Map()
let answer
const defaultSession = Object.assign(new EventEmitter(), {
  setPermissionRequestHandler: nothing,
  setPermissionCheckHandler: nothing,
  setDevicePermissionHandler: nothing,
  setDisplayMediaRequestHandler: nothing,
  webRequest: { onBeforeRequest: nothing },
  protocol: {
    handle: (_scheme, handler) => {
      answer = handler
    },
  },
})

export const session = { defaultSession }
export const ipcMain = { on: (channel, listener) => onIpc.set(channel, listener), handle: nothing }
export const crashReporter = { start: nothing }
export const dialog = {
  showErrorBox: (title, text) => console.error(`${title}: ${text}`),
  showMessageBox: async (...args) => {
    console.error(JSON.stringify(args.at(-1)))
    return { response: 0 }
  },
}
export const Menu = { buildFromTemplate: (template) => template, setApplicationMenu: nothing }
export const nativeTheme = { shouldUseDarkColors: true, themeSource: 'system' }
export const protocol = { registerSchemesAsPrivileged: nothing }
const display = { id: 1, workArea: { x: 0, y: 0, width: 1600, height: 1000 } }
export const screen = { getPrimaryDisplay: () => display, getAllDisplays: () => [display] }
export const shell = {}

export const utilityProcess = {
  fork(entry, args) {
    const child = fork(entry, args, {
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      serialization: 'advanced',
      execArgv: [],
    })
    const { pid } = child
    return Object.assign(new EventEmitter(), {
      pid,
      stdout: child.stdout,
      stderr: child.stderr,
      postMessage: (message) => child.connected && child.send(message),
      kill: () => child.kill(),
      on(name, listener) {
        child.on(name, name === 'exit' ? (code) => listener(code ?? 1) : listener)
        return this
      },
    })
  },
}

process.on('message', async ({ channel, value }) => {
  if (channel === 'quit') return app.quit()
  if (channel !== 'get') return onIpc.get(channel)?.(event, value)
  const response = await answer(new Request(value))
  const bytes = (await response.arrayBuffer()).byteLength
  process.send({
    channel: 'got',
    value: { status: response.status, type: response.headers.get('content-type'), bytes },
  })
})
