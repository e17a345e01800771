/** Binds the services to one message port: a WebSocket, or a window behind Electron's IPC. */
import { api, type Client, type EventName, events, type JobName, type PlainName } from '../contract/api.ts'
import { AppError, toWireError } from '../contract/errors.ts'
import { ClientMessage, type ServerMessage } from './wire.ts'

/** One window, as the services see it. What `onMessage` delivers is not trusted. */
export interface ServerPort {
  send(message: ServerMessage): void
  onMessage(listener: (message: unknown) => void): void
  onClose(listener: () => void): void
}

/** Calls of one window that may be in flight at a time. */
const MAX_IN_FLIGHT = 256

/** Answers everything that comes over `port` and sends every event to it, until it closes. Its running jobs end with it. */
export function serveClient(client: Client, port: ServerPort): void {
  const running = new Map<number, AbortController>()
  const stops = (Object.keys(events) as EventName[]).map((name) =>
    client.on(name, (payload) => port.send({ type: 'event', name, payload })),
  )
  port.onClose(() => {
    for (const stop of stops) stop()
    for (const controller of running.values()) controller.abort()
    running.clear()
  })
  port.onMessage((raw) => {
    const parsed = ClientMessage.safeParse(raw)
    if (!parsed.success) {
      const id = (raw as { id?: unknown } | null)?.id
      if (Number.isSafeInteger(id)) {
        port.send({
          id: id as number,
          type: 'error',
          error: { code: 'INVALID_INPUT', message: 'Not a message of this application.' },
        })
      }
      return
    }
    const message = parsed.data
    if (message.type === 'cancel') running.get(message.id)?.abort()
    else void answer(client, port, running, message)
  })
}

async function answer(
  client: Client,
  port: ServerPort,
  running: Map<number, AbortController>,
  message: Exclude<ClientMessage, { type: 'cancel' }>,
): Promise<void> {
  const { id, name, input } = message
  const controller = new AbortController()
  try {
    if (running.has(id)) throw new AppError('INVALID_INPUT', `Message id ${id} is in use.`)
    if (running.size >= MAX_IN_FLIGHT) throw new AppError('ENGINE_BUSY', 'Too many calls at a time.')
    running.set(id, controller)
    try {
      const value = await invoke(client, name, input, {
        signal: controller.signal,
        onProgress: (progress) => port.send({ id, type: 'progress', value: progress }),
      })
      port.send({ id, type: 'result', value })
    } finally {
      running.delete(id)
    }
  } catch (error) {
    const { details: _stack, ...wire } = toWireError(error) // stacks stay in the log of this machine
    port.send({ id, type: 'error', error: wire })
  }
}

/** Any call of the contract by its name, job or not. @throws INVALID_INPUT for a name that is not in the contract */
export function invoke(
  client: Client,
  name: string,
  input: unknown,
  options: { onProgress?: (progress: unknown) => void; signal?: AbortSignal },
): Promise<unknown> {
  if (!Object.hasOwn(api, name)) throw new AppError('INVALID_INPUT', `There is no call named "${name}".`)
  const kind = api[name as keyof typeof api].kind
  // The client parses the input against the contract; types end at this edge.
  return kind === 'job'
    ? client.run(name as JobName, input as never, options as never)
    : client.call(name as PlainName, input as never)
}
