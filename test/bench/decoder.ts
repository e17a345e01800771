/** The engine's language model by itself: prompts and continuations of given lengths. */
import { generate } from '../../native-models/inference/generate.ts'
import type { KvSegment } from '../../native-models/inference/kvCache.ts'
import type { LanguageModel } from '../../native-models/inference/languageModel.ts'
import { type LoadedModel, loadModel } from '../../native-models/inference/loadModel.ts'
import type { Placement } from '../../native-models/inference/placement.ts'
import { laidOutFor } from './engineChild.ts'
import { seconds } from './measure.ts'

/** No token of any vocabulary: nothing ends before its time. */
const NEVER = -1

export class Decoder {
  readonly #model: LoadedModel
  #prompt: KvSegment | null = null

  private constructor(model: LoadedModel) {
    this.#model = model
  }

  /**
   * @param placement where the decoder runs; on the processor, with weights laid out for it, by default
   * @throws Error where its device fails: what the processor would go on with is no figure of the device
   */
  static async open(modelDir: string, threads: number, { decoder: place }: Placement = {}): Promise<Decoder> {
    const where = place ? { placement: { decoder: place } } : { prepackedDir: await laidOutFor(modelDir) }
    const onWarning = (text: string) => {
      throw new Error(text)
    }
    return new Decoder(await loadModel(modelDir, { threads, deferred: true, onWarning, ...where }))
  }

  get language(): LanguageModel {
    return this.#model.language
  }

  get prompt(): KvSegment {
    if (this.#prompt === null) throw new Error('there is no prompt yet')
    return this.#prompt
  }

  /** Reads a prompt of so many tokens. Resolves to seconds. */
  prefill(tokens: number): Promise<number> {
    const { language } = this
    const base = Math.min(language.config.vocabSize, 32_000)
    const ids = Array.from({ length: tokens }, (_, i) => (300 + i * 7919) % base)
    return seconds(async () => {
      this.#prompt = await language.extend(null, language.embed(ids))
    })
  }

  /** Writes so many tokens after the prompt, greedily, one a pass. Resolves to seconds. */
  decode(tokens: number): Promise<number> {
    return seconds(() =>
      generate(this.language, {
        prefix: this.prompt,
        tails: [this.language.embed([5])],
        maxNewTokens: tokens,
        eosTokenId: NEVER,
        guardCycles: false,
        timeLimitMs: Number.POSITIVE_INFINITY,
      }),
    )
  }

  close(): Promise<void> {
    return this.#model.close()
  }
}
