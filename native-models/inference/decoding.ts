import { GromaError } from '../errors.ts'
import { promptParts, type Query } from '../groma/prompt.ts'
import type { SelectedRegions } from '../groma/regionSelection.ts'
import { AnswerDrafter, DraftRecord } from './draft.ts'
import { type Generated, type GenerateFigures, generate, nextTurn } from './generate.ts'
import { boxNames, type ImageMemory, type Perception } from './imageMemory.ts'
import type { KvSegment } from './kvCache.ts'
import type { LoadedModel } from './loadModel.ts'
import { commonLength, type PromptHead, type PromptPiece } from './promptCache.ts'
import { embedQuestion, questionPieces, splitPrompt, tokenPiece } from './promptEmbedding.ts'

export interface DecodingOptions {
  /** one sequence per entry: the regions that the question's boxes stand for */
  referRegions: readonly (readonly number[])[]
  maxNewTokens: number
  onToken?: (sequence: number, generated: Generated) => void
  signal?: AbortSignal | undefined
}

/** Questions over what is remembered of an image, each sequence with its own boxes. */
export class Decoding {
  readonly #model: Pick<LoadedModel, 'tokenizer' | 'language'>
  readonly #memory: ImageMemory
  readonly #log: (message: string) => void
  readonly #drafts: DraftRecord | null

  /** @param options.drafts whether one pass may check several guessed tokens; what is said is the same */
  constructor(
    model: Pick<LoadedModel, 'tokenizer' | 'language'>,
    memory: ImageMemory,
    { log, drafts }: { log: (message: string) => void; drafts: boolean },
  ) {
    this.#model = model
    this.#memory = memory
    this.#log = log
    this.#drafts = drafts ? new DraftRecord() : null
  }

  /** Makes the prompt up to the question, so that one about these regions starts at its own words. */
  async prepare(perception: Perception, selection: SelectedRegions, signal?: AbortSignal): Promise<void> {
    await this.twice(perception, async (exact) => {
      this.#memory.use(perception)
      await this.#prompt(perception, selection, [], { exact, signal })
    })
  }

  /**
   * Answers a question for each entry of `referRegions`.
   * @throws GromaError CANCELLED, INPUT_INVALID; NUMERIC_FAULT and OUT_OF_MEMORY when a second try failed too
   */
  run(
    perception: Perception,
    selection: SelectedRegions,
    query: Query,
    options: DecodingOptions,
  ): Promise<Generated[]> {
    return this.twice(perception, async (exact) => {
      const { tokenizer, language } = this.#model
      const { referRegions, signal } = options
      const startedAt = performance.now()
      this.#memory.use(perception)
      const { tokens } = tokenizer
      const { tail } = splitPrompt(tokenizer.encodeParts(promptParts(query)), tokens)
      const questions = referRegions.map((regions) =>
        questionPieces(tokens, tail, {
          imageKey: perception.key,
          regionKeys: boxNames(selection.boxesCxcywh),
          referRegions: regions,
        }),
      )
      // the last piece is read anew in any case: what comes after it is wanted
      const alike = Math.min(tail.length - 1, ...questions.map((pieces) => commonLength(pieces, questions[0]!)))
      const head = await this.#prompt(perception, selection, questions[0]!.slice(0, alike), { exact, signal })
      const whole = await this.#tails(perception, selection, tail, referRegions, signal)
      const { prefix, known } = await this.#readAlike(head, whole, questions[0]!.slice(0, alike), { exact, signal })
      const { hiddenSize, maxPositions } = language.config
      const tails = whole.map((rows) => rows.subarray(known * hiddenSize))
      const rows = tail.length - known
      const room = maxPositions - prefix.length - rows
      if (room < 0) {
        const reason = `${prefix.length + rows} tokens are more than the ${maxPositions} positions of the model`
        throw new GromaError('INPUT_INVALID', `the question is too long: with its prompt ${reason}`)
      }
      const topic = `${perception.key} ${selection.sourceIndex.join()}`
      const drafts = exact || tails.length > 1 ? null : this.#drafts
      const { generated, figures } = await generate(language, {
        prefix,
        tails,
        maxNewTokens: Math.min(options.maxNewTokens, Math.max(1, room)),
        eosTokenId: tokens.eos,
        drafter: drafts ? new AnswerDrafter(drafts, { tokens, question: tail, topic }) : undefined,
        exact,
        keepTail: (outputs, count, ids) => {
          const pieces = [...questions[0]!.slice(known), ...ids.map(tokenPiece)]
          return head.grow({ outputs, count, kept: pieces.length, pieces })
        },
        signal,
        ...(options.onToken ? { onToken: options.onToken } : {}),
      })
      for (const { ids } of generated) this.#drafts?.remember(topic, [...tail, ...ids])
      const waitedMs = performance.now() - startedAt - figures.totalMs
      this.#log(summary(generated, figures, { rows, known, waitedMs }))
      return generated
    })
  }

  /**
   * Tries again once after a fault that a second try can mend: numbers that are none (everything about the image is
   * computed anew, in the most careful arithmetic), too little memory (everything remembered is dropped first).
   */
  async twice<T>(image: Pick<Perception, 'key'>, work: (exact: boolean) => Promise<T>): Promise<T> {
    try {
      return await work(false)
    } catch (error) {
      const fault = faultOf(error)
      if (fault === null) throw error
      const { message } = error as Error
      if (fault === 'NUMERIC_FAULT') this.#memory.forget(image)
      else this.#memory.clear()
      this.#log(`${message}: trying once more ${fault === 'NUMERIC_FAULT' ? 'from the image on' : 'with less kept'}`)
      try {
        return await work(true)
      } catch (again) {
        const second = faultOf(again)
        if (second === 'NUMERIC_FAULT') this.#memory.forget(image)
        if (second === null) throw again
        throw new GromaError(second, `${ADVICE[second]} (${(again as Error).message})`, { cause: again })
      }
    }
  }

  async #prompt(
    perception: Perception,
    selection: SelectedRegions,
    question: readonly PromptPiece[],
    options: { exact: boolean; signal?: AbortSignal | undefined },
  ): Promise<PromptHead> {
    const { reused, made } = this.#memory.counters.prompt
    const startedAt = performance.now()
    const head = await this.#memory.promptFor(perception, selection, question, options)
    const now = this.#memory.counters.prompt
    const seconds = ((performance.now() - startedAt) / 1000).toFixed(2)
    this.#log(`prompt: ${now.reused - reused} tokens reused, ${now.made - made} computed (${seconds} s)`)
    return head
  }

  /** What several questions begin with, read once for all of them where it can be kept; alone, a question is read in one run. */
  async #readAlike(
    head: PromptHead,
    [first, ...others]: readonly Float32Array[],
    alike: readonly PromptPiece[],
    { exact, signal }: { exact: boolean; signal: AbortSignal | undefined },
  ): Promise<{ prefix: KvSegment; known: number }> {
    const { segment: prefix, known } = head
    const { language } = this.#model
    const missing = alike.length - known
    if (!language.kv.cacheIn || missing * others.length < WORTH_A_PASS_ROWS) return { prefix, known }
    await nextTurn(signal)
    const { hiddenSize } = language.config
    const embeds = first!.subarray(known * hiddenSize, alike.length * hiddenSize)
    const { outputs } = await language.forward({ embeds, batch: 1, prefix, past: null, exact })
    const longer = head.grow({ outputs, count: missing, kept: missing, pieces: alike.slice(known) })
    return longer === null ? { prefix, known } : { prefix: longer, known: alike.length }
  }

  /** Embeddings of the question for each sequence; regions are needed only where it refers to some. */
  async #tails(
    perception: Perception,
    { boxesCxcywh }: SelectedRegions,
    tail: readonly number[],
    referRegions: readonly (readonly number[])[],
    signal: AbortSignal | undefined,
  ): Promise<Float32Array[]> {
    const { tokenizer, language } = this.#model
    const { hiddenSize } = language.config
    const all = tail.includes(tokenizer.tokens.referFeature) ? referRegions.flat() : []
    const boxes = Float32Array.from(all.flatMap((region) => [...boxesCxcywh.subarray(region * 4, region * 4 + 4)]))
    const features = await this.#memory.regionTokens(perception, boxes, signal)
    let used = 0
    return referRegions.map((regions) => {
      const referFeatures = features.subarray(used * hiddenSize, (used + regions.length) * hiddenSize)
      used += regions.length
      return embedQuestion(language, tokenizer.tokens, tail, { referRegions: regions, referFeatures })
    })
  }
}

type Fault = 'NUMERIC_FAULT' | 'OUT_OF_MEMORY'
const ADVICE: Record<Fault, string> = {
  NUMERIC_FAULT: 'the model puts out numbers that are none, however it is run: its files may be damaged, verify them',
  OUT_OF_MEMORY: 'there is not enough memory for this, even with everything remembered dropped: close other programs',
}

function faultOf(error: unknown): Fault | null {
  if (error instanceof RangeError && /allocation/i.test(error.message)) return 'OUT_OF_MEMORY'
  const code = error instanceof GromaError ? error.code : null
  return code === 'NUMERIC_FAULT' || code === 'OUT_OF_MEMORY' ? code : null
}

/** A pass of its own costs as much as so many rows more in another. */
const WORTH_A_PASS_ROWS = 12

/** What `--verbose` shows of an answer. */
function summary(
  generated: readonly Generated[],
  { passes, guessed, guessedRight, firstTokenMs, totalMs }: GenerateFigures,
  { rows, known, waitedMs }: { rows: number; known: number; waitedMs: number },
): string {
  const tokens = generated.reduce((sum, { ids }) => sum + ids.length, 0)
  const seconds = (ms: number) => `${(ms / 1000).toFixed(2)} s`
  const speed = (tokens / Math.max(totalMs, 0.001)) * 1000
  const how =
    generated.length > 1 ? `${generated.length} answers abreast` : `${guessedRight} of ${guessed} guesses right`
  return (
    `answer: ${known} tokens of the question reused, ${rows} computed, first token after ${seconds(waitedMs + firstTokenMs)}; ` +
    `${tokens} tokens, ${speed.toFixed(1)} a second, ${(tokens / passes).toFixed(2)} a pass (${how})`
  )
}
