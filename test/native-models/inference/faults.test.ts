/** Numbers that are none and memory that is not there, in real models and real sessions. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { GromaError } from '../../../native-models/errors.ts'
import { queries } from '../../../native-models/groma/prompt.ts'
import { selectRegions } from '../../../native-models/groma/regionSelection.ts'
import { Decoding } from '../../../native-models/inference/decoding.ts'
import { GromaEngine } from '../../../native-models/inference/engine.ts'
import { ImageMemory } from '../../../native-models/inference/imageMemory.ts'
import { LanguageModel } from '../../../native-models/inference/languageModel.ts'
import { loadModel } from '../../../native-models/inference/loadModel.ts'
import { type Feeds, GraphSession } from '../../../native-models/inference/session.ts'
import { makeTinyModel, testPicture } from '../builders/tinyModel.ts'

let made: Awaited<ReturnType<typeof makeTinyModel>>
beforeAll(async () => {
  made = await makeTinyModel()
})
afterAll(() => made.remove())

describe('weights that hold NaN', () => {
  it.each(['decoder', 'vision-encoder', 'image-tokens', 'region-head'])('in %s end in a clear error', async (graph) => {
    const path = join(made.engine, `${graph}.onnx.data`)
    const whole = await readFile(path)
    const logs: string[] = []
    try {
      const spoiled = Buffer.from(whole)
      for (let at = spoiled.length - 256; at < spoiled.length; at += 4) spoiled.writeFloatLE(Number.NaN, at)
      await writeFile(path, spoiled)
      const engine = await GromaEngine.open(made.engine, { onLog: (line) => logs.push(line) })
      const work = async () => {
        const perception = await engine.perceive(testPicture(), { key: 'picture' })
        return engine.ask(perception, { question: 'What?', grounded: true })
      }
      await expect(work()).rejects.toMatchObject({
        code: 'NUMERIC_FAULT',
        message: expect.stringContaining('verify them'),
      })
      expect(logs.filter((line) => line.includes('trying once more'))).toHaveLength(1)
      await engine.close()
    } finally {
      await writeFile(path, whole)
    }
  })
})

describe('a session that fails', () => {
  /** The tiny model with a decoder that does something else in some of its runs, counted from 0. */
  async function withDecoder(fault: (run: number, real: Awaited<ReturnType<GraphSession['run']>>) => void) {
    const model = await loadModel(made.engine, { threads: 1 })
    const decoder = await GraphSession.open(join(made.engine, 'decoder.onnx'), 1)
    let runs = 0
    const session: GraphSession = {
      release: () => decoder.release(),
      async run(feeds: Feeds) {
        const outputs = await decoder.run(feeds)
        fault(runs++, outputs)
        return outputs
      },
    }
    const language = new LanguageModel(session, model.language.table, model.config.llm)
    const faulty = { ...model, language }
    const memory = new ImageMemory(faulty, 1 << 28)
    const decoding = new Decoding(faulty, memory, { log: () => {}, drafts: true })
    const perception = await memory.perceive(testPicture(), 'picture')
    const selection = selectRegions({ ...perception.proposals, config: model.config, order: 'score' })
    const answer = async () => {
      const options = { referRegions: [[]], maxNewTokens: 8 }
      return (await decoding.run(perception, selection, queries.describe(), options))[0]!.ids
    }
    const close = () => Promise.all([model.close(), decoder.release()])
    return { answer, memory, close }
  }
  const spoil = (outputs: Feeds) => ((outputs.logits!.data as Float32Array)[3] = Number.NaN)
  const noMemory = () => {
    throw new GromaError('OUT_OF_MEMORY', 'bad allocation')
  }

  it('is asked once more, from the image on where numbers were none', async () => {
    const sound = await withDecoder(() => {})
    const expected = await sound.answer()
    await sound.close()
    const broken = await withDecoder((run, outputs) => run === 2 && spoil(outputs))
    expect(await broken.answer()).toEqual(expected)
    expect(broken.memory.counters).toMatchObject({ encoderRuns: 2, prompt: { made: expect.any(Number) } })
    await broken.close()
  })

  it('is asked once more with nothing remembered where memory was short', async () => {
    const short = await withDecoder((run) => run === 3 && noMemory())
    expect((await short.answer()).length).toBeGreaterThan(0)
    expect(short.memory.counters.encoderRuns).toBe(2)
    await short.close()
  })

  it.each<[string, (run: number, outputs: Feeds) => unknown, string]>([
    ['NUMERIC_FAULT', (_, outputs) => spoil(outputs), 'verify them'],
    ['OUT_OF_MEMORY', noMemory, 'close other programs'],
  ])('twice: %s', async (code, fault, words) => {
    const failing = await withDecoder((run, outputs) => run > 0 && fault(run, outputs))
    await expect(failing.answer()).rejects.toMatchObject({ code, message: expect.stringContaining(words) })
    await failing.close()
  })
})
