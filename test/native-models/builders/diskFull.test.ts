import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { convertCheckpoint } from '../../../native-models/builders/buildModel.ts'
import { makeTinyCheckpoint } from './tinyModel.ts'

const disk = vi.hoisted(() => ({ blocks: 0, writes: Number.POSITIVE_INFINITY }))
vi.mock('node:fs', async (original) => {
  const real = await original<typeof import('node:fs')>()
  const writeSync = (...write: Parameters<typeof real.writeSync>) => {
    if (disk.writes-- > 0) return real.writeSync(...write)
    throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC', syscall: 'write' })
  }
  return { ...real, writeSync }
})
vi.mock('node:fs/promises', async (original) => ({
  ...(await original<typeof import('node:fs/promises')>()),
  statfs: async () => ({ bavail: disk.blocks, bsize: 4096 }),
}))

let root: string
let engine: string
beforeEach(async () => {
  disk.writes = Number.POSITIVE_INFINITY
  root = await mkdtemp(join(tmpdir(), 'gromatic-full-'))
  engine = join(root, 'models', 'engine')
  await makeTinyCheckpoint(join(root, 'checkpoint'))
})
afterEach(() => rm(root, { recursive: true, force: true }))

const left = () => readdir(join(root, 'models'))
const convert = (signal?: AbortSignal, onProgress = (_: { fraction: number }) => {}) =>
  convertCheckpoint(join(root, 'checkpoint'), engine, { onProgress, ...(signal ? { signal } : {}) })

it('asks for room before it writes', async () => {
  disk.blocks = 1000
  await expect(convert()).rejects.toMatchObject({
    code: 'DISK_FULL',
    message: expect.stringMatching(/^.*: \d+ MiB are needed, 4 MiB are free$/),
  })
  expect(await left()).toEqual([])
})

it('asks for less where an earlier conversion got, and leaves that where there is no room', async () => {
  disk.blocks = 1 << 20
  const controller = new AbortController()
  const stop = ({ fraction }: { fraction: number }) => {
    if (fraction > 0.5) controller.abort()
  }
  await expect(convert(controller.signal, stop)).rejects.toMatchObject({ code: 'CANCELLED' })
  const found = await left()
  expect(found).toHaveLength(1)
  const needed = async (): Promise<number> => {
    const { message } = await convert().then(
      () => ({ message: '' }),
      (error: Error) => error,
    )
    return Number(/(\d+) MiB are needed/.exec(message)?.[1])
  }
  disk.blocks = 1000
  const rest = await needed()
  expect((await left()).map((name) => name.slice(0, 15))).toEqual(['.engine.stopped'])
  await rm(join(root, 'models', (await left())[0]!), { recursive: true })
  expect(rest).toBeLessThan(await needed())
})

it('leaves nothing where the disk is full in the middle, and names the target', async () => {
  disk.blocks = 1 << 20
  disk.writes = 100
  await expect(convert()).rejects.toMatchObject({
    code: 'DISK_FULL',
    message: `${engine}: ENOSPC: no space left on device, write`,
  })
  expect(await left()).toEqual([])
})
