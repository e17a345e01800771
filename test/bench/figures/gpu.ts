import { existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { chooseProvider } from '../../../native-models/inference/chooseProvider.ts'
import { physicalCores } from '../../../native-models/inference/cores.ts'
import { GromaEngine } from '../../../native-models/inference/engine.ts'
import type { Placement } from '../../../native-models/inference/placement.ts'
import { tryProvider } from '../../../native-models/inference/probe.ts'
import { PROVIDERS } from '../../../native-models/inference/session.ts'
import { makeReleaseEngine } from '../../support/releaseEngine.ts'
import { Decoder } from '../decoder.ts'
import {
  type BenchContext,
  type Figure,
  type FigureRecord,
  Missing,
  measured,
  type Row,
  unmeasured,
} from '../figure.ts'
import { GroundedWriter, groundedTalks, writeTalks } from '../grounded.ts'
import { median, seconds } from '../measure.ts'
import { demoModel, precisionText } from '../models.ts'
import { scene } from '../picture.ts'
import { cacheDir, requireRoom } from '../places.ts'

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
const grounded: Row = { ...decoding, case: 'decode, grounded text', goal: null }

/** An engine folder of the release's shapes with vision in floats, which is what a GPU wants. */
async function floatModel({ quick, log }: BenchContext): Promise<string> {
  const given = process.env.GROMATIC_BENCH_GPU_MODEL
  if (given !== undefined) return given
  const made = join(cacheDir(), 'engine-int4-float-vision')
  if (existsSync(join(made, 'manifest.json'))) return made
  if (quick) {
    throw new Missing(
      'No engine folder with vision in floats is at hand: set GROMATIC_BENCH_GPU_MODEL to one (models convert --llm int4), or run without --quick to make one (6 GB).',
    )
  }
  requireRoom(cacheDir(), ENGINE_BYTES, 'An engine folder with vision in floats')
  log(`making an engine folder of the release's shapes: ${made}`)
  await rm(made, { recursive: true, force: true })
  await makeReleaseEngine(made)
  return made
}

function placeText(placement: Placement): string {
  return (['vision-encoder', 'proposal-head', 'decoder'] as const)
    .map((graph) => {
      const { provider = 'cpu', half = false, fused = false } = placement[graph] ?? {}
      return `${graph} ${provider}${half ? ' float16' : ''}${fused ? ', fused attention' : ''}`
    })
    .join('; ')
}

const ENGINE_BYTES = 6.5e9
const QUESTION = 'Give me a concise description of the image.'
const TOKENS = 64
const PROMPT_TOKENS = 600

export const gpu: Figure = {
  work: 'where a GPU was chosen: image to proposals, and decoding; the goals are for an H200',
  rows: [proposals, decoding, grounded],
  async measure(context) {
    const { quick, log } = context
    const modelDir = await floatModel(context)
    const threads = physicalCores()
    log('trying what is here') // in this process, which is the figure's own
    const { placement, reports } = await chooseProvider({
      modelDir,
      // as in the application: to have a driver measured that loses against the processor
      wanted: PROVIDERS.find((name) => name === process.env.GROMATIC_PROVIDER) ?? 'auto',
      memoryPath: null,
      tryApart: (provider, all) => tryProvider({ provider, modelDir, threads, all, onStep: log }),
    })
    const said = reports.map(({ provider, verdict, reason }) => `${provider}: ${verdict}; ${reason}`)
    if (!placement['vision-encoder'] && !placement.decoder)
      throw new Missing(`No GPU was chosen here. ${said.join('. ')}`)
    for (const line of said) log(line)
    const engine = await GromaEngine.open(modelDir, { placement, onWarning: log })
    const note = `${placeText(placement)}; ${await precisionText(modelDir)}`
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
      await groundedRecord(modelDir, placement, context).catch(({ message }: Error) => {
        return unmeasured('gpu', grounded, `failed: ${message}`) // the others were measured
      }),
    ]
  },
}

/** Real answers, several tokens a pass where that pays on this card, as `decode` has them. */
async function groundedRecord(modelDir: string, placement: Placement, context: BenchContext): Promise<FigureRecord> {
  const { quick, log } = context
  if (!placement.decoder) return unmeasured('gpu', grounded, 'The decoder stays on the processor here: see `decode`.')
  const { talks, tokens } = await groundedTalks(await demoModel(context), quick ? 1 : 3)
  const decoder = await Decoder.open(modelDir, physicalCores(), placement)
  await decoder.prefill(PROMPT_TOKENS)
  const write = () => writeTalks(new GroundedWriter(decoder.language, decoder.prompt, tokens), talks)
  log(`writing ${talks.length} grounded answers, twice: shaders for so many rows are made in their first pass`)
  await write()
  const { tokensPerSecond, note } = await write() // by a writer that has not seen them
  await decoder.close()
  return measured('gpu', grounded, { value: tokensPerSecond, note: `${placeText(placement)}; ${note}` })
}
