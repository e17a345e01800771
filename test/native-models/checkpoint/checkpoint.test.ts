import { existsSync } from 'node:fs'
import { copyFile, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openCheckpoint } from '../../../native-models/checkpoint/checkpoint.ts'
import { writeSafetensors } from '../../../native-models/checkpoint/safetensors.ts'
import { type CheckpointOptions, makeReferenceCheckpoint, referenceDir } from '../../support/makeCheckpoint.ts'
import { formulaTensor, type ReferenceWeights } from '../../support/referenceWeights.ts'

let root: string
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'gromatic-checkpoint-'))
})
afterAll(() => rm(root, { recursive: true, force: true }))

const weightsOf = async (name: string): Promise<ReferenceWeights> =>
  JSON.parse(await readFile(join(referenceDir, name, 'weights.json'), 'utf8'))

async function expectFormulaWeights(dir: string, weights: ReferenceWeights): Promise<void> {
  const checkpoint = await openCheckpoint(dir)
  try {
    expect([...checkpoint.tensors.keys()].sort()).toEqual(weights.tensors.map(({ name }) => name).sort())
    for (const { name, shape, scale, offset } of weights.tensors) {
      const expected = formulaTensor(weights.seed, name, shape, scale, offset)
      const values = await checkpoint.readFloat32(name)
      expect(checkpoint.tensors.get(name)!.shape).toEqual(shape)
      expect(Buffer.from(values.buffer).equals(Buffer.from(expected.buffer)), name).toBe(true)
    }
  } finally {
    await checkpoint.close()
  }
}

describe('checkpoints of every layout hold exactly the formula weights', () => {
  const layouts: (CheckpointOptions & { label: string })[] = [
    { label: 'safetensors float32, one file', dtype: 'F32' },
    { label: 'safetensors bfloat16, one file', dtype: 'BF16' },
    { label: 'safetensors float16, three shards', dtype: 'F16', shards: 3 },
    { label: 'torch zip float16, three shards', dtype: 'F16', format: 'torch', shards: 3 },
    { label: 'torch zip bfloat16, one file', dtype: 'BF16', format: 'torch' },
    { label: 'torch zip float32, two shards', dtype: 'F32', format: 'torch', shards: 2 },
  ]
  it.each(layouts)('$label', async ({ label, ...options }) => {
    const dir = join(root, label.replace(/\W+/g, '-'))
    await makeReferenceCheckpoint('three-level', dir, options)
    await expectFormulaWeights(dir, await weightsOf('three-level'))
  })

  const originals = process.env.GROMA_REFERENCE ?? resolve(import.meta.dirname, '../../../../shared/reference')
  it.runIf(existsSync(join(originals, 'README.md'))).each([
    ['one-level', 'checkpoint-bin-float16'],
    ['one-level', 'checkpoint-safetensors-bfloat16'],
    ['four-level', 'checkpoint-safetensors-float16'],
  ])("the authors' own %s/%s", async (name, folder) => {
    await expectFormulaWeights(join(originals, name, folder), await weightsOf(name))
  })
})

describe('an opened checkpoint', () => {
  it('finds the detector heads under either name and reads rows of a table', async () => {
    const dir = join(root, 'aliases')
    await makeReferenceCheckpoint('three-level', dir, { dtype: 'BF16' })
    const checkpoint = await openCheckpoint(dir)
    const name = 'perceiver.ddetr_transformer.bbox_embed.0.layers.1.weight'
    const alias = 'perceiver.ddetr_transformer.decoder.bbox_embed.0.layers.1.weight'
    expect(checkpoint.has(name)).toBe(true)
    expect(checkpoint.has(alias)).toBe(true)
    expect(await checkpoint.readFloat32(alias)).toEqual(await checkpoint.readFloat32(name))
    const table = await checkpoint.readFloat32('llm.model.embed_tokens.weight')
    const rows = await checkpoint.readRows('llm.model.embed_tokens.weight', 17, 5)
    expect(rows).toEqual(table.slice(17 * 64, 22 * 64))
    await expect(checkpoint.readRows('llm.model.embed_tokens.weight', 598, 3)).rejects.toMatchObject({
      code: 'INPUT_INVALID',
    })
    await expect(checkpoint.readFloat32('llm.no.such')).rejects.toMatchObject({ code: 'CHECKPOINT_INVALID' })
    await checkpoint.close()
  })
})

describe('a damaged or foreign folder is refused by name', () => {
  const make = async (label: string, options: CheckpointOptions) => {
    const dir = join(root, `bad-${label}`)
    await makeReferenceCheckpoint('three-level', dir, options)
    return dir
  }
  const sharded: CheckpointOptions = { dtype: 'F16', shards: 2 }

  it('no config, no weights, no folder', async () => {
    const dir = await mkdtemp(join(root, 'empty-'))
    await expect(openCheckpoint(dir)).rejects.toMatchObject({ code: 'CHECKPOINT_MISSING', message: /config\.json/ })
    await writeFile(join(dir, 'config.json'), '{"model_type":"groma"}')
    await expect(openCheckpoint(dir)).rejects.toMatchObject({ code: 'CHECKPOINT_MISSING', message: /no weights/ })
    await expect(openCheckpoint(join(dir, 'nowhere'))).rejects.toMatchObject({ code: 'CHECKPOINT_MISSING' })
    await writeFile(join(dir, 'config.json'), '{"model_type":')
    await expect(openCheckpoint(dir)).rejects.toMatchObject({ code: 'CHECKPOINT_INVALID', message: /config\.json/ })
  })

  it('a missing shard', async () => {
    const dir = await make('missing', sharded)
    await rm(join(dir, 'model-00002-of-00002.safetensors'))
    const expected = { code: 'CHECKPOINT_MISSING', message: /model-00002-of-00002\.safetensors/ }
    await expect(openCheckpoint(dir)).rejects.toMatchObject(expected)
  })

  it.each([
    ['safetensors', sharded, 'model-00001-of-00002.safetensors'],
    ['torch', { ...sharded, format: 'torch' as const }, 'pytorch_model-00001-of-00002.bin'],
  ])('a truncated %s shard', async (label, options, file) => {
    const dir = await make(`truncated-${label}`, options)
    await truncate(join(dir, file), (await readFile(join(dir, file))).length - 1000)
    await expect(openCheckpoint(dir)).rejects.toMatchObject({ code: 'CHECKPOINT_TRUNCATED', message: new RegExp(file) })
    await truncate(join(dir, file), 0)
    await expect(openCheckpoint(dir)).rejects.toMatchObject({ code: 'CHECKPOINT_TRUNCATED', message: /is empty/ })
  })

  it('a tensor that the index promises and the shard lacks', async () => {
    const dir = await make('lacks', sharded)
    await copyFile(join(dir, 'model-00001-of-00002.safetensors'), join(dir, 'model-00002-of-00002.safetensors'))
    const expected = { code: 'CHECKPOINT_INVALID', message: /model-00002-of-00002\.safetensors: lacks / }
    await expect(openCheckpoint(dir)).rejects.toMatchObject(expected)
  })

  it('an index that points out of the folder', async () => {
    const dir = await make('escape', sharded)
    const index = { weight_map: { 'a.weight': '../../secret.safetensors' } }
    await writeFile(join(dir, 'model.safetensors.index.json'), JSON.stringify(index))
    await expect(openCheckpoint(dir)).rejects.toMatchObject({ code: 'CHECKPOINT_INVALID', message: /strange name/ })
  })

  it.each([
    ['a web page', '<!DOCTYPE html><html><body>Not found</body></html>'.padEnd(400), /web page/],
    ['a git-lfs pointer', 'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n', /git-lfs/],
  ])('%s under a shard name', async (_, content, message) => {
    for (const format of ['safetensors', 'torch'] as const) {
      const dir = await make(`impostor-${format}`, { dtype: 'F16', format })
      const file = (await readdir(dir)).find((name) => /\.(bin|safetensors)$/.test(name))!
      await writeFile(join(dir, file), content)
      await expect(openCheckpoint(dir)).rejects.toMatchObject({ code: 'CHECKPOINT_FOREIGN', message })
    }
  })

  it('another model in the same clothes', async () => {
    const dir = await make('llama', { dtype: 'BF16' })
    const data = Float32Array.of(1, 2)
    await writeSafetensors(join(dir, 'model.safetensors'), {
      'model.layers.0.mlp.up_proj.weight': { shape: [2], data },
    })
    await expect(openCheckpoint(dir)).rejects.toMatchObject({ code: 'CHECKPOINT_FOREIGN', message: /plain LLaMA/ })
    await writeSafetensors(join(dir, 'model.safetensors'), { 'vision.weight': { shape: [2], data } })
    const expected = { code: 'CHECKPOINT_FOREIGN', message: /no perceiver\.vis_encoder\., / }
    await expect(openCheckpoint(dir)).rejects.toMatchObject(expected)
  })
})
