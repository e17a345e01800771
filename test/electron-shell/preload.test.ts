/** The preload as it is shipped: one script, run here in an empty realm with a stand-in for Electron. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createContext, Script } from 'node:vm'
import { createBuilder } from 'vite'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const root = join(import.meta.dirname, '../..')
const folder = mkdtempSync(join(tmpdir(), 'gromatic-preload-'))
let code = ''

beforeAll(async () => {
  const builder = await createBuilder({ configFile: join(root, 'build/vite.electron.config.ts'), root })
  const environment = builder.environments.preload!
  environment.config.build.outDir = folder
  await builder.build(environment)
  expect(readdirSync(folder)).toEqual(['preload.cjs'])
  code = readFileSync(join(folder, 'preload.cjs'), 'utf8')
})
afterAll(() => rmSync(folder, { recursive: true }))

/** Runs the preload; `activeElement` is what the page has focused. */
function run(activeElement: object | null = null) {
  const sent: unknown[][] = []
  const listeners = new Map<string, (event: unknown, value: unknown) => void>()
  const exposed = new Map<string, Record<string, (...args: never[]) => unknown>>()
  const executed: string[] = []
  const required: string[] = []
  const ipcRenderer = {
    send: (...args: unknown[]) => sent.push(args),
    invoke: (...args: unknown[]) => {
      sent.push(args)
      return Promise.resolve('/picked')
    },
    on: (channel: string, listener: (event: unknown, value: unknown) => void) => listeners.set(channel, listener),
    sendSync: () => expect.unreachable(),
    postMessage: () => expect.unreachable(),
  }
  const electron = {
    ipcRenderer,
    webUtils: { getPathForFile: (file: { name: string }) => `/home/ada/${file.name}` },
    contextBridge: { exposeInMainWorld: (name: string, value: never) => exposed.set(name, value) },
  }
  const module = { exports: {} }
  const context = createContext({
    module,
    exports: module.exports,
    document: { activeElement, execCommand: (command: string) => executed.push(command) },
    require: (name: string) => {
      required.push(name)
      if (name !== 'electron') throw new Error(`a sandboxed preload has no ${name}`)
      return electron
    },
  })
  new Script(code).runInContext(context)
  const tell = (channel: string, value: unknown) => listeners.get(channel)!({ sender: ipcRenderer, ports: [] }, value)
  return { sent, listeners, exposed, executed, required, ipcRenderer, electron, tell }
}

describe('preload', () => {
  it('is one small script that needs nothing but Electron', () => {
    expect(code.length).toBeLessThan(8_000)
    expect(code).not.toMatch(/^\s*(import|export)\b/m)
    expect(run().required).toEqual(['electron'])
  })

  it('exposes functions only, none of them of Electron', () => {
    const { exposed, electron, ipcRenderer } = run()
    expect([...exposed.keys()]).toEqual(['gromaticBridge', 'gromaticShell'])
    expect(Object.keys(exposed.get('gromaticBridge')!)).toEqual(['send', 'onMessage', 'onConnection'])
    expect(Object.keys(exposed.get('gromaticShell')!)).toEqual([
      'pickFolder',
      'pickProject',
      'pickSave',
      'pathOf',
      'onMenu',
    ])
    const foreign = new Set<unknown>([electron, ipcRenderer, ...Object.values(ipcRenderer)])
    for (const api of exposed.values())
      for (const value of Object.values(api)) {
        expect(typeof value).toBe('function')
        expect(foreign.has(value)).toBe(false)
        expect(Object.keys(value)).toEqual([])
      }
  })

  it('returns nothing of Electron and hands on no event', () => {
    const { exposed, tell } = run()
    const bridge = exposed.get('gromaticBridge')!
    const got: unknown[][] = []
    const keep = (...args: unknown[]) => got.push(args)
    expect(bridge.onMessage!(keep as never)).toBeUndefined()
    expect(bridge.onConnection!(keep as never)).toBeUndefined()
    expect(exposed.get('gromaticShell')!.onMenu!(keep as never)).toBeUndefined()
    expect(bridge.send!('{}' as never)).toBeUndefined()
    tell('gromatic:connection', true)
    tell('gromatic:message', '{"type":"event"}')
    tell('gromatic:message', { not: 'text' })
    tell('gromatic:menu', 'export')
    expect(got).toEqual([[false], [true], ['{"type":"event"}'], ['export']])
  })

  it('lets the page choose no channel', async () => {
    const { exposed, sent } = run()
    const bridge = exposed.get('gromaticBridge')!
    const shell = exposed.get('gromaticShell')!
    bridge.send!('{"id":1}' as never, 'gromatic:pick' as never)
    bridge.send!({ toString: () => 'text' } as never)
    expect(await shell.pickFolder!()).toBe('/picked')
    expect(shell.pathOf!({ name: 'coco.json' } as never)).toBe('/home/ada/coco.json')
    await shell.pickSave!({ toString: () => 'coco.json' } as never)
    expect(sent).toEqual([
      ['gromatic:connect'],
      ['gromatic:message', '{"id":1}'],
      ['gromatic:message', 'text'],
      ['gromatic:pick', { kind: 'folder' }],
      ['gromatic:pick', { kind: 'save', suggestedName: 'coco.json' }],
    ])
  })

  it('tells a listener that comes late that the services answer', () => {
    const { exposed, tell } = run()
    tell('gromatic:connection', true)
    const states: boolean[] = []
    exposed.get('gromaticBridge')!.onConnection!(((now: boolean) => states.push(now)) as never)
    expect(states).toEqual([true])
  })

  it.each([
    [{ tagName: 'INPUT' }, ['undo'], []],
    [{ tagName: 'TEXTAREA' }, ['undo'], []],
    [{ tagName: 'DIV', isContentEditable: true }, ['undo'], []],
    [{ tagName: 'INPUT', readOnly: true }, [], ['undo']],
    [{ tagName: 'INPUT', type: 'range' }, [], ['undo']],
    [{ tagName: 'INPUT', type: 'checkbox' }, [], ['undo']],
    [{ tagName: 'CANVAS' }, [], ['undo']],
    [null, [], ['undo']],
  ])('undo with %j focused', (element, executedThere, toldPage) => {
    const { exposed, executed, tell } = run(element)
    const told: string[] = []
    exposed.get('gromaticShell')!.onMenu!(((command: string) => told.push(command)) as never)
    tell('gromatic:menu', 'undo')
    expect(executed).toEqual(executedThere)
    expect(told).toEqual(toldPage)
  })
})
