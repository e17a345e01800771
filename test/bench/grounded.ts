/**
 * Grounded text for a model whose weights mean nothing. What a decoder that guesses several tokens a pass gains depends on
 * the text, and random weights write none; so real answers of the demo model are written again by the large one: its
 * own passes over its own weights (their time is what is measured), the engine's own guesses, and at each step the token
 * that the demo model said. Which guesses are right, and how many rows each pass has, is therefore as it was in a real talk.
 * An id of the demo model serves as the same id of the large one: any will do where weights are random.
 */

import { promptParts, type Query, queries, trusted } from '../../native-models/groma/prompt.ts'
import type { SpecialTokens } from '../../native-models/groma/specialTokens.ts'
import type { GroundedAnswer } from '../../native-models/inference/answers.ts'
import { AnswerDrafter, DraftRecord } from '../../native-models/inference/draft.ts'
import { GromaEngine } from '../../native-models/inference/engine.ts'
import { type GenerateFigures, generate } from '../../native-models/inference/generate.ts'
import type { KvSegment } from '../../native-models/inference/kvCache.ts'
import type { LanguageModel } from '../../native-models/inference/languageModel.ts'
import { splitPrompt } from '../../native-models/inference/promptEmbedding.ts'
import { type GromaTokenizer, loadTokenizer } from '../../native-models/preprocess/tokenizer.ts'
import { brief } from './measure.ts'
import { scene } from './picture.ts'

/** One image is described, then asked for things of a kind, in the authors' own wording. */
const DESCRIPTION = 'Give me a concise description of the image.'
const KINDS = ['circle', 'star', 'hexagon']

export interface Talk {
  /** The image, and with it the regions, that the question is about. */
  topic: string
  /** Ids of the prompt from the question on. */
  question: readonly number[]
  /** Ids of the answer, its end included. */
  answer: readonly number[]
}

/** Answers of the demo model about scenes that it has never seen, with the ids of what was asked. */
export async function groundedTalks(
  demoDir: string,
  sceneCount: number,
): Promise<{ talks: Talk[]; tokens: SpecialTokens }> {
  const tokenizer = await loadTokenizer(demoDir)
  const engine = await GromaEngine.open(demoDir, { drafts: false })
  const talks: Talk[] = []
  for (let k = 0; k < sceneCount; k++) {
    const topic = `scene ${k}`
    const perception = await engine.perceive(await scene(k), { key: topic })
    const keep = (query: Query, { outputIds }: GroundedAnswer) =>
      talks.push({ topic, question: questionIds(tokenizer, query), answer: outputIds })
    keep(
      [trusted('[grounding]'), ...queries.plainQuestion(DESCRIPTION)],
      await engine.ask(perception, { question: DESCRIPTION, grounded: true }),
    )
    for (const phrase of KINDS) keep(queries.locateAll(phrase), await engine.locate(perception, { phrase, all: true }))
  }
  await engine.close()
  return { talks, tokens: tokenizer.tokens }
}

const questionIds = (tokenizer: GromaTokenizer, query: Query): readonly number[] =>
  splitPrompt(tokenizer.encodeParts(promptParts(query)), tokenizer.tokens).tail

/** Writes talks with a large model, several tokens a pass where that pays. Resolves to what each took. */
export class GroundedWriter {
  readonly #language: LanguageModel
  readonly #prefix: KvSegment
  readonly #tokens: SpecialTokens
  /** As in the engine: what is learned about guessing in one answer serves the next. */
  readonly #record = new DraftRecord()

  constructor(language: LanguageModel, prefix: KvSegment, tokens: SpecialTokens) {
    this.#language = language
    this.#prefix = prefix
    this.#tokens = tokens
  }

  async write({ topic, question, answer }: Talk): Promise<GenerateFigures> {
    const tail = this.#language.embed(question)
    const { generated, figures } = await generate(saying(this.#language, answer, question.length), {
      prefix: this.#prefix,
      tails: [tail],
      maxNewTokens: answer.length,
      eosTokenId: this.#tokens.eos,
      drafter: new AnswerDrafter(this.#record, { tokens: this.#tokens, question, topic }),
      guardCycles: false,
      timeLimitMs: Number.POSITIVE_INFINITY,
    })
    if (generated[0]!.ids.join() !== answer.join()) throw new Error('the answer did not come out as it was given')
    this.#record.remember(topic, [...question, ...answer])
    return figures
  }
}

/** What writing several talks took, the first token of each left out: it belongs to the question. */
export interface GroundedFigures {
  tokensPerSecond: number
  /** how many tokens, and how they came */
  note: string
}

/** Writes talks one after the other. @param between called after each */
export async function writeTalks(
  writer: GroundedWriter,
  talks: readonly Talk[],
  between: () => Promise<void> = async () => {},
): Promise<GroundedFigures> {
  const total = { tokens: 0, seconds: 0, passes: 0, guessed: 0, right: 0 }
  for (const talk of talks) {
    const figures = await writer.write(talk)
    total.tokens += talk.answer.length - 1
    total.seconds += (figures.totalMs - figures.firstTokenMs) / 1000
    total.passes += figures.passes - 1
    total.guessed += figures.guessed
    total.right += figures.guessedRight
    await between()
  }
  const note = `answers of the demo model, ${total.tokens} tokens, ${brief(total.tokens / total.passes)} a pass; ${total.right} of ${total.guessed} guesses right`
  return { tokensPerSecond: total.tokens / total.seconds, note }
}

/** The model, saying this: after each of its passes the logit of the token that comes next is the highest. */
function saying(
  model: LanguageModel,
  answer: readonly number[],
  questionLength: number,
): Pick<LanguageModel, 'config' | 'forward' | 'embed' | 'kv'> {
  return {
    config: model.config,
    kv: model.kv,
    embed: (ids) => model.embed(ids),
    async forward(input) {
      const output = await model.forward(input)
      const { logitRows = 1, past } = input
      const rows = (past?.length ?? 0) + input.embeds.length / model.config.hiddenSize
      const vocabulary = output.logits.length / logitRows
      for (let row = 0; row < logitRows; row++) {
        // The row of the question's last token says answer[0].
        const id = answer[rows - logitRows + row - (questionLength - 1)]
        if (id !== undefined) output.logits[row * vocabulary + id] = 1e6
      }
      return output
    },
  }
}
