/** Engine processes side by side: real hosts over a scripted engine process, and the order that results come in. */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, it } from 'vitest'
import { planWorkers } from '../../electron/cli/annotateWorkers.ts'
import { inOrder } from '../../electron/cli/inOrder.ts'
import type { EngineProgress, EngineTask } from '../../electron/contract/engineProtocol.ts'
import { childProcessStarter } from '../../electron/engine/childProcessStarter.ts'
import { EngineHost, type EngineModel } from '../../electron/engine/engineHost.ts'
import { EngineWorkers } from '../../electron/services/engineWorkers.ts'
import { codeOf, scriptedEntry } from './support.ts'

const model: EngineModel = { name: 'scripted', modelDir: '/scripted', checkpointDir: null }
const never = new AbortController().signal
const open: EngineHost[] = []
afterEach(() => {
  for (const host of open.splice(0)) host.close()
})

function makeWorkers(count: number): { workers: EngineWorkers; hosts: EngineHost[] } {
  const hosts: EngineHost[] = []
  const start = () => {
    const host = new EngineHost({ starter: childProcessStarter({ entry: scriptedEntry }) })
    hosts.push(host)
    open.push(host)
    return host
  }
  const own = start()
  own.load(model)
  const workers = new EngineWorkers(own, start)
  workers.grow(count, model)
  return { workers, hosts }
}

const propose = (name: string): Extract<EngineTask, { kind: 'propose' }> => ({
  kind: 'propose',
  image: { path: `/${name}.png`, key: name },
  captions: true,
})
const ask = (name: string, question: string): Extract<EngineTask, { kind: 'ask' }> => ({
  kind: 'ask',
  image: { path: `/${name}.png`, key: name },
  question,
  grounded: true,
  boxesCxcywh: [],
})

describe('engine workers', () => {
  it('tells what was computed ahead from its beginning, as if it had been asked for then', async () => {
    const { workers } = makeWorkers(2)
    const told = async (begin: boolean) => {
      const events: EngineProgress[] = []
      if (begin) workers.computeAhead(propose('a'), never)
      if (begin) await sleep(600) // it is over by now
      const result = await workers.run(propose('a'), { onProgress: (event) => events.push(event) })
      return { result, events: events.filter(({ kind }) => kind !== 'step') }
    }
    const ahead = await told(true)
    expect(ahead).toEqual(await told(false))
    expect(ahead.events.map(({ kind }) => kind)).toEqual(['regions', ...Array(4).fill('caption')])
  })

  it('spreads images over the processes, and keeps an image where it was seen', async () => {
    const { workers, hosts } = makeWorkers(2)
    const busy = (host: EngineHost) => host.state().status === 'busy'
    await Promise.all([workers.run(propose('a')), workers.run(propose('b'))]) // both are loaded
    const slow = ['a', 'b'].map((name) => workers.run(ask(name, 'slow')))
    await expect.poll(() => hosts.map(busy), { timeout: 10_000 }).toEqual([true, true])
    await Promise.all(slow)
    const again = workers.run(ask('b', 'slow'))
    await expect.poll(() => hosts.map(busy), { timeout: 10_000 }).toEqual([false, true])
    await again
  })

  it('tells a failure when the task is asked for, not before', async () => {
    const { workers } = makeWorkers(1)
    workers.computeAhead(ask('a', 'refuse'), never)
    await sleep(300)
    expect(await codeOf(workers.run(ask('a', 'refuse')))).toBe('IMAGE_UNREADABLE')
    expect((await workers.run(propose('a'))).regions).toHaveLength(4)
  })

  it('does without a process that cannot load the model', async () => {
    const { workers, hosts } = makeWorkers(1)
    workers.grow(2, { ...model, modelDir: '/bad-model' })
    const names = ['a', 'b', 'c', 'd']
    const results = await Promise.all(names.map((name) => workers.run(propose(name))))
    expect(results.map(({ regions }) => regions.length)).toEqual([4, 4, 4, 4])
    expect(hosts[1]!.failure()).toMatchObject({ code: 'MODEL_INVALID' })
  })

  it('lets go of a task when whoever asks for it no longer wants it', async () => {
    const { workers } = makeWorkers(1)
    const command = new AbortController()
    workers.computeAhead(ask('a', 'slow'), command.signal)
    const stop = new AbortController()
    const asked = codeOf(workers.run(ask('a', 'slow'), { signal: stop.signal }))
    stop.abort()
    expect(await asked).toBe('CANCELLED')
    command.abort()
  })
})

describe('in order', () => {
  async function* numbers(count: number) {
    for (let k = 0; k < count; k++) yield k
  }

  it.each([0, 1, 3, 100])('gives results in the order of the source, at most %i begun ahead', async (ahead) => {
    let running = 0
    let most = 0
    const start = async (k: number) => {
      most = Math.max(most, ++running)
      await sleep((k * 7) % 5)
      running--
      return k * k
    }
    const results: number[] = []
    for await (const { result } of inOrder(numbers(12), () => ahead, start)) results.push(await result)
    expect(results).toEqual(Array.from({ length: 12 }, (_, k) => k * k))
    expect(most).toBeLessThanOrEqual(Math.min(12, ahead + 1))
  })

  it('keeps a failure for its turn', async () => {
    const seen: string[] = []
    const start = async (k: number) => {
      if (k === 1) throw new Error('one')
      return k
    }
    for await (const { result } of inOrder(numbers(3), () => 5, start))
      seen.push(
        await result.then(
          (k) => `${k}`,
          (error: Error) => error.message,
        ),
      )
    expect(seen).toEqual(['0', 'one', '2'])
  })
})

describe('how many processes', () => {
  it.each([
    { case: 'small model', modelBytes: 30e6, cores: 8, freeBytes: 32e9, workers: 8 },
    { case: 'two cores', modelBytes: 30e6, cores: 2, freeBytes: 32e9, workers: 2 },
    { case: 'many cores', modelBytes: 30e6, cores: 64, freeBytes: 256e9, workers: 64 },
    { case: 'little memory', modelBytes: 30e6, cores: 8, freeBytes: 4e9, workers: 3 },
    { case: 'almost none', modelBytes: 30e6, cores: 8, freeBytes: 0.5e9, workers: 1 },
    { case: 'large model', modelBytes: 7e9, cores: 8, freeBytes: 64e9, workers: 1 },
    { case: 'a graphics card is wanted', modelBytes: 30e6, provider: 'webgpu', cores: 8, freeBytes: 32e9, workers: 1 },
    { case: 'as asked', modelBytes: 7e9, cores: 8, freeBytes: 64e9, asked: 3, workers: 3 },
    { case: 'nothing ahead', modelBytes: 30e6, cores: 8, freeBytes: 32e9, asked: 0, workers: 0 },
  ] as const)('$case: $workers', ({ workers, ...about }) => {
    expect(planWorkers({ provider: 'auto', ...about })).toEqual({ workers, ahead: 2 * workers })
  })
})
