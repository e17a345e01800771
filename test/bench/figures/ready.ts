import { EngineWithPid } from '../engineChild.ts'
import {
  type BenchContext,
  type Figure,
  type FigureRecord,
  Missing,
  measured,
  type Row,
  unmeasured,
} from '../figure.ts'
import { median, seconds } from '../measure.ts'
import { demoModel, precisionText, releaseModel } from '../models.ts'
import { sceneFile } from '../picture.ts'

const row = (name: string, limit: number): Row => ({
  case: name,
  unit: 's',
  referenceName: '',
  ratio: 'reference/value',
  goal: { of: 'value', at: '<=', limit },
})
const release = row('7B int4, prepacked', 8)
const demo = row('demo model', 1)

export const ready: Figure = {
  work: 'start of the engine process until the first proposals',
  rows: [release, demo],
  async measure(context) {
    return [
      await record(release, releaseModel, context, context.quick ? 1 : 3),
      await record(demo, demoModel, context, context.quick ? 3 : 7),
    ]
  },
}

async function record(
  row: Row,
  model: (context: BenchContext) => Promise<string>,
  context: BenchContext,
  rounds: number,
): Promise<FigureRecord> {
  try {
    const modelDir = await model(context)
    const path = await sceneFile()
    context.log(`${row.case}: once to prepack, then ${rounds} times`)
    await firstProposal(modelDir, path)
    const times: number[] = []
    for (let round = 0; round < rounds; round++) times.push(await firstProposal(modelDir, path))
    const note = `${await precisionText(modelDir)}; files in the page cache`
    return measured('ready', row, { value: median(times), note })
  } catch (error) {
    if (!(error instanceof Missing)) throw error
    return unmeasured('ready', row, error.message)
  }
}

/** Seconds from starting the process until it has told the regions of its first image. */
function firstProposal(modelDir: string, path: string): Promise<number> {
  return seconds(async () => {
    const engine = new EngineWithPid()
    try {
      await engine.load(modelDir)
      await engine.host.run({ kind: 'propose', image: { path, key: 'scene' }, captions: false })
    } finally {
      engine.close()
    }
  })
}
