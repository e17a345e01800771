import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { convertCheckpoint } from '../../native-models/builders/buildModel.ts'
import { readManifest } from '../../native-models/checkpoint/manifest.ts'
import { makeReferenceCheckpoint, type ReferenceName } from '../support/makeCheckpoint.ts'
import { releasedCheckpoint } from './parity.ts'

const checkpoints: { path: string; model: ReferenceName }[] = [
  { path: 'one-level/checkpoint-bin-float16', model: 'one-level' },
  { path: 'one-level/checkpoint-safetensors-bfloat16', model: 'one-level' },
  { path: 'four-level/checkpoint-safetensors-float16', model: 'four-level' },
]

/** Checkpoints as the authors' tools save them become the very graphs that the formula's weights become. */
describe('released files', () => {
  let root: string
  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'gromatic-released-'))
  })
  afterAll(() => rm(root, { recursive: true, force: true }))

  const graphsOf = async (dir: string) => {
    const { files } = await readManifest(dir)
    return files.filter(({ path }) => !/\.(json|model)$/.test(path)).map(({ path, sha256 }) => `${path} ${sha256}`)
  }

  it.each(checkpoints)('$path', async ({ path, model }) => {
    const checkpoint = releasedCheckpoint(path)
    if (!checkpoint) return // not every machine has them; the formula's models are compared everywhere
    const name = path.replaceAll('/', '-')
    await makeReferenceCheckpoint(model, join(root, `${name}-formula`))
    await convertCheckpoint(join(root, `${name}-formula`), join(root, `${name}-expected`))
    await convertCheckpoint(checkpoint, join(root, name))
    expect(await graphsOf(join(root, name))).toEqual(await graphsOf(join(root, `${name}-expected`)))
  })
})
