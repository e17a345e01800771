import { physicalCores } from '../../../native-models/inference/session.ts'
import { Decoder } from '../decoder.ts'
import { type Figure, measured, type Row } from '../figure.ts'
import { Llama } from '../llama/llama.ts'
import { interleaved, spreadText } from '../measure.ts'
import { precisionText, releaseModel } from '../models.ts'

const PROMPT_TOKENS = 600

const row: Row = {
  case: 'plain',
  unit: 'tok/s',
  referenceName: Llama.title,
  ratio: 'value/reference',
  goal: { of: 'ratio', at: '>=', limit: 1 },
}

export const decode: Figure = {
  work: `7B int4, a cache of ${PROMPT_TOKENS} tokens, greedy, beside llama.cpp`,
  rows: [row],
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
      const [tokens, rounds] = quick ? [8, 2] : [24, 5]
      await decoder.decode(2) // the first run lays out buffers
      await llama.decode(2)
      log(`writing ${tokens} tokens, ${rounds} times each in turns`)
      const { ours, theirs } = await interleaved(
        rounds,
        async () => tokens / (await decoder.decode(tokens)),
        async () => tokens / (await llama.decode(tokens)),
      )
      const note = `${await precisionText(modelDir)}; ${threads} threads; ours ${spreadText(ours)}, llama.cpp ${spreadText(theirs)}`
      return [measured('decode', row, { value: ours.median, reference: theirs.median, note })]
    } finally {
      llama.close()
    }
  },
}
