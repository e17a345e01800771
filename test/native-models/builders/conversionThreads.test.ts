/** Conversions by several threads, cut short at any moment: the same bytes in the end. */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, truncate } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import { convertCheckpoint } from '../../../native-models/builders/buildModel.ts'
import { verifyModel } from '../../../native-models/builders/verifyModel.ts'
import { readManifest } from '../../../native-models/checkpoint/manifest.ts'
import { makeReleaseCheckpoint } from '../../support/releaseCheckpoint.ts'
import { smallSizes } from '../../support/releaseEngine.ts'

/** Wide enough for a decoder for long prompts: what is made of a weight goes to two files. */
const sizes = { ...smallSizes, llm: { ...smallSizes.llm, layers: 1, ffn: 1408 } }
const precision = { llm: 'int4', vision: 'int8' }

let root: string
let checkpoint: string
let reference: string
let made = 0
let engine: string
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'gromatic-threads-'))
  checkpoint = join(root, 'checkpoint')
  reference = join(root, 'reference')
  await makeReleaseCheckpoint(checkpoint, { sizes, format: 'torch' })
  await convertCheckpoint(checkpoint, reference, { ...precision, threads: 0 })
}, 120_000)
afterAll(() => rm(root, { recursive: true, force: true }))
beforeEach(() => {
  engine = join(root, `engine-${++made}`)
})
afterEach(() => rm(engine, { recursive: true, force: true }))

async function expectSameModel(): Promise<void> {
  expect(await verifyModel(engine)).toEqual([])
  expect((await readManifest(engine)).files).toEqual((await readManifest(reference)).files)
  expect((await readdir(root)).filter((name) => name.startsWith('.'))).toEqual([])
}

/** The folder that a conversion cut short has left. */
async function leftFolder(): Promise<string | null> {
  const name = (await readdir(root)).find((name) => name.endsWith('.partial'))
  return name === undefined ? null : join(root, name)
}

it.each([1, 2, 5])('%i threads make the same bytes as none', async (threads) => {
  const fractions: number[] = []
  await convertCheckpoint(checkpoint, engine, {
    ...precision,
    threads,
    onProgress: ({ fraction }) => fractions.push(fraction),
  })
  await expectSameModel()
  expect(fractions).toEqual([...fractions].sort((a, b) => a - b))
  expect(fractions.at(-1)).toBe(1)
})

it('stops all threads when cancelled, and goes on within files', async () => {
  const controller = new AbortController()
  const stopAt = ({ fraction }: { fraction: number }) => fraction > 0.6 && controller.abort()
  const options = { ...precision, threads: 2 }
  await expect(
    convertCheckpoint(checkpoint, engine, { ...options, signal: controller.signal, onProgress: stopAt }),
  ).rejects.toMatchObject({ code: 'CANCELLED' })
  const notes = await readFile(join((await leftFolder())!, '.progress.jsonl'), 'utf8')
  expect(notes).toContain('decoder.onnx.data@')
  const fractions: number[] = []
  await convertCheckpoint(checkpoint, engine, { ...options, onProgress: ({ fraction }) => fractions.push(fraction) })
  expect(fractions[0]).toBeGreaterThan(0.3)
  await expectSameModel()
})

/** A process that converts with two threads and is killed when it is so far. */
function convertUntil(share: number): ChildProcess {
  const module = pathToFileURL(join(import.meta.dirname, '../../../native-models/builders/buildModel.ts')).href
  const options = JSON.stringify({ ...precision, threads: 2 })
  const code = `
    const { convertCheckpoint } = await import(${JSON.stringify(module)})
    const onProgress = ({ fraction }) => fraction >= ${share} && process.kill(process.pid, 'SIGKILL')
    await convertCheckpoint(${JSON.stringify(checkpoint)}, ${JSON.stringify(engine)}, { ...${options}, onProgress })`
  return spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['ignore', 'ignore', 'inherit'] })
}

it('killed at any moment, it goes on and makes the same bytes', async () => {
  const fractions = [0.2, 0.5, 0.8].map((at) => at + (Math.random() - 0.5) / 5)
  for (const at of fractions) {
    const signal = await new Promise((resolve) => convertUntil(at).on('exit', (_, signal) => resolve(signal)))
    expect(signal, `killed at ${at}`).toBe('SIGKILL')
    expect(await leftFolder()).not.toBeNull()
  }
  await convertCheckpoint(checkpoint, engine, { ...precision, threads: 2 })
  await expectSameModel()
}, 60_000)

it('fails as a whole when a thread does: with the file that ends early, and nothing left', async () => {
  const broken = join(root, 'broken')
  await makeReleaseCheckpoint(broken, { sizes, format: 'torch' })
  const shard = (await readdir(broken)).filter((name) => name.endsWith('.bin')).sort()[0]!
  const conversion = convertCheckpoint(broken, engine, {
    ...precision,
    threads: 2,
    onProgress: ({ fraction }) => {
      if (fraction < 0.2) void truncate(join(broken, shard), 1000)
    },
  })
  await expect(conversion).rejects.toMatchObject({
    code: 'CHECKPOINT_TRUNCATED',
    message: expect.stringContaining(shard),
  })
  expect(await leftFolder()).toBeNull()
}, 60_000)
