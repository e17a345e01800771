import { link, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import {
  enginePath,
  manifestFileName,
  modelHashOf,
  readManifest,
  verifyManifest,
  writeManifest,
} from '../../../native-models/checkpoint/manifest.ts'

let root: string
let dir: string
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'gromatic-manifest-'))
})
afterAll(() => rm(root, { recursive: true, force: true }))

const content = { createdFrom: 'one-level', llm: 'fp32', vision: 'fp32', config: { maxRegions: 100 } }

beforeEach(async () => {
  dir = await mkdtemp(join(root, 'engine-'))
  await mkdir(join(dir, 'graphs'))
  await writeFile(join(dir, 'graphs/vision.onnx'), 'vision')
  await writeFile(join(dir, 'tokenizer.model'), 'tokens')
  await writeManifest(dir, content, ['tokenizer.model', 'graphs/vision.onnx'])
})

describe('an engine folder', () => {
  it('is what its manifest says', async () => {
    const manifest = await readManifest(dir)
    expect(manifest.files.map(({ path, bytes }) => [path, bytes])).toEqual([
      ['graphs/vision.onnx', 6],
      ['tokenizer.model', 6],
    ]) // prettier-ignore
    expect(manifest.modelHash).toBe(modelHashOf([...manifest.files].reverse()))
    const progress: number[] = []
    expect(await verifyManifest(dir, { onProgress: (done, total) => progress.push(done / total) })).toEqual([])
    expect(progress.at(-1)).toBe(1)
  })

  it.each<[string, () => Promise<unknown>, string]>([
    ['a changed file', () => writeFile(join(dir, 'tokenizer.model'), 'tokenX'), 'wrong-hash'],
    ['a shorter file', () => writeFile(join(dir, 'tokenizer.model'), 'tok'), 'wrong-size'],
    ['a missing file', () => rm(join(dir, 'tokenizer.model')), 'missing'],
    ['a hard link', () => link(join(dir, 'tokenizer.model'), join(dir, 'second')), 'linked'],
    [
      'a symbolic link',
      () => replace('tokenizer.model', (path) => symlink(join(dir, 'graphs/vision.onnx'), path)),
      'linked',
    ],
    ['a folder', () => replace('tokenizer.model', (path) => mkdir(path)), 'not-a-file'],
    ['a linked folder', () => replace('graphs', (path) => symlink(root, path)), 'linked'],
  ])('shows %s', async (_, damage, problem) => {
    await damage()
    expect((await verifyManifest(dir)).map((found) => found.problem)).toContain(problem)
  })

  it('stops when asked', async () => {
    await expect(verifyManifest(dir, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'CANCELLED' })
  })

  it.each<[string, (text: string) => string]>([
    ['no JSON', () => '{'],
    ['another format', (text) => text.replace('gromatic-engine', 'other')],
    ['a later version', (text) => text.replace('"version": 1', '"version": 2')],
    ['a path out of the folder', (text) => text.replace('tokenizer.model', '../tokenizer.model')],
    ['a hash that does not fit', (text) => text.replace(/"modelHash": "../, '"modelHash": "00')],
  ])('refuses a manifest with %s', async (_, bend) => {
    const path = join(dir, manifestFileName)
    await writeFile(path, bend(await readFile(path, 'utf8')))
    await expect(verifyManifest(dir)).rejects.toMatchObject({ code: 'MODEL_INVALID' })
  })

  it('needs a manifest', async () => {
    await expect(readManifest(root)).rejects.toMatchObject({ code: 'MODEL_INVALID', message: /is missing/ })
  })
})

it.each(['../x', '/x', 'a//b', 'a/../b', 'C:\\x', 'a\\b', '.hidden', 'con', 'AUX.bin', 'a.', '', 'a\0b', 'x/'])(
  'refuses the path %j',
  (path) => {
    expect(enginePath.safeParse(path).success).toBe(false)
  },
)

async function replace(name: string, make: (path: string) => Promise<unknown>): Promise<void> {
  const path = join(dir, name)
  await rm(path, { recursive: true })
  await make(path)
}
