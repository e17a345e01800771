import { physicalCores } from '../../../native-models/inference/cores.ts'
import { Decoder } from '../decoder.ts'
import { type Figure, type FigureRecord, Missing, measured, type Row, unmeasured } from '../figure.ts'
import { Llama } from '../llama/llama.ts'
import { interleaved, spreadText } from '../measure.ts'
import { precisionText, releaseModel } from '../models.ts'
import { torchPrefillSeconds } from '../torch.ts'

const PROMPT_TOKENS = 600

const besideLlama: Row = {
  case: '',
  unit: 'tok/s',
  referenceName: Llama.title,
  ratio: 'value/reference',
  goal: { of: 'ratio', at: '>=', limit: 3 },
}
const besideTorch: Row = {
  ...besideLlama,
  case: 'beside torch',
  referenceName: 'torch bf16',
  goal: { of: 'ratio', at: '>=', limit: 1 },
}

export const prefill: Figure = {
  work: `7B int4, a prompt of ${PROMPT_TOKENS} tokens, beside llama.cpp and torch`,
  rows: [besideLlama, besideTorch],
  async measure(context) {
    const { quick, log } = context
    const modelDir = await releaseModel(context)
    const threads = physicalCores()
    const llama = await Llama.open(threads, log)
    try {
      const decoder = await Decoder.open(modelDir, threads)
      const speed = (seconds: number) => PROMPT_TOKENS / seconds
      const rounds = quick ? 1 : 3
      await decoder.prefill(100) // opens the graph for long prompts
      await llama.prefill(8)
      log(`a prompt of ${PROMPT_TOKENS} tokens, ${rounds} times each in turns`)
      const { ours, theirs } = await interleaved(
        rounds,
        async () => speed(await decoder.prefill(PROMPT_TOKENS)),
        async () => speed(await llama.prefill(PROMPT_TOKENS)),
      )
      const note = `${await precisionText(modelDir)}; ${threads} threads; ours ${spreadText(ours)}, llama.cpp ${spreadText(theirs)}`
      const first = measured('prefill', besideLlama, { value: ours.median, reference: theirs.median, note })
      llama.close()
      return [first, await torchRecord(decoder, { speed, rounds, threads, log })]
    } finally {
      llama.close()
    }
  },
}

async function torchRecord(
  decoder: Decoder,
  about: { speed: (seconds: number) => number; rounds: number; threads: number; log: (line: string) => void },
): Promise<FigureRecord> {
  const { speed, rounds, threads, log } = about
  try {
    log('the same under torch, bf16')
    const { ours, theirs } = await interleaved(
      rounds,
      async () => speed(await decoder.prefill(PROMPT_TOKENS)),
      async () => speed(await torchPrefillSeconds(PROMPT_TOKENS, threads)),
    )
    const note = 'torch: 32 layers read off from 2'
    return measured('prefill', besideTorch, { value: ours.median, reference: theirs.median, note })
  } catch (error) {
    if (!(error instanceof Missing)) throw error
    return unmeasured('prefill', besideTorch, error.message)
  }
}
