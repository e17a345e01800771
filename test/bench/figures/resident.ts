import { physicalCores } from '../../../native-models/inference/cores.ts'
import { EngineWithPid } from '../engineChild.ts'
import { type Figure, measured, type Row } from '../figure.ts'
import { Llama } from '../llama/llama.ts'
import { precisionText, releaseModel } from '../models.ts'
import { sceneFile } from '../picture.ts'
import { privateBytes } from '../processMemory.ts'

const row = (name: string, limit: number): Row => ({
  case: name,
  unit: 'GB',
  referenceName: Llama.title,
  ratio: 'value/reference',
  goal: { of: 'value', at: '<=', limit },
})
const loaded = row('loaded', 0.1)
const decoding = row('decoding', 0.8)
const PROMPT_TOKENS = 600
const gigabytes = (bytes: number) => bytes / 1e9

export const resident: Figure = {
  work: 'private memory of the engine process, 7B int4: loaded, and while it answers',
  rows: [loaded, decoding],
  async measure(context) {
    const { log } = context
    const modelDir = await releaseModel(context)
    const path = await sceneFile()
    const engine = new EngineWithPid()
    log('our engine process')
    await engine.load(modelDir)
    const ours = { loaded: privateBytes(engine.pid), perceiving: 0, decoding: 0 }
    let phase: 'perceiving' | 'decoding' = 'perceiving'
    const look = () => {
      ours[phase] = Math.max(ours[phase], privateBytes(engine.pid))
    }
    const timer = setInterval(look, 20)
    const image = { path: path, key: 'scene' }
    const question = 'Give me a concise description of the image.'
    const ask = { kind: 'ask' as const, image, question, grounded: true, boxesCxcywh: [] }
    await engine.host.run(ask)
    phase = 'decoding'
    // The second time everything up to the question is remembered: what runs now is decoding.
    await engine.host.run(ask)
    clearInterval(timer)
    engine.close()

    const llama = await Llama.open(physicalCores(), log)
    const theirs = { loaded: privateBytes(llama.pid), decoding: 0 }
    await llama.prefill(PROMPT_TOKENS)
    await llama.decode(8)
    theirs.decoding = privateBytes(llama.pid)
    llama.close()
    const note = `anonymous pages; ${await precisionText(modelDir)}`
    return [
      measured('resident', loaded, { value: gigabytes(ours.loaded), reference: gigabytes(theirs.loaded), note }),
      measured('resident', decoding, {
        value: gigabytes(ours.decoding),
        reference: gigabytes(theirs.decoding),
        note: `${note}; peak while looking at the image and reading the prompt ${gigabytes(ours.perceiving).toFixed(2)} GB`,
      }),
    ]
  },
}
