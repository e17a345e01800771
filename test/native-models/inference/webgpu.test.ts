/** The engine on WebGPU beside the same engine on the processor, where a driver is: a software one (Mesa 25's lavapipe) will do. */
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { convertCheckpoint } from '../../../native-models/builders/buildModel.ts'
import { GRAPHS } from '../../../native-models/builders/modelFiles.ts'
import { DeviceTensors } from '../../../native-models/inference/deviceTensors.ts'
import { GromaEngine } from '../../../native-models/inference/engine.ts'
import { type Placement, placementOf } from '../../../native-models/inference/placement.ts'
import { tryProvider } from '../../../native-models/inference/probe.ts'
import { isOnDevice, OpenGraph, type Tensor } from '../../../native-models/inference/session.ts'
import type { TraceTensor } from '../../../native-models/inference/trace.ts'
import { webgpuMissing } from '../../support/webgpuDriver.ts'
import { makeTinyModel, testPicture } from '../builders/tinyModel.ts'

const missing = webgpuMissing()
const onWebgpu = (half = false): Placement =>
  Object.fromEntries(
    GRAPHS.map((graph) => [graph, { provider: 'webgpu' as const, half: half && graph === 'vision-encoder' }]),
  )

describe.skipIf(missing !== null)(missing === null ? 'on WebGPU' : `on WebGPU (skipped: ${missing})`, () => {
  let tiny: Awaited<ReturnType<typeof makeTinyModel>>
  beforeAll(async () => {
    tiny = await makeTinyModel()
  })
  afterAll(() => tiny.remove())

  async function answer(placement: Placement, warnings: string[] = []) {
    const engine = await GromaEngine.open(tiny.engine, {
      threads: 1,
      placement,
      onWarning: (message) => warnings.push(message),
    })
    try {
      const { case: found, tensors } = await engine.trace(testPicture(), {
        query: '[grounding] What?',
        maxNewTokens: 6,
      })
      return { provider: engine.info.provider, found, tensors }
    } finally {
      await engine.close()
    }
  }
  const relativeError = (a: TraceTensor, b: TraceTensor): number => {
    const scale = Math.max(...Array.from(a.data, Math.abs))
    return Math.max(...Array.from(a.data, (value, i) => Math.abs(value - b.data[i]!) / scale))
  }

  it('sees and says the same as on the processor', async () => {
    const warnings: string[] = []
    const [cpu, gpu] = [await answer({}), await answer(onWebgpu(), warnings)]
    expect(warnings).toEqual([])
    expect([cpu.provider, gpu.provider]).toEqual(['cpu', 'webgpu'])
    expect(gpu.found.output_ids).toEqual(cpu.found.output_ids)
    for (const [name, tensor] of Object.entries(cpu.tensors))
      expect(relativeError(tensor, gpu.tensors[name]!), name).toBeLessThan(1e-3)
    for (const [row, box] of cpu.found.selected_cxcywh.entries())
      for (const [i, place] of box.entries())
        expect(Math.abs(place - gpu.found.selected_cxcywh[row]![i]!)).toBeLessThan(1e-3)
  })

  it('describes regions abreast and answers at length as on the processor, keys and values staying on the device', async () => {
    const [cpu, gpu] = await Promise.all(
      [{}, onWebgpu()].map(async (placement) => {
        const warnings: string[] = []
        const onWarning = (message: string) => warnings.push(message)
        const engine = await GromaEngine.open(tiny.engine, { threads: 1, placement, onWarning })
        const perception = await engine.perceive(testPicture(), { key: 'k' })
        const boxes = engine.propose(perception).slice(0, 3)
        const captions = await engine.caption(
          perception,
          boxes.map(({ boxCxcywh }) => boxCxcywh),
          { detail: 'brief' },
        )
        const answers = []
        for (const question of ['What?', 'What is it, and what is beside it?'])
          answers.push((await engine.ask(perception, { question, grounded: true, maxNewTokens: 24 })).outputIds)
        await engine.close()
        return { captions: captions.map(({ outputIds }) => outputIds), answers, warnings }
      }),
    )
    expect(gpu).toEqual(cpu)
    expect(gpu!.captions).toHaveLength(3)
  })

  it('gives back what answers held on the device, and reads nothing that it cannot keep', async () => {
    const adopt = vi.spyOn(DeviceTensors.prototype, 'adopt')
    const placement: Placement = { decoder: { provider: 'webgpu', half: false } }
    const engine = await GromaEngine.open(tiny.engine, { threads: 1, placement, onWarning: fail })
    const perception = await engine.perceive(testPicture(), { key: 'k' })
    const boxes = engine.propose(perception).map(({ boxCxcywh }) => boxCxcywh)
    await engine.prepare(perception)
    const held = () => [...new Set(adopt.mock.contexts as DeviceTensors[])].reduce((sum, { count }) => sum + count, 0)
    const before = held()
    expect(before).toBeGreaterThan(0)
    await engine.ask(perception, { question: 'What?', grounded: true, maxNewTokens: 4 })
    const { passes } = engine.counters().decoder
    await engine.caption(perception, boxes, { detail: 'brief', maxNewTokens: 4 })
    expect(engine.counters().decoder.passes - passes).toBeLessThanOrEqual(4)
    const controller = new AbortController()
    const onText = () => controller.abort()
    const cut = engine.ask(perception, { question: 'Where?', grounded: true, onText, signal: controller.signal })
    await expect(cut).rejects.toMatchObject({ code: 'CANCELLED' })
    await expect.poll(held).toBe(before)
    await engine.close()
    expect(held()).toBe(0)
    adopt.mockRestore()
  })

  /** Graphs that were run: which inputs came from this process's memory, which outputs went there. */
  async function crossings(placement: Placement): Promise<Record<string, { fed: string[]; read: string[] }>> {
    const found: Record<string, { fed: string[]; read: string[] }> = {}
    const here = (tensors: Record<string, Tensor>) =>
      Object.entries(tensors).flatMap(([name, tensor]) => (isOnDevice(tensor) ? [] : [name]))
    const run = OpenGraph.prototype.run
    const spy = vi.spyOn(OpenGraph.prototype, 'run').mockImplementation(async function (this: OpenGraph, feeds, into) {
      const outputs = await run.call(this, feeds, into)
      found[
        Object.keys(outputs)
          .sort()[0]!
          .replace(/\.\d+$/, '')
      ] = { fed: here(feeds), read: here(outputs) }
      return outputs
    })
    const { decoder: _, ...seeing } = placement
    const engine = await GromaEngine.open(tiny.engine, { threads: 1, placement: seeing, onWarning: fail })
    const perception = await engine.perceive(testPicture(), { key: 'k' })
    await engine.ask(perception, { question: 'What?', grounded: true, maxNewTokens: 1 })
    await engine.close()
    spy.mockRestore()
    return found
  }
  const fail = (message: string) => {
    throw new Error(message)
  }

  it('leaves hidden states and region maps where they are while all who read them are there too', async () => {
    const found = await crossings(onWebgpu())
    expect(found.hidden_state).toEqual({ fed: ['pixel_values'], read: [] })
    expect(found.boxes_cxcywh).toEqual({ fed: [], read: ['boxes_cxcywh', 'logit_coco', 'logit_sa1b'] })
    expect(found.image_tokens).toEqual({ fed: [], read: ['image_tokens'] })
    expect(found.region_map).toEqual({ fed: [], read: [] })
    expect(found.region_tokens).toEqual({ fed: ['boxes_cxcywh'], read: ['region_tokens'] })
  })

  it('reads them back where one of the graphs is on the processor', async () => {
    const { 'proposal-head': _, ...others } = onWebgpu()
    const found = await crossings(others)
    expect(found.hidden_state!.read).toHaveLength(5)
    expect(found.boxes_cxcywh!.fed).toHaveLength(4)
    expect(found.region_map!.read).toEqual([])
  })

  it('makes everything about an image anew on the processor when the device is lost', async () => {
    const lost: string[] = []
    const placement = onWebgpu()
    delete placement.decoder
    const engine = await GromaEngine.open(tiny.engine, { threads: 1, placement, onWarning: (m) => lost.push(m) })
    const perception = await engine.perceive(testPicture(), { key: 'k' })
    const run = OpenGraph.prototype.run
    const spy = vi.spyOn(OpenGraph.prototype, 'run').mockImplementationOnce(() => Promise.reject(new Error('lost')))
    const answer = await engine.ask(perception, { question: 'What?', grounded: true, maxNewTokens: 3 })
    spy.mockRestore()
    expect(OpenGraph.prototype.run).toBe(run)
    expect(lost).toEqual([expect.stringMatching(/^webgpu failed at .*: lost; the CPU goes on/)])
    await engine.close()
    const onCpu = await GromaEngine.open(tiny.engine, { threads: 1 })
    const same = await onCpu.perceive(testPicture(), { key: 'k' })
    const expected = await onCpu.ask(same, { question: 'What?', grounded: true, maxNewTokens: 3 })
    expect(answer.outputIds).toEqual(expected.outputIds)
    await onCpu.close()
  })

  it('sees nearly the same in float16', async () => {
    const [cpu, gpu] = [await answer({}), await answer(onWebgpu(true))]
    expect(relativeError(cpu.tensors.image_tokens!, gpu.tensors.image_tokens!)).toBeLessThan(3e-2)
  })

  it.each(['fp32', 'int4'])('finds every graph of a model in %s right in a trial', async (llm) => {
    const modelDir = join(tiny.root, llm)
    await convertCheckpoint(tiny.checkpoint, modelDir, { llm })
    const trial = await tryProvider({
      provider: 'webgpu',
      modelDir,
      threads: 1,
      all: true,
      onStep: () => {},
    })
    expect(trial.refusal).toBeNull()
    // One operator for attention is wrong on some devices, and wants other widths of a head than this model's.
    const plain = trial.graphs.filter(({ fused }) => !fused)
    expect(plain.flatMap(({ refusal }) => refusal ?? [])).toEqual([])
    expect(Object.keys(placementOf(trial, { always: true }))).toEqual([...GRAPHS])
  })
})

describe('a device that is not there', () => {
  it('is told once, and the processor goes on', async () => {
    const tiny = await makeTinyModel()
    const warnings: string[] = []
    // No CUDA library lies here, or no card: where both do, it simply works.
    const placement: Placement = Object.fromEntries(GRAPHS.map((graph) => [graph, { provider: 'cuda', half: false }]))
    const engine = await GromaEngine.open(tiny.engine, {
      threads: 1,
      placement,
      onWarning: (text) => warnings.push(text),
    })
    const { proposals } = await engine.perceive(testPicture(), { key: 'k' })
    expect(proposals.scores.every(Number.isFinite)).toBe(true)
    expect(warnings.length).toBeLessThanOrEqual(1)
    if (warnings.length > 0) expect(warnings[0]).toMatch(/^cuda failed at vision-encoder: .*the CPU goes on/s)
    await engine.close()
    await tiny.remove()
  })
})
