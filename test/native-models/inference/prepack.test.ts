import { existsSync } from 'node:fs'
import { appendFile, mkdir, open, readdir, readFile, stat, truncate, utimes, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { GRAPHS } from '../../../native-models/builders/modelFiles.ts'
import { modelHashOf } from '../../../native-models/checkpoint/manifest.ts'
import { GromaEngine } from '../../../native-models/inference/engine.ts'
import { findPrepacked, makePrepacked, type PrepackInput } from '../../../native-models/inference/prepack.ts'
import { makeTinyModel, testPicture } from '../builders/tinyModel.ts'

const disk = vi.hoisted(() => ({ free: Number.POSITIVE_INFINITY }))
vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof import('node:fs/promises')>()
  const statfs = async (path: string) => ({ ...(await real.statfs(path)), bavail: disk.free, bsize: 1 })
  return { ...real, statfs }
})

let tiny: Awaited<ReturnType<typeof makeTinyModel>>
let input: PrepackInput
const quiet = { threads: 1, onProgress: () => {} }
beforeEach(async () => {
  disk.free = Number.POSITIVE_INFINITY
  tiny = await makeTinyModel()
  input = { modelDir: tiny.engine, cacheDir: join(tiny.root, 'cache'), graphs: [...GRAPHS] }
})
afterEach(() => tiny.remove())

describe('weights laid out for this machine', () => {
  it('give the same answers as the plain ones', async () => {
    expect(await findPrepacked(input)).toMatchObject({ dir: null, reason: 'not made yet' })
    const prepackedDir = await makePrepacked(input, quiet)
    expect(await findPrepacked(input)).toEqual({ dir: prepackedDir, reason: '' })
    const answers = []
    for (const options of [{}, { prepackedDir, deferred: true }]) {
      const engine = await GromaEngine.open(tiny.engine, { threads: 1, ...options })
      const perception = await engine.perceive(testPicture(), { key: 'k' })
      const { outputIds } = await engine.ask(perception, { question: 'What?', grounded: true, maxNewTokens: 8 })
      await engine.openRest()
      answers.push({ outputIds, boxes: [...perception.proposals.boxesCxcywh] })
      await engine.close()
    }
    expect(answers[1]).toEqual(answers[0])
  })

  it('are noticed when truncated, written to, or damaged with size and time kept', async () => {
    const file = join(await makePrepacked(input, quiet), 'vision-encoder.onnx.data')
    const { size, atime, mtime } = await stat(file)
    await truncate(file, size - 10)
    expect((await findPrepacked(input)).reason).toContain(`${size - 10} bytes instead of ${size}`)
    await appendFile(file, Buffer.alloc(10))
    expect((await findPrepacked(input)).reason).toContain('was written to')
    await utimes(file, atime, mtime)
    expect((await findPrepacked(input)).reason).toMatch(/damaged|written to/)

    const made = await makePrepacked({ ...input, graphs: ['vision-encoder'] }, quiet)
    const other = join(made, 'vision-encoder.onnx.data')
    const before = await stat(other)
    const handle = await open(other, 'r+')
    await handle.write(Buffer.from([1, 2, 3, 4]), 0, 4, 5000)
    await handle.close()
    await utimes(other, before.atimeMs / 1000, before.mtimeMs / 1000)
    expect((await findPrepacked({ ...input, graphs: ['vision-encoder'] })).dir).toBeNull()
  })

  it('replace those of another key and what killed processes left', async () => {
    const first = await makePrepacked({ ...input, graphs: ['proposal-head'] }, quiet)
    const parent = dirname(first)
    await mkdir(join(parent, '.999999999-0badcafe.partial'))
    const second = await makePrepacked(input, quiet)
    expect(await readdir(parent)).toEqual([second.slice(parent.length + 1)])
    expect(existsSync(first)).toBe(false)
  })

  it('go with the model they were made of', async () => {
    const first = await makePrepacked(input, quiet)
    const [manifest, text] = [
      join(tiny.engine, 'manifest.json'),
      await readFile(join(tiny.engine, 'manifest.json'), 'utf8'),
    ]
    const { files, ...rest } = JSON.parse(text)
    const replaced = files.filter(({ path }: { path: string }) => path !== 'added_tokens.json')
    await writeFile(manifest, JSON.stringify({ ...rest, files: replaced, modelHash: modelHashOf(replaced) }))
    const second = await makePrepacked(input, quiet)
    expect(dirname(second)).not.toBe(dirname(first))
    expect(existsSync(first)).toBe(false)
    expect(existsSync(second)).toBe(true)
  })

  it('leave nothing behind on a full disk', async () => {
    disk.free = 1000
    await expect(makePrepacked(input, quiet)).rejects.toMatchObject({
      code: 'DISK_FULL',
      message: expect.stringMatching(/GiB are needed, .* are free/),
    })
    const models = await readdir(join(input.cacheDir, 'prepacked'))
    expect(await readdir(join(input.cacheDir, 'prepacked', models[0]!))).toEqual([])
    expect((await findPrepacked(input)).dir).toBeNull()
  })
})
