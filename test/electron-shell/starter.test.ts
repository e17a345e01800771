/** The engine in Electron's utility process, with a stand-in for Electron. */
import type { EventEmitter } from 'node:events'
import type { PassThrough } from 'node:stream'
import { afterEach, describe, expect, it, vi } from 'vitest'

const fake = vi.hoisted(() => ({ app: null as unknown as EventEmitter, children: [] as FakeChild[] }))
interface FakeChild extends EventEmitter {
  pid: number | undefined
  entry: string
  options: { serviceName: string; stdio: string[] }
  posted: unknown[]
  stdout: PassThrough
  stderr: PassThrough
  kill(): boolean
}

vi.mock('electron', async () => {
  const { EventEmitter } = await import('node:events')
  const { PassThrough } = await import('node:stream')
  fake.app = new EventEmitter()
  return {
    app: fake.app,
    utilityProcess: {
      fork(entry: string, _args: string[], options: FakeChild['options']) {
        const posted: unknown[] = []
        const child = Object.assign(new EventEmitter(), {
          pid: 4242,
          entry,
          options,
          posted,
          stdout: new PassThrough(),
          stderr: new PassThrough(),
          postMessage: (message: unknown) => posted.push(message),
          kill: () => true,
        })
        fake.children.push(child)
        return child
      },
    },
  }
})

const { utilityProcessStarter } = await import('../../electron/engine/utilityProcessStarter.ts')

/** Starts a child; `reasons` collects what its exit said. */
function start() {
  const lines: string[] = []
  const child = utilityProcessStarter({ entry: '/app/engineProcess.js', onOutput: (line) => lines.push(line) })()
  const process = fake.children.at(-1)!
  const reasons: string[] = []
  const messages: unknown[] = []
  child.onExit((reason) => reasons.push(reason))
  child.onMessage((message) => messages.push(message))
  const gone = (reason: string, exitCode = 1, name = process.options.serviceName) =>
    fake.app.emit('child-process-gone', {}, { type: 'Utility', name, reason, exitCode })
  return { child, process, reasons, messages, lines, gone }
}
const soon = (ms = 0) => new Promise((resolve) => setTimeout(resolve, ms))
afterEach(() => vi.restoreAllMocks())

describe('utilityProcessStarter', () => {
  it('names every process, pipes its output and hands on messages', async () => {
    const one = start()
    const two = start()
    expect(one.process.entry).toBe('/app/engineProcess.js')
    expect(one.process.options.stdio).toEqual(['ignore', 'pipe', 'pipe'])
    expect(one.process.options.serviceName).not.toBe(two.process.options.serviceName)
    one.child.send({ type: 'shutdown' })
    expect(one.process.posted).toEqual([{ type: 'shutdown' }])
    one.process.emit('message', { type: 'log' })
    expect(one.messages).toEqual([{ type: 'log' }])
    one.process.stderr.write('a line\n\nanother\n')
    await soon()
    expect(one.lines).toEqual(['a line', 'another'])
  })

  it.each([
    ['crashed', 11, '(crashed)'],
    ['oom', 1, '(out of memory)'],
    ['killed', 9, '(killed)'],
    ['abnormal-exit', 7, '(exit code 7)'],
    ['clean-exit', 0, '(exit code 0)'],
  ])('says that it was %s, told before the exit or after it', async (reason, code, expected) => {
    const before = start()
    before.gone(reason, code)
    before.process.emit('exit', code)
    const after = start()
    after.process.emit('exit', code)
    await soon(20)
    after.gone(reason, code)
    await soon(20)
    expect(before.reasons).toEqual([expected])
    expect(after.reasons).toEqual([expected])
    await soon(300)
    expect(before.reasons).toHaveLength(1)
    expect(after.reasons).toHaveLength(1)
  })

  it('goes by the exit code when nobody says more, and quotes the last line', async () => {
    const { process, reasons } = start()
    process.stderr.write('terminate called\n')
    await soon()
    process.emit('exit', 134)
    expect(reasons).toEqual([]) // never inside the exit event: the listener posts to the next process
    await soon(300)
    expect(reasons).toEqual(['(exit code 134: terminate called)'])
    expect(fake.app.listenerCount('child-process-gone')).toBeGreaterThanOrEqual(0)
  })

  it('tells of a launch that failed, which has no exit', async () => {
    const { reasons, gone } = start()
    gone('launch-failed', 2)
    await soon(300)
    expect(reasons).toEqual(['(could not be launched)'])
  })

  it('takes no other process for its own', async () => {
    const { reasons, gone } = start()
    gone('crashed', 1, 'Gromatic engine 999')
    await soon(300)
    expect(reasons).toEqual([])
  })

  it('posts nothing to a process that is gone', async () => {
    const { child, process } = start()
    process.emit('exit', 0)
    child.send({ type: 'shutdown' })
    expect(process.posted).toEqual([])
    await soon(300)
  })

  it('leaves no listener behind', async () => {
    const before = fake.app.listenerCount('child-process-gone')
    const { process } = start()
    expect(fake.app.listenerCount('child-process-gone')).toBe(before + 1)
    process.emit('exit', 0)
    await soon(300)
    expect(fake.app.listenerCount('child-process-gone')).toBe(before)
  })

  it('kills for good, also before the process has a number', () => {
    const kill = vi.spyOn(process, 'kill').mockReturnValue(true)
    const one = start()
    one.child.kill()
    expect(kill).toHaveBeenCalledWith(4242, 'SIGKILL')
    const two = start()
    two.process.pid = undefined
    kill.mockClear()
    two.child.kill()
    expect(kill).not.toHaveBeenCalled()
    two.process.pid = 77
    two.process.emit('spawn')
    expect(kill).toHaveBeenCalledWith(77, 'SIGKILL')
    kill.mockClear()
    two.process.emit('exit', 9)
    two.child.kill()
    expect(kill).not.toHaveBeenCalled() // the number may be another process's by now
  })
})
