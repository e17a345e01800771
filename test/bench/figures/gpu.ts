import { GromaEngine } from '../../../native-models/inference/engine.ts'
import { type Figure, Missing, measured, type Row } from '../figure.ts'
import { median, seconds } from '../measure.ts'
import { precisionText, releaseModel } from '../models.ts'
import { scene } from '../picture.ts'

const proposals: Row = {
  case: 'image to proposals',
  unit: 'ms',
  referenceName: '',
  ratio: 'reference/value',
  goal: { of: 'value', at: '<=', limit: 60 },
}
const decoding: Row = {
  case: 'decode',
  unit: 'tok/s',
  referenceName: '',
  ratio: 'value/reference',
  goal: { of: 'value', at: '>=', limit: 100 },
}

const QUESTION = 'Give me a concise description of the image.'
const TOKENS = 64

export const gpu: Figure = {
  work: 'where a GPU was chosen: image to proposals, and decoding; the goals are for an H200',
  rows: [proposals, decoding],
  async measure(context) {
    const { quick, log } = context
    const modelDir = await releaseModel(context)
    const engine = await GromaEngine.open(modelDir)
    const { provider } = engine.info
    if (provider === 'cpu') {
      await engine.close()
      throw new Missing('No GPU was chosen here; `models test` says why for each.')
    }
    const note = `${provider}; ${await precisionText(modelDir)}`
    const image = await scene()
    const rounds = quick ? 3 : 10
    const look = (round: number) =>
      seconds(async () => engine.propose(await engine.perceive(image, { key: `image ${round}` })))
    log('image to proposals')
    await look(-1) // shaders and plans are made in the first run
    const looks: number[] = []
    for (let round = 0; round < rounds; round++) looks.push(await look(round))

    log('decoding')
    const perception = await engine.perceive(image, { key: 'image 0' })
    const ask = (maxNewTokens: number) => engine.ask(perception, { question: QUESTION, grounded: true, maxNewTokens })
    await ask(4)
    const speeds: number[] = []
    for (let round = 0; round < rounds; round++) {
      const first = await seconds(() => ask(1))
      let count = 0
      const all = await seconds(async () => {
        count = (await ask(TOKENS)).outputIds.length
      })
      speeds.push((count - 1) / (all - first))
    }
    await engine.close()
    return [
      measured('gpu', proposals, { value: 1000 * median(looks), note }),
      measured('gpu', decoding, { value: median(speeds), note }),
    ]
  },
}
