import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import {
  appendFile,
  link,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { convertCheckpoint } from '../../../native-models/builders/buildModel.ts'
import { GRAPHS, LLM_PRECISIONS } from '../../../native-models/builders/modelFiles.ts'
import { modelHashOf, readManifest } from '../../../native-models/checkpoint/manifest.ts'
import { GromaEngine } from '../../../native-models/inference/engine.ts'
import {
  findPrepacked,
  graphsOnCpu,
  makePrepacked,
  type PrepackInput,
  removeUnfinished,
} from '../../../native-models/inference/prepack.ts'
import { makeTinyModel, testPicture, unusualShape } from '../builders/tinyModel.ts'

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
  tiny = await makeTinyModel({ ...unusualShape, headSize: 16 })
  input = { modelDir: tiny.engine, cacheDir: join(tiny.root, 'cache'), graphs: [...GRAPHS] }
})
afterEach(() => tiny.remove())

describe('weights laid out for this machine', () => {
  it.each(LLM_PRECISIONS)('give the same answers as the plain ones, %s', async (llm) => {
    const modelDir = join(tiny.root, llm)
    await convertCheckpoint(tiny.checkpoint, modelDir, { llm, prefill: llm === 'int4' })
    const of = { ...input, modelDir, graphs: graphsOnCpu(await readManifest(modelDir), {}) }
    expect(await findPrepacked(of)).toMatchObject({ dir: null, reason: 'not made yet' })
    const prepackedDir = await makePrepacked(of, quiet)
    expect(await findPrepacked(of)).toEqual({ dir: prepackedDir, reason: '' })
    const answers = []
    for (const options of [{}, { prepackedDir, deferred: true }]) {
      const engine = await GromaEngine.open(modelDir, { threads: 1, ...options })
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

  it('are made anew where one of their files is a link', async () => {
    const dir = await makePrepacked(input, quiet)
    const file = join(dir, 'vision-encoder.onnx.data')
    await rename(file, join(tiny.root, 'elsewhere'))
    await symlink(join(tiny.root, 'elsewhere'), file)
    expect((await findPrepacked(input)).reason).toContain('is a link')
    await rm(file)
    await link(join(tiny.root, 'elsewhere'), file)
    expect((await findPrepacked(input)).reason).toContain('is a link')
    expect(await makePrepacked(input, quiet)).toBe(dir)
    expect((await findPrepacked(input)).dir).toBe(dir)
  })

  it.each(['', '{"modelDir":', '{}'])(
    'are made anew where their record is %j, of this model or another',
    async (record) => {
      const dir = await makePrepacked(input, quiet)
      const root = join(input.cacheDir, 'prepacked')
      const others = [join(root, 'another', 'model'), join(root, 'third', '.999999999-0badcafe.partial')]
      for (const other of others) await mkdir(other, { recursive: true })
      await writeFile(join(root, 'a file'), '')
      for (const folder of [dir, ...others]) await writeFile(join(folder, 'prepacked.json'), record)
      expect((await findPrepacked(input)).reason).toContain('prepacked.json is damaged')
      expect(await makePrepacked(input, quiet)).toBe(dir)
      expect((await findPrepacked(input)).dir).toBe(dir)
      expect((await readdir(root)).sort()).toEqual([basename(dirname(dir)), 'a file'].sort())
    },
  )

  it('leave nothing of a process that was killed while it made them', async () => {
    const dir = await makePrepacked(input, quiet)
    const killed = join(input.cacheDir, 'prepacked', 'another', '.999999999-0badcafe.partial')
    const atWork = join(input.cacheDir, 'prepacked', 'third', `.${process.pid}-0badcafe.partial`)
    for (const partial of [killed, atWork]) await mkdir(partial, { recursive: true })
    await removeUnfinished(input.cacheDir)
    expect([killed, dirname(killed), atWork, dir].map(existsSync)).toEqual([false, false, true, true])
    await removeUnfinished(join(tiny.root, 'no cache yet'))
  })

  it('are made once: who comes second waits for a process that is at it, as long as it lives', async () => {
    const dir = await makePrepacked(input, quiet)
    await rm(dir, { recursive: true })
    const other = spawn(process.execPath, ['-e', 'setTimeout(() => {}, 60_000)'])
    const partial = join(dirname(dir), `.${other.pid}-0badcafe.partial`)
    await mkdir(partial)
    const second = makePrepacked(input, quiet)
    await sleep(700)
    expect(await readdir(dirname(dir))).toEqual([basename(partial)])
    other.kill('SIGKILL')
    expect(await second).toBe(dir)
    expect(await readdir(dirname(dir))).toEqual([basename(dir)])
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
