/** Jobs that may crash, hang or fail, done by real processes of their own on the engine's behalf. */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, it } from 'vitest'
import { childProcessStarter } from '../../electron/engine/childProcessStarter.ts'
import { EngineHost, type EngineHostOptions } from '../../electron/engine/engineHost.ts'
import { codeOf } from './support.ts'

const entry = new URL('../support/scriptedEngine.ts', import.meta.url).pathname
const SHORT = { probe: 600, prepack: 600 }
const model = (name: string) => ({ name, modelDir: `/models/${name}`, checkpointDir: null })

let host: EngineHost
let started = 0
function start(options: Partial<EngineHostOptions> = {}): EngineHost {
  const starter = childProcessStarter({ entry })
  started = 0
  host = new EngineHost({
    starter: () => {
      started++
      return starter()
    },
    ...options,
  })
  return host
}
afterEach(() => host.close())

describe('a job apart', () => {
  it('is done by another process, and told as it goes', async () => {
    const notes: string[] = []
    const result = await start().test(model('fine'), { onProgress: ({ note }) => notes.push(note) })
    expect(result).toEqual({ result: { done: '/models/fine' }, failure: null })
    expect(notes).toEqual(['half-way'])
    expect(started).toBe(2)
  })

  it('that crashes takes nothing with it and leaves its reason', async () => {
    start().load(model('loaded'))
    expect(await host.test(model('crash'))).toMatchObject({
      failure: { code: 'ENGINE_CRASHED', message: expect.stringContaining('SIGSEGV') },
    })
    expect(host.state().status).toBe('ready')
  })

  it('that hangs is killed after its silence', async () => {
    expect(await start({ apartDeadlineMs: SHORT }).test(model('hang'))).toMatchObject({
      failure: { code: 'ENGINE_FAULT', message: expect.stringMatching(/no answer for 1 s \(half-way\)/) },
    })
  })

  it('may be silent for longer than a step', async () => {
    // a step has time enough for a process to start on a busy machine
    const apartDeadlineMs = { probe: 5_000, prepack: 0 }
    expect(await start({ apartDeadlineMs, stepDeadlineMs: 2_500 }).test(model('hang'))).toMatchObject({
      failure: { code: 'ENGINE_FAULT', message: expect.stringMatching(/no answer for 5 s/) },
    })
  })

  it('that fails says so in its own words', async () => {
    expect(await start().test(model('refuse'))).toMatchObject({
      failure: { code: 'DISK_FULL', message: 'the disk is full' },
    })
  })

  it('ends with the one who wants it no more', async () => {
    const controller = new AbortController()
    const options = { signal: controller.signal, onProgress: () => controller.abort() }
    expect(await codeOf(start({ cancelGraceMs: 60_000 }).test(model('hang'), options))).toBe('CANCELLED')
    expect(await host.test(model('fine'))).toMatchObject({ failure: null })
  })

  it('ends with the application', async () => {
    const options = { onProgress: () => host.close() }
    expect(await codeOf(start({ apartDeadlineMs: SHORT }).test(model('hang'), options))).toBe('CANCELLED')
    expect(started).toBe(2)
    await sleep(1_000)
    expect(started).toBe(2) // nobody is told of its silence, and no process is started for that
  })
})
