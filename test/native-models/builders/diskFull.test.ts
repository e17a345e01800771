import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, vi } from 'vitest'
import { convertCheckpoint } from '../../../native-models/builders/buildModel.ts'
import { makeTinyCheckpoint } from './tinyModel.ts'

vi.mock('node:fs/promises', async (original) => ({
  ...(await original<typeof import('node:fs/promises')>()),
  statfs: async () => ({ bavail: 1000, bsize: 4096 }),
}))

it('asks for room before it writes', async () => {
  const root = await mkdtemp(join(tmpdir(), 'gromatic-full-'))
  try {
    await makeTinyCheckpoint(join(root, 'checkpoint'))
    await expect(convertCheckpoint(join(root, 'checkpoint'), join(root, 'engine'))).rejects.toMatchObject({
      code: 'DISK_FULL',
      message: expect.stringMatching(/^.*: \d+ MiB are needed, 4 MiB are free$/),
    })
    expect(await readdir(root)).toEqual(['checkpoint'])
  } finally {
    await rm(root, { recursive: true, force: true })
  }
})
