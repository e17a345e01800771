/**
 * The window's way to the services. Runs in a browser: no Node here. Calls in flight are rejected when the connection
 * is lost; what happened meanwhile is read again by whoever listens to `onConnection`.
 */
import { api, type Client, type EventName, events } from '../contract/api.ts'
import { AppError, fromWireError } from '../contract/errors.ts'
import { type ClientMessage, imagePath, ServerMessage, SUBPROTOCOL, TOKEN_PREFIX } from './wire.ts'

/** What lies between: a WebSocket, or Electron's IPC. */
export interface ClientChannel {
  /** @throws when nothing can be sent now */
  send(message: ClientMessage): void
  onMessage(listener: (message: unknown) => void): void
  /** Told the present state at once, then every change. */
  onConnection(listener: (connected: boolean) => void): void
}

interface Pending {
  resolve: (value: unknown) => void
  reject: (error: Error) => void
  onProgress?: ((progress: unknown) => void) | undefined
}

/** A client over any channel. `imageUrl` makes an address from the path and query of an image. */
export function createChannelClient(channel: ClientChannel, imageUrl: (path: string) => string): Client {
  const pending = new Map<number, Pending>()
  const listeners = new Map<string, Set<(payload: never) => void>>()
  const connectionListeners = new Set<(connected: boolean) => void>()
  let nextId = 1
  let connected = false
  let everConnected = false
  let waiting: (() => void)[] = []
  let projectPath: string | null = null
  let imageVersion = 0

  /** Two projects have images of the same id: another project, another address. */
  const noteProject = (project: unknown) => {
    const path = (project as { path?: string } | null)?.path ?? null
    if (path !== null && path !== projectPath) {
      if (projectPath !== null) imageVersion++
      projectPath = path
    }
  }

  channel.onMessage((raw) => {
    const parsed = ServerMessage.safeParse(raw)
    if (!parsed.success) return
    const message = parsed.data
    if (message.type === 'event') {
      if (!Object.hasOwn(events, message.name)) return
      if (message.name === 'project.changed') noteProject(message.payload)
      for (const listener of listeners.get(message.name) ?? []) listener(message.payload as never)
      return
    }
    const call = pending.get(message.id)
    if (call === undefined) return
    if (message.type === 'progress') return call.onProgress?.(message.value)
    pending.delete(message.id)
    if (message.type === 'error') call.reject(fromWireError(message.error))
    else call.resolve(message.value)
  })

  channel.onConnection((now) => {
    if (now === connected) return
    connected = now
    if (now) {
      everConnected = true
      for (const start of waiting) start()
      waiting = []
    } else {
      const lost = new AppError('IO_FAILED', 'The connection to the application was lost.')
      for (const call of pending.values()) call.reject(lost)
      pending.clear()
    }
    for (const listener of connectionListeners) listener(now)
  })

  const start = (
    type: 'call' | 'run',
    name: string,
    input: unknown,
    onProgress?: Pending['onProgress'],
    signal?: AbortSignal,
  ) =>
    new Promise<unknown>((resolve, reject) => {
      if (signal?.aborted) return reject(new AppError('CANCELLED', 'Cancelled.'))
      const id = nextId++
      const onAbort = () => {
        if (connected) channel.send({ id, type: 'cancel' })
      }
      const settle = () => signal?.removeEventListener('abort', onAbort)
      const begin = () => {
        pending.set(id, {
          resolve: (value) => {
            settle()
            resolve(value)
          },
          reject: (error) => {
            settle()
            reject(error)
          },
          onProgress,
        })
        signal?.addEventListener('abort', onAbort)
        try {
          channel.send({ id, type, name, input })
        } catch (error) {
          pending.delete(id)
          reject(error as Error)
        }
      }
      if (connected) begin()
      else if (everConnected) reject(new AppError('IO_FAILED', 'Not connected to the application.'))
      else waiting.push(begin) // the very first calls may come before the connection is up
    })

  const client = {
    async call(name: string, input: unknown) {
      const output = await start('call', name, input)
      if (api[name as keyof typeof api]?.output === api['project.current'].output || name.startsWith('project.open'))
        noteProject(output)
      return output
    },
    run(
      name: string,
      input: unknown,
      options: { onProgress?: (progress: unknown) => void; signal?: AbortSignal } = {},
    ) {
      return start('run', name, input, options.onProgress, options.signal)
    },
    on(event: EventName, listener: (payload: never) => void) {
      const set = listeners.get(event) ?? new Set()
      listeners.set(event, set)
      set.add(listener)
      return () => set.delete(listener)
    },
    imageUrl: (imageId: number, width?: number, content = '') =>
      imageUrl(imagePath(imageId, width, `${imageVersion > 0 ? imageVersion : ''}${content.slice(0, 16)}`)),
    onConnection(listener: (connected: boolean) => void) {
      connectionListeners.add(listener)
      listener(connected)
      return () => connectionListeners.delete(listener)
    },
  }
  return client as unknown as Client
}

/** How long to wait before the n-th try to connect again, in milliseconds. */
const retryMs = (attempt: number) => Math.min(5_000, 250 * 2 ** attempt)

/**
 * Connects a browser window to served mode. `baseUrl` is the page's origin, `token` comes from the address's fragment.
 * `onRefused` is told when the token is refused: the application was started anew, with another one.
 */
export function connectWebSocket(baseUrl: string, token: string, onRefused?: () => void): Client {
  const origin = baseUrl.replace(/\/$/, '')
  let socket: WebSocket | null = null
  let attempt = 0
  let onMessage: (message: unknown) => void = () => {}
  let onConnection: (connected: boolean) => void = () => {}

  const connect = async () => {
    try {
      // The cookie is for <img> alone: everything else is asked with the token.
      const session = await fetch(`${origin}/session`, {
        method: 'POST',
        headers: { authorization: `Bearer ${token}` },
      })
      if (session.status === 401) onRefused?.()
      if (!session.ok) throw new Error(`session: ${session.status}`)
      const next = new WebSocket(`${origin.replace(/^http/, 'ws')}/socket`, [SUBPROTOCOL, TOKEN_PREFIX + token])
      socket = next
      next.onopen = () => {
        attempt = 0
        onConnection(true)
      }
      next.onmessage = (event) => onMessage(JSON.parse(String(event.data)))
      next.onclose = () => {
        onConnection(false)
        retry()
      }
    } catch {
      onConnection(false)
      retry()
    }
  }
  const retry = () => {
    socket = null
    setTimeout(() => void connect(), retryMs(attempt++))
  }

  const client = createChannelClient(
    {
      send(message) {
        if (socket?.readyState !== 1) throw new AppError('IO_FAILED', 'Not connected to the application.')
        socket.send(JSON.stringify(message))
      },
      onMessage: (listener) => {
        onMessage = listener
      },
      onConnection: (listener) => {
        onConnection = listener
      },
    },
    (path) => origin + path,
  )
  void connect()
  return client
}
