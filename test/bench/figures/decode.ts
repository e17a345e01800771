import { physicalCores } from '../../../native-models/inference/cores.ts'
import { Decoder } from '../decoder.ts'
import { type BenchContext, type Figure, type FigureRecord, measured, type Row } from '../figure.ts'
import { GroundedWriter, groundedTalks, writeTalks } from '../grounded.ts'
import { Llama } from '../llama/llama.ts'
import { interleaved, median, spreadText } from '../measure.ts'
import { demoModel, precisionText, releaseModel } from '../models.ts'

const PROMPT_TOKENS = 600

const plain: Row = {
  case: 'plain',
  unit: 'tok/s',
  referenceName: Llama.title,
  ratio: 'value/reference',
  goal: { of: 'ratio', at: '>=', limit: 1 },
}
const grounded: Row = {
  ...plain,
  case: 'grounded text, several tokens a pass',
  goal: { of: 'ratio', at: '>=', limit: 1.2 },
}

export const decode: Figure = {
  work: `7B int4, a cache of ${PROMPT_TOKENS} tokens, greedy, beside llama.cpp`,
  rows: [plain, grounded],
  async measure(context) {
    const { quick, log } = context
    const modelDir = await releaseModel(context)
    const threads = physicalCores()
    const llama = await Llama.open(threads, log)
    try {
      const decoder = await Decoder.open(modelDir, threads)
      log(`reading the prompt of ${PROMPT_TOKENS} tokens, both sides`)
      await decoder.prefill(PROMPT_TOKENS)
      await llama.prefill(PROMPT_TOKENS)
      const [tokens, rounds] = quick ? [8, 2] : [24, 4]
      await decoder.decode(2) // the first run lays out buffers
      await llama.decode(2)
      log(`writing ${tokens} tokens, ${rounds} times each in turns`)
      const { ours, theirs } = await interleaved(
        rounds,
        async () => tokens / (await decoder.decode(tokens)),
        async () => tokens / (await llama.decode(tokens)),
      )
      log(`ours ${spreadText(ours)} tok/s, llama.cpp ${spreadText(theirs)}`) // kept should the rest be stopped
      const note = `${await precisionText(modelDir)}; ${threads} threads; ours ${spreadText(ours)}, llama.cpp ${spreadText(theirs)}`
      return [
        measured('decode', plain, { value: ours.median, reference: theirs.median, note }),
        await groundedRecord(decoder, llama, context),
      ]
    } finally {
      llama.close()
    }
  },
}

async function groundedRecord(decoder: Decoder, llama: Llama, context: BenchContext): Promise<FigureRecord> {
  const { quick, log } = context
  const { talks, tokens } = await groundedTalks(await demoModel(context), quick ? 1 : 3)
  const writer = new GroundedWriter(decoder.language, decoder.prompt, tokens)
  const theirs: number[] = []
  log(`writing ${talks.length} grounded answers, llama.cpp in turns`)
  const { tokensPerSecond, note } = await writeTalks(writer, talks, async () => {
    theirs.push(8 / (await llama.decode(8)))
  })
  return measured('decode', grounded, { value: tokensPerSecond, reference: median(theirs), note })
}
