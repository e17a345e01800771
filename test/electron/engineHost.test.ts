/** The engine host against a real child process that misbehaves on request. */
import { afterEach, describe, expect, it } from 'vitest'
import type { EngineState } from '../../electron/contract/api.ts'
import type { EngineTask } from '../../electron/contract/engineProtocol.ts'
import { childProcessStarter } from '../../electron/engine/childProcessStarter.ts'
import { EngineHost, type EngineHostOptions } from '../../electron/engine/engineHost.ts'
import { times } from '../support/stress.ts'

const entry = new URL('../support/scriptedEngine.ts', import.meta.url).pathname
const model = { name: 'Scripted', modelDir: '/models/scripted', checkpointDir: null }
const image = { path: '/nowhere.png', key: 'k' }
type Ask = Extract<EngineTask, { kind: 'ask' }>
const ask = (question: string): Ask => ({ kind: 'ask', image, question, grounded: true, boxesCxcywh: [] })

let host: EngineHost
let states: EngineState[] = []
let pids = 0

function start(options: Partial<EngineHostOptions> = {}): EngineHost {
  const starter = childProcessStarter({ entry })
  pids = 0
  host = new EngineHost({
    starter: () => {
      pids++
      return starter()
    },
    ...options,
  })
  states = []
  host.onState((state) => states.push(state))
  return host
}
afterEach(() => host.close())

const until = async (holds: () => boolean, ms = 60_000) => {
  const end = Date.now() + ms
  while (!holds()) {
    if (Date.now() > end) throw new Error('waited in vain')
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}
const code = (promise: Promise<unknown>) =>
  promise.then(
    () => 'done',
    (error: { code: string }) => error.code,
  )

describe('engine host', () => {
  it('loads with the first task and answers', async () => {
    start().load(model)
    const answer = await host.run(ask('what?'))
    expect(answer.text).toContain('what?')
    expect(host.state()).toMatchObject({ status: 'ready', modelName: 'Scripted', provider: 'cpu' })
    expect(states.map(({ status }) => status)).toEqual(expect.arrayContaining(['loading', 'busy', 'ready']))
  })

  it('tells the process which picture comes next, once, and none that it has', async () => {
    const said: string[] = []
    start({ onLog: (_, message) => said.push(message) }).load(model)
    const about = (name: string): Ask => ({ ...ask('what?'), image: { path: `/${name}.png`, key: name } })
    await Promise.all(['a', 'a', 'b', 'b', 'c'].map((name) => host.run(about(name))))
    expect(said).toEqual(['next: /b.png', 'next: /c.png'])
  })

  it('refuses without a model, tells why a model cannot be loaded, and recovers with another', async () => {
    start()
    expect(await code(host.run(ask('x')))).toBe('NOT_FOUND')
    host.load({ ...model, modelDir: '/models/bad-model' })
    expect(await code(host.run(ask('x')))).toBe('MODEL_INVALID')
    expect(host.state()).toMatchObject({ status: 'failed', note: expect.stringContaining('manifest.json') })
    expect(await code(host.run(ask('x')))).toBe('MODEL_INVALID')
    host.load(model)
    expect((await host.run(ask('again'))).text).toContain('again')
  })

  it('works off one at a time, people before background', async () => {
    start().load(model)
    const order: string[] = []
    const run = (question: string, priority: 'foreground' | 'background') =>
      host.run(ask(question), { priority }).then(() => order.push(question))
    await Promise.all([
      run('b1', 'background'),
      run('b2', 'background'),
      run('f1', 'foreground'),
      run('f2', 'foreground'),
    ])
    expect(order).toEqual(['f1', 'f2', 'b1', 'b2'])
  })

  it('sets background work aside for a person and brings it back', async () => {
    start().load(model)
    const words: string[] = []
    const slow = host.run(ask('slow'), {
      priority: 'background',
      onProgress: (event) => event.kind === 'text' && words.push(event.text),
    })
    await until(() => words.length > 3)
    const startedAt = Date.now()
    await host.run(ask('quick'))
    expect(Date.now() - startedAt).toBeLessThan(2_000)
    expect((await slow).text).toContain('slow')
    expect(words.filter((word) => word === 'word 0')).toHaveLength(2)
    expect(pids).toBe(1)
  })

  it('cancels what waits at once and what runs at its next step', async () => {
    start().load(model)
    const running = new AbortController()
    const waiting = new AbortController()
    const first = code(host.run(ask('slow'), { signal: running.signal }))
    const second = code(host.run(ask('later'), { signal: waiting.signal }))
    await until(() => host.state().status === 'busy')
    waiting.abort()
    expect(await second).toBe('CANCELLED')
    running.abort()
    expect(await first).toBe('CANCELLED')
    expect((await host.run(ask('next'))).text).toContain('(load 1)')
    expect(pids).toBe(1)
    expect(await code(host.run(ask('x'), { signal: AbortSignal.abort() }))).toBe('CANCELLED')
  })

  it('kills what does not answer a cancel, and goes on without counting a crash', async () => {
    start({ cancelGraceMs: 150 }).load(model)
    for (let i = 0; i < times(2, 20); i++) {
      const controller = new AbortController()
      const hanging = code(host.run(ask('hang'), { signal: controller.signal }))
      await until(() => host.state().status === 'busy')
      controller.abort()
      expect(await hanging).toBe('CANCELLED')
    }
    expect((await host.run(ask('alive'))).text).toContain('alive')
    expect(host.state().status).toBe('ready')
  })

  it('kills a step past its deadline', async () => {
    start({ stepDeadlineMs: 300 }).load(model)
    await until(() => host.state().status === 'ready')
    const started = Date.now()
    const error = await host.run(ask('hang')).catch((reason: Error) => reason)
    expect(error).toMatchObject({ code: 'ENGINE_FAULT', message: expect.stringContaining('no sign of life') })
    expect(Date.now() - started).toBeLessThan(2_000)
    expect((await host.run(ask('alive'))).text).toContain('alive')
  })

  it('tells a crash, restarts and reloads', async () => {
    start().load(model)
    await host.run(ask('warm'))
    const error = await host.run(ask('crash')).catch((reason: Error) => reason)
    expect(error).toMatchObject({ code: 'ENGINE_CRASHED', message: expect.stringContaining('SIGKILL') })
    expect(states.some(({ status, note }) => status === 'crashed' && note.includes('again'))).toBe(true)
    await until(() => host.state().status === 'ready')
    expect((await host.run(ask('alive'))).text).toContain('alive')
  })

  it('leaves a graphics card alone after a crash, until a model is loaded again', async () => {
    const warnings: string[] = []
    const webgpu = { ...model, provider: 'webgpu' as const }
    start({ onLog: (level, message) => level === 'warn' && warnings.push(message) }).load(webgpu)
    await host.run(ask('warm'))
    expect(host.state().provider).toBe('webgpu')
    expect(await code(host.run(ask('crash')))).toBe('ENGINE_CRASHED')
    expect((await host.run(ask('alive'))).text).toContain('alive')
    expect(host.state().provider).toBe('cpu')
    expect(warnings).toEqual([expect.stringContaining('graphics card')])
    host.load(webgpu)
    await host.run(ask('again'))
    expect(host.state().provider).toBe('webgpu')
  })

  it('tries background work once more after a crash, a person’s not', async () => {
    start().load(model)
    await until(() => host.state().status === 'ready')
    expect(await code(host.run(ask('crash'), { priority: 'background' }))).toBe('ENGINE_CRASHED')
    expect(pids).toBe(3)
  })

  it('opens a breaker after too many crashes and closes it when a model is loaded', async () => {
    start({ maxRestarts: 3 }).load({ ...model, modelDir: '/models/crash-at-load' })
    expect(await code(host.run(ask('x')))).toBe('ENGINE_CRASHED')
    expect(pids).toBe(4)
    expect(host.state()).toMatchObject({ status: 'failed', note: expect.stringContaining('4 times within a minute') })
    expect(await code(host.run(ask('x')))).toBe('ENGINE_CRASHED')
    expect(pids).toBe(4)
    host.load(model)
    expect((await host.run(ask('alive'))).text).toContain('alive')
  })

  it('passes errors on, and refuses results of a wrong shape', async () => {
    start().load(model)
    const refused = await host.run(ask('refuse')).catch((reason: Error) => reason)
    expect(refused).toMatchObject({ code: 'IMAGE_UNREADABLE', message: 'broken.png: the file is empty' })
    expect(await code(host.run(ask('nonsense')))).toBe('ENGINE_FAULT')
    expect(host.state().status).toBe('ready')
  })

  it('converts and verifies without a model, with progress and cancel', async () => {
    start()
    const notes: number[] = []
    const input = { checkpointDir: '/c', outDir: '/o', llm: 'fp32', vision: 'fp32' }
    expect(await host.convert(input, { onProgress: ({ done }) => notes.push(done) })).toMatchObject({ path: '/o' })
    expect(notes).toEqual([1, 2, 3])
    expect(await host.verify('/o')).toMatchObject({ ok: true })
    const controller = new AbortController()
    const converting = code(host.convert(input, { signal: controller.signal, onProgress: () => controller.abort() }))
    expect(await converting).toBe('CANCELLED')
  })

  it('switches models while one works', async () => {
    start().load(model)
    await host.run(ask('warm'))
    const slow = code(host.run(ask('slow'), { priority: 'background' }))
    await until(() => host.state().status === 'busy')
    host.load({ ...model, name: 'Other', modelDir: '/models/other' })
    expect((await host.run(ask('now'))).text).toContain('(load 2)')
    expect(host.state().modelName).toBe('Other')
    expect(await slow).toBe('done')
  })

  it('tells everyone when it is closed', async () => {
    start().load(model)
    const results = [code(host.run(ask('slow'))), code(host.run(ask('later')))]
    await until(() => host.state().status === 'busy')
    host.close()
    expect(await Promise.all(results)).toEqual(['CANCELLED', 'CANCELLED'])
    expect(await code(host.run(ask('x')))).toBe('CANCELLED')
  })

  it('survives being killed in the middle of tokens, again and again', async () => {
    start({ maxRestarts: 10_000 }).load(model)
    for (let i = 0; i < times(3, 200); i++) {
      const toldAt = { word: 0, crashed: 0 }
      const stop = host.onState(({ status }) => {
        if (status === 'crashed') toldAt.crashed = performance.now()
      })
      const running = code(
        host.run(ask('crash')).finally(() => {
          toldAt.word = performance.now()
        }),
      )
      expect(await running).toBe('ENGINE_CRASHED')
      const diedAt = performance.now()
      await until(() => host.state().status === 'ready')
      if (process.env.GROMATIC_STRESS === '1') expect(performance.now() - diedAt).toBeLessThan(3_000)
      expect(Math.abs(toldAt.word - toldAt.crashed)).toBeLessThan(500)
      stop()
    }
  })
})
