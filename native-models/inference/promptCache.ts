import type { ByteLru } from './byteLru.ts'
import { nextTurn } from './generate.ts'
import type { KvSegment } from './kvCache.ts'
import type { LanguageModel } from './languageModel.ts'

/** A stretch of a prompt that is one thing: a token, an image, a region. */
export interface PromptPiece {
  /** the same key has the same embeddings */
  key: string
  /** tokens that it takes */
  rows: number
}

export interface Prompt {
  pieces: readonly PromptPiece[]
  /** Embeddings of the pieces from the one given on, [T, H]; asked for only when something has to be computed. */
  embedsFrom: (piece: number) => Promise<Float32Array>
}

/** Tokens of prompts: whose keys and values were there, and whose had to be computed. */
export interface PromptCounters {
  reused: number
  made: number
}

/** Names prompts among the other things that are remembered. */
export const PROMPT = '|prefix|'

interface Entry {
  pieces: readonly PromptPiece[]
  segment: KvSegment
}

/**
 * Keys and values of prompts up to the question. A new prompt begins with as much of an earlier one as they have in common:
 * the words before the image with any, the image with one about the same, regions with one that lists the same first.
 */
export class PromptCache {
  readonly counters: PromptCounters = { reused: 0, made: 0 }
  readonly #lru: ByteLru
  readonly #language: LanguageModel

  constructor(lru: ByteLru, language: LanguageModel) {
    this.#lru = lru
    this.#language = language
  }

  /**
   * @param key where the prompt is kept; it contains `PROMPT`
   * @param options.exact see `ForwardInput.exact`
   * @throws GromaError CANCELLED between two runs, INPUT_INVALID when the prompt is too long
   */
  async get(
    key: string,
    prompt: Prompt,
    { exact = false, signal }: { exact?: boolean; signal?: AbortSignal | undefined } = {},
  ): Promise<KvSegment> {
    const found = this.#lru.get<Entry>(key)
    if (found) {
      this.counters.reused += found.segment.length
      return found.segment
    }
    const base = this.#longestCommon(prompt.pieces)
    const segment = await this.#extend(base, prompt, { key, exact, signal })
    this.#lru.delete(partKey(key))
    this.#lru.set(key, { pieces: prompt.pieces, segment }, segment.bytes)
    return segment
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
    this.counters.made += segment.length
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
    const cache = base ? kv.cacheFrom(base.segment, known, total) : kv.cache(1, total)
    const between = async (row: number) => {
      try {
        await nextTurn(signal)
      } catch (error) {
        if (row > 0) this.#keepPart(key, pieces, cache.toSegment())
        throw error
      }
    }
    await this.#language.read(cache, embeds, { exact, between })
    this.counters.reused += known
    this.counters.made += total - known
    return cache.toSegment()
  }
}

const partKey = (key: string) => `${key}|part`

function commonLength(a: readonly PromptPiece[], b: readonly PromptPiece[]): number {
  let length = 0
  while (length < a.length && length < b.length && a[length]!.key === b[length]!.key) length++
  return length
}

function rowsOf(pieces: readonly PromptPiece[]): number {
  return pieces.reduce((sum, { rows }) => sum + rows, 0)
}
