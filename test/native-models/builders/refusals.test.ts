/** Checkpoints that cannot become a model are refused before there is anything of one, in words that name what is wrong. */
import { execFileSync } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type ConvertOptions, convertCheckpoint } from '../../../native-models/builders/buildModel.ts'
import { makeCheckpointFromWeights } from '../../support/makeCheckpoint.ts'
import { referenceTokenizerDir } from '../../support/referenceCases.ts'
import { makeTinyCheckpoint, tinyConfig, tinyWeights, unusualShape } from './tinyModel.ts'

let root: string
let checkpoint: string
let models: string
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'gromatic-refused-'))
  checkpoint = join(root, 'checkpoint')
  models = join(root, 'models')
  await makeTinyCheckpoint(checkpoint)
})
afterEach(() => rm(root, { recursive: true, force: true }))

const convert = (options: ConvertOptions = {}) => convertCheckpoint(checkpoint, join(models, 'engine'), options)
const left = () => readdir(models).catch(() => [])
const WEIGHTS = 'model.safetensors'

async function expectRefusal(conversion: Promise<void>, code: string, message: RegExp): Promise<void> {
  await expect(conversion).rejects.toMatchObject({ code, message: expect.stringMatching(message) })
  expect(await left()).toEqual([])
}

async function editConfig(edit: (config: ReturnType<typeof tinyConfig>) => void): Promise<void> {
  const config = tinyConfig(unusualShape)
  edit(config)
  await writeFile(join(checkpoint, 'config.json'), JSON.stringify(config))
}

/** Puts a number in the place of a tensor's last one. */
async function spoil(name: string, value: number): Promise<void> {
  const path = join(checkpoint, WEIGHTS)
  const bytes = await readFile(path)
  const start = 8 + Number(bytes.readBigUInt64LE())
  const { data_offsets } = JSON.parse(bytes.toString('utf8', 8, start))[name]
  bytes.writeFloatLE(value, start + data_offsets[1] - 4)
  await writeFile(path, bytes)
}

describe('a weight that is not finite', () => {
  const layer = 'llm.model.layers.1'
  const everywhere: [string, ConvertOptions][] = [
    [`${layer}.self_attn.q_proj.weight`, { llm: 'fp32' }],
    [`${layer}.self_attn.q_proj.weight`, { llm: 'fp16' }],
    [`${layer}.mlp.down_proj.weight`, { llm: 'int8' }],
    [`${layer}.mlp.up_proj.weight`, { llm: 'int4' }],
    [`${layer}.mlp.up_proj.weight`, { llm: 'int4', threads: 2 }],
    [`${layer}.input_layernorm.weight`, { llm: 'int4' }],
    ['llm.model.embed_tokens.weight', { llm: 'int4' }],
    ['perceiver.vis_encoder.embeddings.position_embeddings', {}],
    ['perceiver.vis_encoder.encoder.layer.2.mlp.fc1.weight', {}],
    ['perceiver.vis_encoder.encoder.layer.2.layer_scale1.lambda1', {}],
    ['perceiver.ddetr_transformer.encoder.layers.0.fc1.bias', {}],
    ['region_encoder.mlvl_fuse.fuse_convs.1.conv.weight', {}],
    ['region_encoder.mlvl_fuse.fuse_convs.1.conv.weight', { vision: 'int8' }],
    ['region_encoder.roi_align.flatten_linear.weight', { vision: 'int8' }],
  ]
  it.each(everywhere)('%s, %o', async (name, options) => {
    for (const value of [Number.NaN, Number.NEGATIVE_INFINITY]) {
      await spoil(name, value)
      await expectRefusal(convert(options), 'CHECKPOINT_INVALID', new RegExp(`${WEIGHTS}: ${name} .*not( a)? finite`))
    }
  })
})

describe('a tokenizer', () => {
  it.each(['tokenizer.model', 'tokenizer_config.json', 'added_tokens.json'])('without %s', async (file) => {
    await rm(join(checkpoint, file))
    await expectRefusal(convert(), 'TOKENIZER_INVALID', new RegExp(`${file}: cannot be read from ${checkpoint}`))
  })

  it('of another model', async () => {
    await editConfig((config) => {
      config.max_region_num = 500
    })
    await expectRefusal(convert(), 'TOKENIZER_INVALID', /names 100 regions, the model uses 500/)
  })
})

describe('a configuration', () => {
  it('that leaves out layers', async () => {
    await editConfig((config) => {
      config.llm_cfg.num_hidden_layers = 1
    })
    await expectRefusal(convert(), 'CONFIG_INVALID', /names 1 layers, the checkpoint has llm\.model\.layers\.1\./)
  })

  it('of a region encoder whose channels are no whole groups', async () => {
    const { seed, tensors } = tinyWeights(unusualShape)
    const wider = tensors.map((tensor) => ({ ...tensor, shape: tensor.shape.map((n) => (n === 64 ? 96 : n)) }))
    await makeCheckpointFromWeights(
      { seed, tensors: wider },
      tinyConfig(unusualShape),
      referenceTokenizerDir('one-level'),
      checkpoint,
    )
    await writeFile(join(checkpoint, 'preprocessor_config.json'), JSON.stringify({ crop_size: unusualShape.imageSize }))
    await expectRefusal(convert(), 'CHECKPOINT_INVALID', /96 channels are not divisible into the 64 groups/)
  })
})

describe('a file', () => {
  it('whose tensor is of a type that is no weight', async () => {
    const path = join(checkpoint, WEIGHTS)
    const bytes = await readFile(path)
    bytes.write('I32', bytes.indexOf('F32', bytes.indexOf('"llm.model.norm.weight"')))
    await writeFile(path, bytes)
    await expectRefusal(convert(), 'CHECKPOINT_INVALID', /llm\.model\.norm\.weight is stored as I32/)
  })

  it('whose tensor has another shape is named', async () => {
    await editConfig((config) => {
      config.llm_cfg.intermediate_size = 71
    })
    await expectRefusal(convert(), 'CHECKPOINT_INVALID', new RegExp(`^${WEIGHTS}: llm\\..* has shape \\[72, 48\\]`))
  })

  it.skipIf(process.platform === 'win32')('that is a pipe is not waited for', async () => {
    await rm(join(checkpoint, WEIGHTS))
    execFileSync('mkfifo', [join(checkpoint, WEIGHTS)])
    await expectRefusal(convert(), 'CHECKPOINT_INVALID', /is not a file/)
  })

  it.skipIf(process.platform === 'win32')('that is a link to nowhere is none of ours', async () => {
    await symlink(join(root, 'nowhere'), join(checkpoint, 'README.md'))
    await convert()
    expect(await left()).toEqual(['engine'])
  })
})

it('a target that cannot be written is what the error names', async () => {
  const target = join(checkpoint, 'config.json', 'engine')
  await expect(convertCheckpoint(checkpoint, target)).rejects.toMatchObject({
    code: 'IO_FAILED',
    message: expect.stringContaining(join(checkpoint, 'config.json')),
  })
})

it('a conversion into the checkpoint’s own folder goes on where it was', async () => {
  const target = join(checkpoint, 'engine')
  const controller = new AbortController()
  const first = convertCheckpoint(checkpoint, target, {
    signal: controller.signal,
    onProgress: ({ fraction }) => fraction > 0.5 && controller.abort(),
  })
  await expect(first).rejects.toMatchObject({ code: 'CANCELLED' })
  const fractions: number[] = []
  await convertCheckpoint(checkpoint, target, { onProgress: ({ fraction }) => fractions.push(fraction) })
  expect(fractions[0]).toBeGreaterThan(0.4)
})
