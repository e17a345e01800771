/**
 * The window's client inside Electron. What crosses the context bridge is functions and strings only (an AbortSignal or a
 * zod schema cannot), so the preload offers a message pipe and the client is built from it on the page's side.
 */
import type { Client } from '../contract/api.ts'
import { AppError } from '../contract/errors.ts'
import { createChannelClient } from './client.ts'

/** `window.gromaticBridge`: the pipe to the services. */
export interface Bridge {
  /** One message of the transport as JSON text. */
  send(message: string): void
  onMessage(listener: (message: string) => void): void
  /** Told the present state at once, then every change. */
  onConnection(listener: (connected: boolean) => void): void
}

/** `window.gromaticShell`: what the desktop adds to the page. Each `pick` is a native dialog; null when it is dismissed. */
export interface Shell {
  pickFolder(): Promise<string | null>
  pickProject(): Promise<string | null>
  /** `suggestedName` is a file name, or a whole path to start from. */
  pickSave(suggestedName: string): Promise<string | null>
  /** Where a file lies that was dropped on the page; '' for what is no file of this machine. */
  pathOf(file: object): string
  /** Told the application menu's commands, by the keymap's names; a text field undoes by itself before this is asked. */
  onMenu(listener: (command: 'undo' | 'redo' | 'import' | 'export' | 'rescan' | 'settings' | 'keys') => void): void
}

/** Builds the client of a page in Electron: `bridgeClient(window.gromaticBridge)`. */
export function bridgeClient(bridge: Bridge): Client {
  let connected = false
  return createChannelClient(
    {
      send(message) {
        if (!connected) throw new AppError('IO_FAILED', 'Not connected to the application.')
        bridge.send(JSON.stringify(message))
      },
      onMessage: (listener) => bridge.onMessage((text) => listener(JSON.parse(text))),
      onConnection: (listener) =>
        bridge.onConnection((now) => {
          connected = now
          listener(now)
        }),
    },
    (path) => path, // the page and its images have one origin
  )
}
