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
  /** The words that every prompt begins with, once per model. */
  #beginning: Entry | null = null

  constructor(lru: ByteLru, language: LanguageModel) {
    this.#lru = lru
    this.#language = language
  }

  /**
   * @param key where the prompt is kept
   * @param kin beginnings of the keys of prompts that may have something in common with it
   * @param beginning how many pieces any two prompts have in common
   * @throws GromaError CANCELLED between two runs, INPUT_INVALID when the prompt is too long
   */
  async get(
    key: string,
    prompt: Prompt,
    {
      kin,
      beginning,
      exact,
      signal,
    }: { kin: string; beginning: number; exact: boolean; signal?: AbortSignal | undefined },
  ): Promise<KvSegment> {
    const found = this.#lru.get<Entry>(key)
    if (found) {
      this.counters.reused += found.segment.length
      return found.segment
    }
    const base = this.#longestCommon(prompt.pieces, kin)
    const segment = await this.#extend(base, prompt, { key, exact, signal })
    this.#lru.delete(partKey(key))
    const entry = { pieces: prompt.pieces, segment }
    this.#lru.set(key, entry, segment.bytes)
    const words = rowsOf(prompt.pieces.slice(0, beginning))
    if (this.#beginning === null && words > 0) {
      const cache = this.#language.kv.cacheFrom(segment, words, words)
      this.#beginning = { pieces: prompt.pieces.slice(0, beginning), segment: cache.toSegment() }
    }
    return segment
  }

  clear(): void {
    this.#beginning = null
  }

  #longestCommon(pieces: readonly PromptPiece[], kin: string) {
    let best: { segment: KvSegment; pieces: number; key: string | null } | null = null
    const consider = (entry: Entry, key: string | null) => {
      const common = commonLength(entry.pieces, pieces)
      if (common > (best?.pieces ?? 0)) best = { segment: entry.segment, pieces: common, key }
    }
    if (this.#beginning) consider(this.#beginning, null)
    for (const [key, entry] of this.#lru.entries<Entry>(kin)) consider(entry, key)
    const chosen = best as { segment: KvSegment; pieces: number; key: string | null } | null
    if (chosen?.key) this.#lru.get(chosen.key) // counts as used
    return chosen
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
