import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type ChooseOptions, chooseProvider } from '../../../native-models/inference/chooseProvider.ts'
import {
  type GraphTrial,
  type ProviderTrial,
  placementOf,
  verdictOf,
} from '../../../native-models/inference/placement.ts'
import { builtInProviders } from '../../../native-models/inference/session.ts'
import { makeTinyModel } from '../builders/tinyModel.ts'

const graph = (about: Partial<GraphTrial>): GraphTrial => ({
  graph: 'vision-encoder',
  half: false,
  fused: false,
  seconds: 0.1,
  cpuSeconds: 1,
  refusal: null,
  ...about,
})
const trial = (...graphs: GraphTrial[]): ProviderTrial => ({ provider: 'webgpu', refusal: null, graphs })

describe('placement', () => {
  it('takes a device where it is clearly faster and right, in the faster arithmetic', () => {
    const found = trial(
      graph({ seconds: 0.2 }),
      graph({ seconds: 0.1, half: true }),
      graph({ graph: 'proposal-head', seconds: 0.9 }),
      graph({ graph: 'region-maps', seconds: null, refusal: 'it has no kernel for some of the operators' }),
      graph({ graph: 'region-head', seconds: 0.3 }),
      graph({ graph: 'region-head', seconds: null, half: true, refusal: 'its numbers are wrong by 40 %' }),
    )
    expect(placementOf(found)).toEqual({
      'vision-encoder': { provider: 'webgpu', half: true, fused: false },
      'region-head': { provider: 'webgpu', half: false, fused: false },
    })
    expect(Object.keys(placementOf(found, { always: true }))).toEqual([
      'vision-encoder',
      'proposal-head',
      'region-head',
    ])
    expect(verdictOf(found)).toMatch(/faster at vision-encoder, region-head; not fast enough at proposal-head/)
    expect(verdictOf(found)).toContain('region-maps: it has no kernel')
  })

  it('takes nothing of a provider that is refused', () => {
    expect(placementOf({ ...trial(graph({})), refusal: 'no adapter' }, { always: true })).toEqual({})
  })
})

describe.runIf(builtInProviders().some(({ name }) => name === 'webgpu'))('choice of a provider', () => {
  let tiny: Awaited<ReturnType<typeof makeTinyModel>>
  let asked: string[] = []
  beforeAll(async () => {
    tiny = await makeTinyModel()
  })
  afterAll(() => tiny.remove())

  const choose = (options: Partial<ChooseOptions>) => {
    asked = []
    return chooseProvider({
      modelDir: tiny.engine,
      wanted: 'auto',
      memoryPath: null,
      tryApart: async (provider) => {
        asked.push(provider)
        return { ...trial(graph({})), provider }
      },
      ...options,
    })
  }
  const webgpu = ({ reports }: Awaited<ReturnType<typeof choose>>) => reports.find((one) => one.provider === 'webgpu')!

  it('tries nothing for a small model, and says so', async () => {
    const choice = await choose({})
    expect(asked).toEqual([])
    expect(choice).toMatchObject({ provider: 'cpu', placement: {} })
    expect(webgpu(choice)).toMatchObject({ verdict: 'untried', reason: expect.stringContaining('small') })
  })

  it('tries a large model on a card, and not where only software would draw, unless asked to', async () => {
    const modelDir = join(tiny.root, 'large')
    mkdirSync(modelDir)
    const manifest = JSON.parse(readFileSync(join(tiny.engine, 'manifest.json'), 'utf8'))
    manifest.files[0].bytes = 1 << 30
    writeFileSync(join(modelDir, 'manifest.json'), JSON.stringify(manifest))
    const without = await choose({ modelDir, hasCard: () => false })
    expect(asked).not.toContain('webgpu')
    expect(webgpu(without)).toMatchObject({ verdict: 'untried', reason: expect.stringContaining('no graphics card') })
    await choose({ modelDir, hasCard: () => true })
    expect(asked).toContain('webgpu')
    await choose({ modelDir, wanted: 'webgpu', hasCard: () => false })
    expect(asked).toEqual(['webgpu'])
  })

  it('takes what was asked for, even where it is slower', async () => {
    const slow = async () => trial(graph({ seconds: 3 }))
    expect((await choose({ wanted: 'webgpu', tryApart: slow })).provider).toBe('webgpu')
    const thorough = await choose({ thorough: true, tryApart: slow })
    expect(thorough.provider).toBe('cpu')
    expect(webgpu(thorough)).toMatchObject({ verdict: 'slower', reason: expect.stringContaining('not fast enough') })
  })

  it('keeps the reason when the process that tries ends or hangs', async () => {
    const choice = await choose({
      wanted: 'webgpu',
      tryApart: async () => {
        throw new Error('the process ended (signal SIGSEGV) at vision encoder on webgpu')
      },
    })
    expect(choice.provider).toBe('cpu')
    expect(webgpu(choice)).toMatchObject({ verdict: 'refused', reason: expect.stringContaining('SIGSEGV') })
  })

  it.each([
    [
      '/onnxruntime_src/onnxruntime/core/providers/webgpu/webgpu_context.cc:136 onnxruntime::webgpu::WebGpuContext::Initialize(const onnxruntime::webgpu::WebGpuContextConfig&)::<lambda()> adapter_result.status == wgpu::RequestAdapterStatus::Success was false. Failed to get a WebGPU adapter: No supported ad',
      /^no driver for WebGPU was found: install .*apt install libvulkan1 mesa-vulkan-drivers/,
    ],
    [
      '/onnxruntime_src/onnxruntime/core/session/provider_bridge_ort.cc:1988 onnxruntime::Provider& onnxruntime::ProviderLibrary::Get() [ONNXRuntimeError] : 1 : FAIL : Failed to load library libonnxruntime_providers_cuda.so with error: libcudnn.so.9: cannot open shared object file: No such file or directory',
      /^CUDA 12 and cuDNN 9 are to be installed$/,
    ],
    [
      '/onnxruntime_src/onnxruntime/core/providers/webgpu/webgpu_context.cc:71 Initialize() [ONNXRuntimeError] : 1 : FAIL : the device is too old',
      /^the device is too old$/,
    ],
    ['its numbers are wrong by 5.3 %', /^its numbers are wrong by 5.3 %$/],
  ])('says in words why a provider was refused: %s', async (refusal, words) => {
    const refused = async () => ({ ...trial(), refusal })
    expect(webgpu(await choose({ wanted: 'webgpu', tryApart: refused })).reason).toMatch(words)
    const oneGraph = async () => trial(graph({ refusal, seconds: null }))
    const reason = words.source.replace(/^\^/, '^vision-encoder: ')
    expect(webgpu(await choose({ wanted: 'webgpu', tryApart: oneGraph })).reason).toMatch(new RegExp(reason))
  })

  it('remembers by machine and model, and tries again on another machine', async () => {
    const memoryPath = join(tiny.root, 'cache', 'providers.json')
    await choose({ wanted: 'webgpu', memoryPath })
    expect(asked).toEqual(['webgpu'])
    expect((await choose({ wanted: 'webgpu', memoryPath })).provider).toBe('webgpu')
    expect(asked).toEqual([])
    const memory = JSON.parse(readFileSync(memoryPath, 'utf8'))
    writeFileSync(memoryPath, JSON.stringify({ ...memory, machine: 'another driver' }))
    await choose({ wanted: 'webgpu', memoryPath })
    expect(asked).toEqual(['webgpu'])
    writeFileSync(memoryPath, '{ damaged')
    await choose({ wanted: 'webgpu', memoryPath })
    expect(asked).toEqual(['webgpu'])
  })

  it('never tries what this runtime does not have', async () => {
    await choose({ thorough: true })
    const has = builtInProviders().map(({ name }) => name)
    expect(asked.every((name) => (has as string[]).includes(name))).toBe(true)
  })
})
