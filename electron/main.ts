/**
 * The desktop application: one window over the same services that served mode and the command line use. What is allowed
 * is decided in shell/policy.ts and asserted there; this file connects those decisions to Electron and nothing more.
 */
import { createReadStream, mkdirSync } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { Readable } from 'node:stream'
import {
  app,
  BrowserWindow,
  crashReporter,
  dialog,
  Menu,
  nativeTheme,
  protocol,
  type Session,
  screen,
  session,
  shell,
  type WebContents,
} from 'electron'
import type { Client, Settings } from './contract/api.ts'
import { toWireError } from './contract/errors.ts'
import { RestartBudget } from './engine/restartBudget.ts'
import { utilityProcessStarter } from './engine/utilityProcessStarter.ts'
import { serveIpc } from './ipcConnection.ts'
import { createServices, type Services } from './services/createServices.ts'
import { defaultHomeDir } from './services/homeDir.ts'
import { channels } from './shell/channels.ts'
import { labels, languageOf } from './shell/labels.ts'
import { openLog } from './shell/logFile.ts'
import { type MenuAction, menuTemplate } from './shell/menuTemplate.ts'
import { type OpenTarget, openTarget, openTargetFromArgs } from './shell/openTarget.ts'
import type { PickRequest } from './shell/pickRequest.ts'
import * as policy from './shell/policy.ts'
import { loadWindowState, MIN_SIZE, placeWindow, saveWindowState } from './shell/windowState.ts'

const homeDir = resolve(defaultHomeDir())
const log = openLog(join(homeDir, 'logs', 'window.log'))
const developerTools = !app.isPackaged
/** This file is out/electron/main.js in a clone and in a package. */
const builtDir = import.meta.dirname
const rendererRoot = join(builtDir, '..', 'renderer')
/** Where native-models/demo lies as plain files: beside the archive in a package. */
const filesRoot = join(builtDir, '..', '..').replace(/app\.asar$/, 'app.asar.unpacked')
const windowStatePath = join(homeDir, 'window.json')
/** Files and the model's engine are closed within this, or the process ends without them; what was saved stays saved. */
const CLOSE_WITHIN_MS = 8_000

let mainWindow: BrowserWindow | null = null
let services: Services | null = null
let words = labels.en
let settings: Settings | null = null
let projectOpen = false
let title = 'Gromatic'
/** No window before the session is hardened and its scheme answers. */
let policyInPlace = false
/** What to open once the services answer. */
let pendingTarget: OpenTarget | null = null

process.on('uncaughtException', (error) => {
  log('error', `uncaught: ${error.stack ?? error.message}`)
  dialog.showErrorBox(words.stopped, error.message)
  app.exit(1)
})
process.on('unhandledRejection', (reason) => log('error', `unhandled: ${(reason as Error)?.stack ?? String(reason)}`))

// Before `ready`, in the order in which they take effect.
app.enableSandbox()
for (const [name, value] of policy.COMMAND_LINE) app.commandLine.appendSwitch(name, value)
// Chromium's own files are kept apart from ours, in one home that GROMATIC_HOME moves as a whole.
mkdirSync(join(homeDir, 'chromium'), { recursive: true }) // setPath refuses a folder that is not there
app.setPath('userData', join(homeDir, 'chromium'))
app.setAppLogsPath(join(homeDir, 'logs'))
// Crash dumps are for this machine's owner: written, never sent.
crashReporter.start({ uploadToServer: false, productName: 'Gromatic' })
// What taskbars group windows by.
if (process.platform === 'win32') app.setAppUserModelId('com.gromatic.app')
if (process.platform === 'linux') app.setDesktopName('gromatic.desktop')
protocol.registerSchemesAsPrivileged([{ scheme: policy.SCHEME, privileges: policy.SCHEME_PRIVILEGES }])

if (app.requestSingleInstanceLock()) {
  wire()
  app.whenReady().then(start).catch(fail)
} else {
  app.quit() // the first instance gets our command line and comes to the front
}

/** Everything that may happen at any time, connected once. */
function wire(): void {
  app.on('web-contents-created', (_event, contents) => harden(contents))
  app.on('second-instance', (_event, argv, workingDirectory) => {
    showWindow()
    open(openTargetFromArgs(argv, workingDirectory, app.getAppPath()))
  })
  app.on('open-file', (event, path) => {
    event.preventDefault()
    showWindow()
    open(openTarget(path))
  })
  app.on('activate', showWindow)
  app.on('window-all-closed', () => {
    if (process.platform !== 'darwin') app.quit()
  })
  app.on('child-process-gone', (_event, { type, name, reason, exitCode }) =>
    log(reason === 'clean-exit' ? 'info' : 'error', `${name ?? type} is gone: ${reason} (${exitCode})`),
  )

  let closing = false
  app.on('will-quit', (event) => {
    event.preventDefault() // also a second time: the first may still be writing
    if (closing) return
    closing = true
    void close().finally(() => app.exit()) // which asks nobody again
  })
}

/** From `ready` to a window with services behind it. The window comes first: it says what is going on. */
async function start(): Promise<void> {
  words = labels[languageOf(app.getPreferredSystemLanguages())]
  hardenSession(session.defaultSession)
  const started = startServices()
  const ipc = serveIpc({
    ownContents: () => mainWindow?.webContents ?? null,
    client: started.then((ready) => ready.client),
    pick,
    log,
  })
  closeConnection = ipc.closeConnection
  session.defaultSession.protocol.handle(policy.SCHEME, (request) => answer(request, started))
  pendingTarget ??= openTargetFromArgs(process.argv, process.cwd(), app.getAppPath())
  policyInPlace = true
  createWindow()
  rebuildMenu([])

  services = await started
  services.startEngine()
  await follow(services.client)
  const target = pendingTarget
  pendingTarget = null
  open(target)
}
let closeConnection: () => void = () => {}

async function startServices(): Promise<Services> {
  return createServices({
    version: app.getVersion(),
    served: false,
    homeDir,
    appRoot: filesRoot,
    starter: utilityProcessStarter({
      entry: join(builtDir, 'engineProcess.js'),
      onOutput: (line) => log('info', `engine: ${line}`),
    }),
    onLog: log,
  })
}

/** Keeps menu, title and theme in step with the application. */
async function follow(client: Client): Promise<void> {
  const refresh = async () => rebuildMenu(await client.call('project.recent', {}))
  const onSettings = (now: Settings) => {
    settings = now
    words = labels[now.language]
    nativeTheme.themeSource = now.theme
    void refresh()
  }
  const onProject = (project: { name: string; path: string } | null) => {
    projectOpen = project !== null
    title = project === null ? 'Gromatic' : `${project.name} · Gromatic`
    mainWindow?.setTitle(title)
    if (process.platform === 'darwin') mainWindow?.setRepresentedFilename(project?.path ?? '')
    if (project !== null && process.platform !== 'linux') app.addRecentDocument(project.path)
    void refresh()
  }
  client.on('settings.changed', onSettings)
  client.on('project.changed', onProject)
  onProject(await client.call('project.current', {}))
  onSettings(await client.call('settings.get', {}))
}

function fail(error: unknown): void {
  log('error', `start failed: ${(error as Error)?.stack ?? String(error)}`)
  dialog.showErrorBox(words.cannotStart, (error as Error)?.message ?? String(error))
  app.exit(1)
}

async function close(): Promise<void> {
  closeConnection()
  const late = new Promise<void>((resolve) =>
    setTimeout(() => {
      log('error', 'Closing took too long and was given up.')
      resolve()
    }, CLOSE_WITHIN_MS),
  )
  try {
    await Promise.race([services?.close(), late])
  } catch (error) {
    log('error', `close failed: ${(error as Error).stack}`)
  }
}

// ---- the window

function createWindow(): void {
  const state = loadWindowState(windowStatePath)
  const primary = screen.getPrimaryDisplay()
  const others = screen.getAllDisplays().filter((display) => display.id !== primary.id)
  const bounds = placeWindow(
    state.bounds,
    [primary, ...others].map((display) => display.workArea),
  )
  const window = new BrowserWindow({
    ...bounds,
    minWidth: Math.min(MIN_SIZE.width, bounds.width),
    minHeight: Math.min(MIN_SIZE.height, bounds.height),
    show: false,
    title,
    // A package has its icon from the system; a clone's window would show Electron's.
    ...(developerTools ? { icon: join(filesRoot, 'build', 'icons', 'icon.png') } : {}),
    backgroundColor: nativeTheme.shouldUseDarkColors ? '#15171a' : '#f4f4f2',
    webPreferences: {
      ...policy.WEB_PREFERENCES,
      devTools: developerTools,
      preload: join(builtDir, 'preload.cjs'),
    },
  })
  mainWindow = window

  window.once('ready-to-show', () => {
    if (state.maximized) window.maximize() // shows it, too: not before there is something to see
    window.show()
    if (developerTools) console.log('gromatic: window shown') // the launcher and the tests wait for this line
  })
  window.on('page-title-updated', (event) => event.preventDefault())
  window.on('close', () => {
    const saved = saveWindowState(windowStatePath, {
      bounds: window.getNormalBounds(),
      maximized: window.isMaximized(),
    })
    if (!saved) log('warn', `${windowStatePath} could not be written.`)
  })
  window.on('closed', () => {
    closeConnection()
    if (mainWindow === window) mainWindow = null
  })
  window.on('unresponsive', () => log('warn', 'The window does not respond.'))

  const crashes = new RestartBudget(3, 60_000)
  window.webContents.on('render-process-gone', (_event, { reason, exitCode }) => {
    closeConnection()
    if (reason === 'clean-exit') return
    log('error', `The window's process is gone: ${reason} (${exitCode})`)
    crashes.count()
    if (!crashes.exhausted) return window.webContents.reload()
    void dialog
      .showMessageBox(window, { type: 'error', message: words.windowCrashed, buttons: [words.again, words.quit] })
      .then(({ response }) => {
        if (response !== 0) return app.quit()
        crashes.reset()
        window.webContents.reload()
      })
  })
  void window.loadURL(policy.INDEX_URL)
}

/** Brings the window to the front; macOS keeps the program without one. */
function showWindow(): void {
  if (mainWindow === null) {
    if (policyInPlace) createWindow()
    return
  }
  if (mainWindow.isMinimized()) mainWindow.restore()
  mainWindow.focus()
}

// ---- what pages may do

function harden(contents: WebContents): void {
  const tools = developerTools && contents.getType() === 'remote'
  contents.setWindowOpenHandler(({ url }) => {
    const { action, external } = policy.windowOpenDecision(url)
    openExternal(external)
    return { action }
  })
  contents.on('will-frame-navigate', (event) => {
    if (tools || (event.isMainFrame && policy.mayNavigate(event.url))) return
    event.preventDefault()
    if (event.isMainFrame) openExternal(policy.externalUrl(event.url))
  })
  contents.on('will-redirect', (event) => {
    if (!policy.isAppUrl(event.url)) event.preventDefault()
  })
  contents.on('will-attach-webview', (event) => event.preventDefault())
  contents.on('select-bluetooth-device', (event, _devices, callback) => {
    event.preventDefault()
    callback('')
  })
}

function hardenSession(own: Session): void {
  own.setPermissionRequestHandler((_contents, permission, callback) => callback(policy.permissionGranted(permission)))
  own.setPermissionCheckHandler((_contents, permission) => policy.permissionGranted(permission))
  own.setDevicePermissionHandler(() => false)
  own.setDisplayMediaRequestHandler((_request, callback) => callback(null))
  own.webRequest.onBeforeRequest(({ url }, callback) => callback({ cancel: !policy.mayRequest(url, developerTools) }))
  own.on('will-download', (event) => event.preventDefault())
}

function openExternal(url: string | null): void {
  if (url !== null) shell.openExternal(url).catch((error: Error) => log('warn', `${url}: ${error.message}`))
}

/** Answers `app://`: the bundle, and images by their id. */
async function answer(request: Request, started: Promise<Services>): Promise<Response> {
  const wanted = policy.route(request.method, request.url)
  const text = (status: number, reason: string) =>
    new Response(reason, { status, headers: policy.responseHeaders('text/plain; charset=utf-8') })
  try {
    switch (wanted.kind) {
      case 'refused':
        return text(wanted.status, wanted.reason)
      case 'file': {
        const path = await policy.resolveInside(rendererRoot, wanted.segments)
        if (path === null) return text(404, 'not part of the bundle')
        return new Response(await readFile(path), { headers: policy.responseHeaders(wanted.contentType) })
      }
      case 'image': {
        const picture = await (await started).picture(wanted.imageId, wanted.width)
        const headers = {
          ...policy.responseHeaders(picture.contentType),
          ETag: picture.etag,
          'Cache-Control': 'no-cache',
        }
        if (request.headers.get('if-none-match') === picture.etag) return new Response(null, { status: 304, headers })
        const { size } = await stat(picture.path)
        const body = Readable.toWeb(createReadStream(picture.path)) as ReadableStream
        return new Response(body, { headers: { ...headers, 'Content-Length': String(size) } })
      }
    }
  } catch (error) {
    const { code, message } = toWireError(error)
    log('warn', `${request.url}: ${message}`)
    return text(code === 'NOT_FOUND' || code === 'NO_PROJECT' ? 404 : 422, message)
  }
}

// ---- menu and dialogs

function rebuildMenu(recent: { path: string; name: string }[]): void {
  const template = menuTemplate(
    {
      platform: process.platform,
      labels: words,
      theme: settings?.theme ?? 'system',
      projectOpen,
      recent,
      packaged: app.isPackaged,
    },
    (action) => void act(action),
  )
  Menu.setApplicationMenu(Menu.buildFromTemplate(template))
}

async function act(action: MenuAction): Promise<void> {
  switch (action.kind) {
    case 'page':
      mainWindow?.webContents.send(channels.menu, action.command)
      return
    case 'openFolder':
    case 'openProject': {
      const kind = action.kind === 'openFolder' ? 'folder' : 'project'
      const path = await pick({ kind })
      return path === null ? undefined : open({ kind, path })
    }
    case 'openRecent':
      return open({ kind: 'project', path: action.path })
    case 'closeProject':
      return told(services?.client.call('project.close', {}))
    case 'theme':
      return told(services?.client.call('settings.set', { theme: action.theme }))
    case 'showLogs':
      shell.showItemInFolder(join(homeDir, 'logs', 'window.log'))
      return
    case 'aboutGroma':
      return openExternal(policy.externalUrl('https://groma-mllm.github.io/'))
    default:
      action satisfies never
  }
}

/** Opens a project or a folder; the page hears of it through the services' own events. */
function open(target: OpenTarget | null): void {
  if (target === null) return
  if (services === null) pendingTarget = target
  else {
    const name = target.kind === 'project' ? 'project.open' : 'project.openFolder'
    void told(services.client.call(name, { path: target.path }))
  }
}

/** Says what went wrong with something that was asked for outside the page. */
async function told(work: Promise<unknown> | undefined): Promise<void> {
  try {
    await work
  } catch (error) {
    const options = { type: 'error', message: words.cannotOpen, detail: (error as Error).message } as const
    await (mainWindow === null ? dialog.showMessageBox(options) : dialog.showMessageBox(mainWindow, options))
  }
}

/** A native dialog; null when it is dismissed. */
async function pick(request: PickRequest): Promise<string | null> {
  const filters = [{ name: words.projectFiles, extensions: ['gromatic'] }]
  if (request.kind === 'save') {
    const options = { title: words.pickSave, buttonLabel: words.save, defaultPath: request.suggestedName }
    const { canceled, filePath } = await (mainWindow === null
      ? dialog.showSaveDialog(options)
      : dialog.showSaveDialog(mainWindow, options))
    return canceled || filePath === '' ? null : filePath
  }
  const options: Electron.OpenDialogOptions =
    request.kind === 'folder'
      ? { title: words.pickFolder, buttonLabel: words.open, properties: ['openDirectory'] }
      : { title: words.pickProject, buttonLabel: words.open, properties: ['openFile'], filters }
  const { canceled, filePaths } = await (mainWindow === null
    ? dialog.showOpenDialog(options)
    : dialog.showOpenDialog(mainWindow, options))
  return canceled ? null : (filePaths[0] ?? null)
}
