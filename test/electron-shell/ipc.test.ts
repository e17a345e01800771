/** A page and the services over IPC: the shipped client on one side, the shipped server on the other, Electron stood in for. */
import { beforeEach, describe, expect, it, vi } from 'vitest'
import type { Client } from '../../electron/contract/api.ts'
import { AppError } from '../../electron/contract/errors.ts'
import { bridgeClient } from '../../electron/transport/bridgeClient.ts'

type Listener = (event: unknown, value?: unknown) => unknown
const ipc = vi.hoisted(() => ({ on: new Map<string, Listener>(), handle: new Map<string, Listener>() }))
vi.mock('electron', () => ({
  ipcMain: {
    on: (channel: string, listener: Listener) => ipc.on.set(channel, listener),
    handle: (channel: string, listener: Listener) => ipc.handle.set(channel, listener),
  },
}))
const { serveIpc } = await import('../../electron/ipcConnection.ts')

const page = { url: 'app://gromatic/index.html', parent: null }

function setUp(client: Partial<Record<keyof Client, unknown>> = {}) {
  const listeners = new Map<string, (payload: unknown) => void>()
  const stopped: string[] = []
  const services = {
    call: async (name: string, input: unknown) => ({ name, input }),
    run: async () => ({}),
    on: (event: string, listener: (payload: unknown) => void) => {
      listeners.set(event, listener)
      return () => stopped.push(event)
    },
    ...client,
  } as unknown as Client
  const log: string[] = []
  const picked: unknown[] = []
  let toPage: ((channel: string, value: unknown) => void) | null = null
  const contents = {
    isDestroyed: () => false,
    send: (channel: string, value: unknown) => toPage?.(channel, value),
  }
  const served = serveIpc({
    ownContents: () => contents as never,
    client: Promise.resolve(services),
    pick: async (request) => {
      picked.push(request)
      return '/photos'
    },
    log: (_level, message) => log.push(message),
  })
  const event = { sender: contents, senderFrame: page }

  /** Loads a page: what the preload and the page's own code do. */
  const load = () => {
    let message: (text: string) => void = () => {}
    let connection: (now: boolean) => void = () => {}
    toPage = (channel, value) => {
      if (channel === 'gromatic:message') message(value as string)
      if (channel === 'gromatic:connection') connection(value as boolean)
    }
    const loaded = bridgeClient({
      send: (text) => void ipc.on.get('gromatic:message')!(event, text),
      onMessage: (listener) => {
        message = listener
      },
      onConnection: (listener) => {
        connection = listener
        listener(false)
      },
    })
    ipc.on.get('gromatic:connect')!(event)
    return loaded
  }
  return { load, listeners, stopped, log, picked, event, contents, served }
}
beforeEach(() => {
  ipc.on.clear()
  ipc.handle.clear()
})

describe('the window over IPC', () => {
  it('calls, runs with progress, and hears events', async () => {
    const { load, listeners } = setUp({
      run: async (_name: string, _input: unknown, { onProgress }: { onProgress: (value: unknown) => void }) => {
        onProgress({ done: 1, total: 2, note: 'half' })
        return { added: 1, unchanged: 0, missing: 0, skipped: [] }
      },
    })
    const client = load()
    const connected: boolean[] = []
    client.onConnection((now) => connected.push(now))
    expect(await client.call('images.get', { id: 7 })).toEqual({ name: 'images.get', input: { id: 7 } })
    expect(connected).toEqual([false, true])
    const notes: string[] = []
    expect(await client.run('project.scan', {}, { onProgress: ({ note }) => notes.push(note) })).toMatchObject({
      added: 1,
    })
    expect(notes).toEqual(['half'])
    const heard: unknown[] = []
    client.on('images.changed', (payload) => heard.push(payload))
    listeners.get('images.changed')!({ ids: [1] })
    expect(heard).toEqual([{ ids: [1] }])
    expect(client.imageUrl(3, 256)).toBe('/images/3?width=256')
  })

  it('carries errors whole, but no stack', async () => {
    const { load } = setUp({
      call: async () => {
        throw new AppError('NO_PROJECT', 'Open a folder first.')
      },
    })
    const error = await load()
      .call('images.get', { id: 1 })
      .catch((thrown: AppError) => thrown)
    expect(error).toMatchObject({ code: 'NO_PROJECT', message: 'Open a folder first.', cause: undefined })
  })

  it('cancels a job by its signal', async () => {
    const { load } = setUp({
      run: (_name: string, _input: unknown, { signal }: { signal: AbortSignal }) =>
        new Promise((_resolve, reject) =>
          signal.addEventListener('abort', () => reject(new AppError('CANCELLED', 'Cancelled.'))),
        ),
    })
    const controller = new AbortController()
    const running = load().run('project.scan', {}, { signal: controller.signal })
    setTimeout(() => controller.abort(), 10)
    await expect(running).rejects.toMatchObject({ code: 'CANCELLED' })
  })

  it('ends what a page ran when the page is loaded again or closed', async () => {
    const aborted: string[] = []
    const { load, stopped, listeners, served } = setUp({
      run: (name: string, _input: unknown, { signal }: { signal: AbortSignal }) =>
        new Promise(() => signal.addEventListener('abort', () => aborted.push(name))),
    })
    const first = load()
    void first.run('project.scan', {})
    await vi.waitFor(() => expect(listeners.size).toBeGreaterThan(0))
    await new Promise((resolve) => setTimeout(resolve, 5))
    const second = load()
    expect(aborted).toEqual(['project.scan'])
    expect(stopped).toEqual([...listeners.keys()])
    expect(await second.call('app.info', {})).toMatchObject({ name: 'app.info' })
    served.closeConnection()
    expect(stopped.length).toBe(listeners.size * 2)
  })

  it('answers nobody else', async () => {
    const { load, event, log, picked } = setUp()
    let calls = 0
    const client = load()
    await client.call('app.info', {})
    const strangers: object[] = [
      { ...event, senderFrame: null },
      { ...event, senderFrame: { url: 'https://evil.example/', parent: null } },
      { ...event, senderFrame: { url: page.url, parent: page } },
      { ...event, sender: {} },
    ]
    for (const stranger of strangers) {
      ipc.on.get('gromatic:message')!(stranger, '{"id":1,"type":"call","name":"app.info","input":{}}')
      ipc.on.get('gromatic:connect')!(stranger)
      expect(await ipc.handle.get('gromatic:pick')!(stranger, { kind: 'folder' })).toBeNull()
      calls++
    }
    expect(log.filter((line) => line.includes('refused'))).toHaveLength(3 * calls)
    expect(picked).toEqual([])
    expect(await client.call('app.info', {})).toMatchObject({ name: 'app.info' }) // still connected
  })

  it('drops what is not a message', async () => {
    const { load, event, log } = setUp()
    const client = load()
    await client.call('app.info', {})
    for (const bad of [null, 5, '', '{', 'x'.repeat(2_000_000), { id: 1, type: 'call' }])
      ipc.on.get('gromatic:message')!(event, bad)
    expect(log).toHaveLength(6)
    for (const odd of [
      '1',
      '[]',
      '{"id":1}',
      '{"id":"1","type":"call"}',
      '{"__proto__":{"x":1},"id":2,"type":"nothing"}',
    ])
      ipc.on.get('gromatic:message')!(event, odd)
    expect(await client.call('app.info', {})).toMatchObject({ name: 'app.info' })
    expect(({} as { x?: number }).x).toBeUndefined()
  })

  it('shows dialogs for well-formed requests only', async () => {
    const { event, picked } = setUp()
    const pick = (request: unknown) => ipc.handle.get('gromatic:pick')!(event, request)
    expect(await pick({ kind: 'save', suggestedName: 'coco.json' })).toBe('/photos')
    for (const bad of [null, 'folder', {}, { kind: 'delete' }, { kind: 'save' }, { kind: 'save', suggestedName: 5 }])
      expect(await pick(bad)).toBeNull()
    expect(picked).toEqual([{ kind: 'save', suggestedName: 'coco.json' }])
  })
})
