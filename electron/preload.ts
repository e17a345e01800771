/**
 * Runs in the page's process, sandboxed, before the page. It hands over two small objects of functions; none of them
 * lets the page choose a channel, see an event object, or reach `ipcRenderer`.
 */
import { contextBridge, ipcRenderer, webUtils } from 'electron'
import { channels } from './shell/channels.ts'
import type { Bridge, Shell } from './transport/bridgeClient.ts'

/** What we use of the page's document; this file is compiled with Node's types, not the browser's. */
declare const document: {
  activeElement: { tagName: string; type?: string; isContentEditable?: boolean; readOnly?: boolean } | null
  execCommand(command: string): boolean
}

let connected = false
let onMessage: (message: string) => void = () => {}
let onConnection: (connected: boolean) => void = () => {}
let onMenu: (command: never) => void = () => {}

ipcRenderer.on(channels.message, (_event, message: unknown) => {
  if (typeof message === 'string') onMessage(message)
})
ipcRenderer.on(channels.connection, (_event, now: unknown) => {
  connected = now === true
  onConnection(connected)
})
ipcRenderer.on(channels.menu, (_event, command: unknown) => {
  if ((command === 'undo' || command === 'redo') && editsText()) document.execCommand(command)
  else onMenu(command as never)
})

/** Inputs without text in them, and so without a history of their own. */
const notText = ['button', 'checkbox', 'color', 'file', 'image', 'radio', 'range', 'reset', 'submit']

/** A text field keeps its own history: undoing a typing mistake must not undo an annotation. */
function editsText(): boolean {
  const element = document.activeElement
  if (element === null) return false
  const field =
    element.tagName === 'TEXTAREA' || (element.tagName === 'INPUT' && !notText.includes(element.type ?? 'text'))
  return element.isContentEditable === true || (field && element.readOnly !== true)
}

const bridge: Bridge = {
  send: (message) => {
    ipcRenderer.send(channels.message, String(message))
  },
  onMessage: (listener) => {
    onMessage = listener
  },
  onConnection: (listener) => {
    onConnection = listener
    listener(connected)
  },
}

const shell: Shell = {
  pickFolder: () => ipcRenderer.invoke(channels.pick, { kind: 'folder' }),
  pickProject: () => ipcRenderer.invoke(channels.pick, { kind: 'project' }),
  pickSave: (suggestedName) =>
    ipcRenderer.invoke(channels.pick, { kind: 'save', suggestedName: String(suggestedName) }),
  pathOf: (file) => webUtils.getPathForFile(file as Parameters<typeof webUtils.getPathForFile>[0]),
  onMenu: (listener) => {
    onMenu = listener
  },
}

contextBridge.exposeInMainWorld('gromaticBridge', bridge)
contextBridge.exposeInMainWorld('gromaticShell', shell)
ipcRenderer.send(channels.connect)
