import {
  appendFile,
  cp,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { convertCheckpoint } from '../../../native-models/builders/buildModel.ts'
import { verifyModel } from '../../../native-models/builders/verifyModel.ts'
import { readManifest, writeManifest } from '../../../native-models/checkpoint/manifest.ts'
import { GromaEngine } from '../../../native-models/inference/engine.ts'
import { makeTinyCheckpoint, makeTinyModel, testPicture, tinyConfig, unusualShape } from './tinyModel.ts'

const NOTES = '.progress.jsonl'

describe('convertCheckpoint', () => {
  let root: string
  let checkpoint: string
  let engine: string
  let made: string
  beforeAll(async () => {
    made = await mkdtemp(join(tmpdir(), 'gromatic-made-'))
    await makeTinyCheckpoint(made)
  })
  afterAll(() => rm(made, { recursive: true, force: true }))
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'gromatic-convert-'))
    checkpoint = join(root, 'checkpoint')
    engine = join(root, 'models', 'engine')
    await cp(made, checkpoint, { recursive: true })
  })
  afterEach(() => rm(root, { recursive: true, force: true }))

  const left = async () => (await readdir(join(root, 'models')).catch(() => [])).sort()

  it('makes a folder that verifies, and says how far it is', async () => {
    const fractions: number[] = []
    const steps = new Set<string>()
    await convertCheckpoint(checkpoint, engine, {
      onProgress: ({ step, fraction }) => {
        steps.add(step)
        fractions.push(fraction)
      },
    })
    expect(await left()).toEqual(['engine'])
    expect(await verifyModel(engine)).toEqual([])
    expect(fractions).toEqual([...fractions].sort((a, b) => a - b))
    expect(fractions.at(-1)).toBe(1)
    expect([...steps].slice(0, 2)).toEqual(['vision-encoder', 'proposal-head'])
    const manifest = await readManifest(engine)
    expect(manifest).toMatchObject({ createdFrom: 'checkpoint', llm: 'fp32', vision: 'fp32' })
    expect(manifest.files.map(({ path }) => path)).toContain('tokenizer.model')
  })

  it('gives the same model hash for the same weights', async () => {
    await convertCheckpoint(checkpoint, engine)
    await convertCheckpoint(checkpoint, `${engine}2`)
    expect((await readManifest(engine)).modelHash).toBe((await readManifest(`${engine}2`)).modelHash)
  })

  it.each(['fp16', 'int8', 'int4'])('keeps the language model as %s in a smaller folder that runs', async (llm) => {
    await convertCheckpoint(checkpoint, engine, { llm })
    await convertCheckpoint(checkpoint, `${engine}2`)
    expect(await verifyModel(engine)).toEqual([])
    const [small, full] = await Promise.all([readManifest(engine), readManifest(`${engine}2`)])
    expect(small).toMatchObject({ llm, vision: 'fp32' })
    const bytesOf = ({ files }: typeof small, name: RegExp) => files.find(({ path }) => name.test(path))!.bytes
    expect(bytesOf(small, /^token-embeddings/)).toBe(bytesOf(full, /^token-embeddings/) / 2)
    expect(bytesOf(small, /^decoder.onnx.data/)).toBeLessThan(0.7 * bytesOf(full, /^decoder.onnx.data/))
    const opened = await GromaEngine.open(engine)
    try {
      const perception = await opened.perceive(testPicture(), { key: 'a' })
      const answer = await opened.ask(perception, { question: 'What is it?', grounded: true })
      expect(answer.outputIds.length).toBeGreaterThan(0)
    } finally {
      await opened.close()
    }
  })

  it.each([{ llm: 'double' }, { vision: 'double' }, { vision: 'int4' }])(
    'refuses %o before it writes anything',
    async (precision) => {
      await expect(convertCheckpoint(checkpoint, engine, precision)).rejects.toMatchObject({
        code: 'INPUT_INVALID',
        message: expect.stringContaining('is not offered'),
      })
      expect(await left()).toEqual([])
    },
  )

  it('never replaces what is there', async () => {
    await mkdir(engine, { recursive: true })
    await writeFile(join(engine, 'notes'), 'mine')
    await expect(convertCheckpoint(checkpoint, engine)).rejects.toMatchObject({ code: 'INPUT_INVALID' })
    expect(await readdir(engine)).toEqual(['notes'])
  })

  /** Converts until the named step and returns the steps that were begun. */
  const convertUntil = async (last: string, options: { llm?: string } = {}) => {
    const controller = new AbortController()
    const steps = new Set<string>()
    const conversion = convertCheckpoint(checkpoint, engine, {
      ...options,
      signal: controller.signal,
      onProgress: ({ step }) => {
        steps.add(step)
        if (step === last) controller.abort()
      },
    })
    return { steps, outcome: await conversion.then(() => 'done').catch(({ code }) => code) }
  }

  /** What a conversion left that was cancelled while it wrote the last tensor. */
  const cancelledAtLast = async () => {
    expect((await convertUntil('token-embeddings')).outcome).toBe('CANCELLED')
    expect(await left()).toEqual([expect.stringMatching(/^\.engine\.stopped-[0-9a-f]{8}\.partial$/)])
    return join(root, 'models', (await left())[0]!)
  }
  const expectSameModel = async () => {
    expect(await left()).toEqual(['engine'])
    expect(await verifyModel(engine)).toEqual([])
    await convertCheckpoint(checkpoint, `${engine}2`)
    expect((await readManifest(engine)).modelHash).toBe((await readManifest(`${engine}2`)).modelHash)
  }

  it('leaves nothing when cancelled before anything is finished', async () => {
    const signal = AbortSignal.abort()
    await expect(convertCheckpoint(checkpoint, engine, { signal })).rejects.toMatchObject({ code: 'CANCELLED' })
    expect(await left()).toEqual([])
  })

  it('goes on where it was cancelled, and makes the same model', async () => {
    await cancelledAtLast()
    expect([...(await convertUntil('none')).steps]).toEqual(['token-embeddings', 'manifest'])
    await expectSameModel()
  })

  it.each([
    ['a finished tensor is damaged', async (partial: string) => flip(join(partial, 'decoder.onnx.data'), 100_000)],
    ['a finished file is short', async (partial: string) => truncate(join(partial, 'decoder.onnx.data'), 100_000)],
    ['a finished file is missing', async (partial: string) => rm(join(partial, 'decoder.onnx.data'))],
    ['its notes end early', async (partial: string) => truncate(join(partial, NOTES), 3000)],
    ['its notes are damaged', async (partial: string) => flip(join(partial, NOTES), 20)],
    ['the checkpoint was written again', async () => utimes(join(checkpoint, 'model.safetensors'), 1, 1)],
  ])('makes tensors anew when %s', async (_, damage) => {
    await damage(await cancelledAtLast())
    expect((await convertUntil('none')).steps).toContain('decoder')
    await expectSameModel()
  })

  it('starts anew for another precision', async () => {
    expect((await convertUntil('token-embeddings', { llm: 'int4' })).outcome).toBe('CANCELLED')
    expect([...(await convertUntil('none')).steps]).toContain('vision-encoder')
    expect(await verifyModel(engine)).toEqual([])
  })

  it('takes over what a killed conversion left, and nothing else', async () => {
    const models = join(root, 'models')
    const kept = [`.other.${process.pid}-01234567.partial`, '.engine.partial', 'notes']
    for (const name of [...kept, '.engine.999999999-89abcdef.partial'])
      await mkdir(join(models, name), { recursive: true })
    await convertCheckpoint(checkpoint, engine)
    expect(await left()).toEqual(['engine', ...kept].sort())
  })

  it('leaves nothing when a tensor is missing or has another shape', async () => {
    const weights = join(checkpoint, 'model.safetensors')
    const bytes = await readFile(weights)
    const rename = Buffer.from(bytes)
    rename.write('img_txt_bridge.9', bytes.indexOf('img_txt_bridge.2'))
    await writeFile(weights, rename)
    await expect(convertCheckpoint(checkpoint, engine)).rejects.toMatchObject({
      code: 'CHECKPOINT_INVALID',
      message: expect.stringContaining('img_txt_bridge.2'),
    })
    expect(await left()).toEqual([])
  })

  it('refuses a picture that is no even number of patches', async () => {
    const path = join(checkpoint, 'preprocessor_config.json')
    await writeFile(path, JSON.stringify({ crop_size: 7 * 15 }))
    await expect(convertCheckpoint(checkpoint, engine)).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  })

  it('refuses a configuration that the weights do not fit', async () => {
    const config = tinyConfig(unusualShape)
    config.llm_cfg.intermediate_size = 71
    await writeFile(join(checkpoint, 'config.json'), JSON.stringify(config))
    await expect(convertCheckpoint(checkpoint, engine)).rejects.toMatchObject({ code: 'CHECKPOINT_INVALID' })
    expect(await left()).toEqual([])
  })
})

describe('verifyModel', () => {
  let root: string
  let engine: string
  let made: Awaited<ReturnType<typeof makeTinyModel>>
  beforeAll(async () => {
    made = await makeTinyModel()
  })
  afterAll(() => made.remove())
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'gromatic-verify-'))
    engine = join(root, 'engine')
    await cp(made.engine, engine, { recursive: true })
  })
  afterEach(() => rm(root, { recursive: true, force: true }))

  it('notices a changed byte, a short file and a missing one', async () => {
    const data = join(engine, 'decoder.onnx.data')
    const bytes = await readFile(data)
    bytes[1000]! ^= 1
    await writeFile(data, bytes)
    await truncate(join(engine, 'token-embeddings.f32'), 100)
    await rm(join(engine, 'region-head.onnx'))
    const problems = await verifyModel(engine)
    expect(problems.map(({ path }) => path).sort()).toEqual([
      'decoder.onnx.data',
      'region-head.onnx',
      'token-embeddings.f32',
    ])
    await expect(GromaEngine.open(engine)).rejects.toMatchObject({ code: 'MODEL_INVALID' })
  })

  it('refuses a graph that reads another file, or past the end of its own', async () => {
    const path = join(engine, 'image-tokens.onnx')
    const original = await readFile(path)
    const name = 'image-tokens.onnx.data'
    for (const other of ['../../../etc/passwd___', 'decoder.onnx.data/././']) {
      const bytes = Buffer.from(original)
      for (let at = bytes.indexOf(name); at >= 0; at = bytes.indexOf(name)) bytes.write(other.slice(0, name.length), at)
      await writeFile(path, bytes)
      await rewriteManifest(engine)
      expect((await verifyModel(engine))[0]?.message).toContain('instead of image-tokens.onnx.data')
      await expect(GromaEngine.open(engine)).rejects.toMatchObject({ code: 'MODEL_INVALID' })
    }
    await writeFile(path, original)
    await truncate(join(engine, name), 64)
    await rewriteManifest(engine)
    expect((await verifyModel(engine))[0]?.message).toContain('reaches outside')
  })

  it('refuses graphs of another model', async () => {
    const config = tinyConfig(unusualShape)
    config.perceiver_cfg.ddetr_cfg.two_stage_num_proposals = 21
    await writeFile(join(engine, 'config.json'), JSON.stringify(config))
    await rewriteManifest(engine)
    expect((await verifyModel(engine)).map(({ message }) => message)).toEqual([
      'proposal-head.onnx: boxes_cxcywh is [20, 4], not [21, 4]',
    ])
  })

  it('refuses a folder that lacks a graph, and files that are no graphs', async () => {
    await rm(join(engine, 'region-head.onnx'))
    await rewriteManifest(engine)
    expect((await verifyModel(engine))[0]?.message).toBe('region-head.onnx: is not in the manifest')
    await writeFile(join(engine, 'region-head.onnx'), '<!doctype html>')
    await rewriteManifest(engine)
    expect((await verifyModel(engine))[0]?.path).toBe('region-head.onnx')
    await appendFile(join(engine, 'manifest.json'), 'x')
    await expect(verifyModel(engine)).rejects.toMatchObject({ code: 'MODEL_INVALID' })
    await rename(join(engine, 'manifest.json'), join(engine, 'elsewhere.json'))
    expect((await stat(engine)).isDirectory()).toBe(true)
    await expect(GromaEngine.open(engine)).rejects.toMatchObject({ code: 'MODEL_INVALID' })
  })
})

/** Changes one bit of a file. */
async function flip(path: string, at: number): Promise<void> {
  const bytes = await readFile(path)
  bytes[at]! ^= 1
  await writeFile(path, bytes)
}

/** As someone would who wants a changed folder to pass. */
async function rewriteManifest(dir: string): Promise<void> {
  const { createdFrom, llm, vision, config } = await readManifest(dir)
  const files = (await readdir(dir)).filter((name) => name !== 'manifest.json')
  await writeManifest(dir, { createdFrom, llm, vision, config }, files)
}
