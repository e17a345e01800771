/** The window's end of the services inside Electron. Every message is checked for its sender before it is read. */
import { type IpcMainEvent, type IpcMainInvokeEvent, ipcMain, type WebContents } from 'electron'
import type { Client } from './contract/api.ts'
import { channels } from './shell/channels.ts'
import type { Log } from './shell/logFile.ts'
import { PickRequest } from './shell/pickRequest.ts'
import { isMessage, isTrustedSender } from './shell/policy.ts'
import { type ServerPort, serveClient } from './transport/serve.ts'

export interface IpcOptions {
  /** The one window's contents, null while there is none. */
  ownContents: () => WebContents | null
  /** Resolves when the services answer. */
  client: Promise<Client>
  /** Shows a native dialog; null when it is dismissed. */
  pick: (request: PickRequest) => Promise<string | null>
  log: Log
}

interface Connection {
  receive(message: unknown): void
  close(): void
}

/** Serves the window. Call once, before a page is loaded. */
export function serveIpc(options: IpcOptions): { closeConnection(): void } {
  const { ownContents, client, pick, log } = options
  let connection: Connection | null = null
  /** Distinguishes pages: a page that is gone before the services were ready must not be served. */
  let page = 0

  const trusted = (event: IpcMainEvent | IpcMainInvokeEvent): boolean => {
    const frame = event.senderFrame
    const ok = isTrustedSender({
      frameUrl: frame?.url ?? null,
      isMainFrame: frame !== null && frame.parent === null,
      fromOwnWindow: event.sender === ownContents(),
    })
    if (!ok) log('warn', `A message from ${frame?.url ?? 'a frame that is gone'} was refused.`)
    return ok
  }

  const closeConnection = () => {
    page++
    connection?.close()
    connection = null
  }

  ipcMain.on(channels.connect, (event) => {
    if (!trusted(event)) return
    closeConnection()
    const thisPage = page
    const contents = event.sender
    client.then(
      (services) => {
        if (thisPage !== page || contents.isDestroyed()) return
        connection = connectContents(services, contents)
        contents.send(channels.connection, true)
      },
      () => {}, // a start that failed is told in its own dialog
    )
  })

  ipcMain.on(channels.message, (event, text: unknown) => {
    if (!trusted(event)) return
    if (!isMessage(text)) return log('warn', 'A message of a wrong kind or size was refused.')
    let message: unknown
    try {
      message = JSON.parse(text)
    } catch {
      return log('warn', 'A message that is not JSON was refused.')
    }
    connection?.receive(message)
  })

  ipcMain.handle(channels.pick, async (event, request: unknown) => {
    if (!trusted(event)) return null
    const parsed = PickRequest.safeParse(request)
    return parsed.success ? await pick(parsed.data) : null
  })

  return { closeConnection }
}

/** Binds one page to the services, until it is closed. */
function connectContents(client: Client, contents: WebContents): Connection {
  let receive: (message: unknown) => void = () => {}
  const closeListeners: (() => void)[] = []
  let open = true
  const port: ServerPort = {
    send(message) {
      if (open && !contents.isDestroyed()) contents.send(channels.message, JSON.stringify(message))
    },
    onMessage: (listener) => {
      receive = listener
    },
    onClose: (listener) => closeListeners.push(listener),
  }
  serveClient(client, port)
  return {
    receive: (message) => receive(message),
    close() {
      open = false
      for (const listener of closeListeners) listener()
    },
  }
}
