import type { ByteLru } from './byteLru.ts'
import { collectGarbage } from './garbage.ts'
import { nextTurn } from './generate.ts'
import { firstTokens, type KvSegment } from './kvCache.ts'
import type { LanguageModel } from './languageModel.ts'
import type { Tensor } from './session.ts'

/** A stretch of a prompt that is one thing: a token, an image, a region. */
export interface PromptPiece {
  /** the same key has the same embeddings */
  key: string
  /** tokens that it takes */
  rows: number
}

export interface Prompt {
  pieces: readonly PromptPiece[]
  /** of them, those before the question; the rest is the beginning of a question that is likely to come. All by default. */
  beforeQuestion?: number
  /** Embeddings of the pieces from the one given on, [T, H]; asked for only when something has to be computed. */
  embedsFrom: (piece: number) => Promise<Float32Array>
}

/** Tokens of prompts: whose keys and values were there, and whose had to be computed. */
export interface PromptCounters {
  reused: number
  made: number
}

/** Reading a prompt of so many bytes leaves as much behind. */
const LARGE_BYTES = 64 << 20

/** Names prompts among the other things that are remembered. */
export const PROMPT = '|prefix|'

interface Entry {
  pieces: readonly PromptPiece[]
  segment: KvSegment
}

/** A prompt, and as much of a question as was read behind it before. */
export interface PromptHead {
  segment: KvSegment
  /** pieces of the question that it holds */
  known: number
  /**
   * Takes over what a run put out for the question's next pieces, so that the next question that begins so finds them.
   * @returns all of it; null where there is no room
   */
  grow: (run: QuestionRun) => KvSegment | null
}

export interface QuestionRun {
  outputs: Record<string, Tensor>
  /** rows of the run, and those of them that are kept */
  count: number
  kept: number
  /** what is kept */
  pieces: readonly PromptPiece[]
}

/** Room for a question behind its prompt, tokens: a megabyte each at the release's size. */
const QUESTION_ROWS = 48

/**
 * Keys and values of prompts up to the question. A new prompt begins with as much of an earlier one as they have in common:
 * the words before the image with any, the image with one about the same, regions with one that lists the same first. The
 * last question stays behind its prompt, and the next one goes on where it parts from it.
 */
export class PromptCache {
  readonly counters: PromptCounters = { reused: 0, made: 0 }
  readonly #lru: ByteLru
  readonly #language: LanguageModel

  constructor(lru: ByteLru, language: LanguageModel) {
    this.#lru = lru
    this.#language = language
  }

  /** The prompt up to the question. See `begin`. */
  async get(key: string, prompt: Prompt, options: { exact?: boolean; signal?: AbortSignal | undefined } = {}) {
    return (await this.begin(key, prompt, [], options)).segment
  }

  /**
   * The prompt, and as much of the question as is known.
   * @param key where the prompt is kept; it contains `PROMPT`
   * @param options.exact see `ForwardInput.exact`
   * @throws GromaError CANCELLED between two runs, INPUT_INVALID when the prompt is too long
   */
  async begin(
    key: string,
    prompt: Prompt,
    question: readonly PromptPiece[],
    { exact = false, signal }: { exact?: boolean; signal?: AbortSignal | undefined } = {},
  ): Promise<PromptHead> {
    const before = prompt.pieces.slice(0, prompt.beforeQuestion)
    let entry = this.#lru.get<Entry>(key)
    if (entry) this.counters.reused += rowsOf(before)
    else {
      const base = this.#longestCommon(prompt.pieces)
      const segment = await this.#extend(base, prompt, { key, exact, signal })
      this.#lru.delete(partKey(key))
      entry = { pieces: prompt.pieces, segment }
      this.#lru.set(key, entry, segment.bytes)
    }
    const { pieces } = entry
    const known = commonLength(pieces.slice(before.length), question)
    const kept = pieces.slice(0, before.length + known)
    const segment = firstTokens(entry.segment, rowsOf(kept))
    const grow = (run: QuestionRun): KvSegment | null => {
      const cache = this.#language.kv.cacheIn?.(segment, segment.length, segment.length + run.kept)
      if (!cache) return null
      cache.append(run.outputs, run.count, run.kept)
      const longer = cache.toSegment()
      this.#lru.set(key, { pieces: [...kept, ...run.pieces], segment: longer }, longer.bytes)
      return longer
    }
    return { segment, known, grow }
  }

  #longestCommon(pieces: readonly PromptPiece[]): { segment: KvSegment; pieces: number } | null {
    let best: { segment: KvSegment; pieces: number } | null = null
    for (const { pieces: others, segment } of this.#lru.values<Entry>((key) => key.includes(PROMPT))) {
      const common = commonLength(others, pieces)
      if (common > (best?.pieces ?? 0)) best = { segment, pieces: common }
    }
    return best
  }

  /** What was done of a prompt when it was cancelled: whoever wants it next goes on from there. */
  #keepPart(key: string, pieces: readonly PromptPiece[], segment: KvSegment): void {
    let rows = 0
    const end = pieces.findIndex((piece) => {
      rows += piece.rows
      return rows > segment.length
    })
    this.#lru.set(partKey(key), { pieces: pieces.slice(0, end), segment }, segment.bytes)
  }

  async #extend(
    base: { segment: KvSegment; pieces: number } | null,
    { pieces, embedsFrom }: Prompt,
    { key, exact, signal }: { key: string; exact: boolean; signal: AbortSignal | undefined },
  ): Promise<KvSegment> {
    const { kv } = this.#language
    const embeds = await embedsFrom(base?.pieces ?? 0)
    const total = rowsOf(pieces)
    const known = rowsOf(pieces.slice(0, base?.pieces ?? 0))
    const expected = total + QUESTION_ROWS
    const cache = kv.cacheFrom(base?.segment ?? kv.nothing, known, expected)
    const between = async (row: number) => {
      try {
        await nextTurn(signal)
      } catch (error) {
        if (row > 0) {
          this.counters.reused += known
          this.counters.made += row
          this.#keepPart(key, pieces, cache.toSegment())
        }
        throw error
      }
    }
    try {
      await this.#language.read(cache, embeds, { exact, between })
    } catch (error) {
      cache.close?.()
      throw error
    }
    this.counters.reused += known
    this.counters.made += total - known
    const segment = cache.toSegment()
    if (segment.bytes > LARGE_BYTES) collectGarbage()
    return segment
  }
}

const partKey = (key: string) => `${key}|part`

export function commonLength(a: readonly PromptPiece[], b: readonly PromptPiece[]): number {
  let length = 0
  while (length < a.length && length < b.length && a[length]!.key === b[length]!.key) length++
  return length
}

function rowsOf(pieces: readonly PromptPiece[]): number {
  return pieces.reduce((sum, { rows }) => sum + rows, 0)
}
