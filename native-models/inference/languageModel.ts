import { GromaError } from '../errors.ts'
import { allFinite } from '../finite.ts'
import type { GromaConfig } from '../groma/config.ts'
import type { EmbeddingTable } from './embeddingTable.ts'
import { HostKv } from './hostKv.ts'
import { type KvCache, type KvSegment, type KvStore, placesOf } from './kvCache.ts'
import { type Feeds, floats, floatsOf, type GraphSession, integers, type Tensor } from './session.ts'

/** Added to a score, it leaves nothing of it after the softmax. */
const MASKED = -1e9
/** Runs of more rows than this go through the graph made for prompts, where there is one: few rows are no faster there (README). */
const PREFILL_FROM_ROWS = 12

/** Rows of a prompt that go through the decoder in one run, at most: a cancel waits for one of them (README, Decoding). */
export const PROMPT_ROWS = 128

export interface ForwardInput {
  /** [B, T, H] */
  embeds: Float32Array
  batch: number
  /** what all sequences have in common, before `past` */
  prefix: KvSegment
  /** each sequence's own earlier tokens; null where there are none */
  past: KvCache | null
  /** only the decoder's own graph, however many rows: for a second try after a numeric fault */
  exact?: boolean
  /** logits after so many of each sequence's last rows; 1 by default */
  logitRows?: number
}

export interface ForwardOutput {
  /** [B, logitRows, vocabulary] */
  logits: Float32Array
  /** keys and values of the new tokens, as a `KvCache` takes them */
  outputs: Record<string, Tensor>
}

/** What went through the decoder since the model was opened. */
export interface DecoderCounters {
  passes: number
  /** rows of all passes, sequences counted apart */
  rows: number
  /** of them, rows that went through the prompt graph */
  prefillRows: number
}

export interface LanguageModelOptions {
  /** the same model laid out for long runs (8-bit weights), where the folder has one */
  prefill?: GraphSession | undefined
  /** where keys and values live; this process's memory by default */
  kv?: KvStore | undefined
}

/** The decoder graph and its embeddings. */
export class LanguageModel {
  readonly config: GromaConfig['llm']
  readonly table: EmbeddingTable
  readonly kv: KvStore
  readonly counters: DecoderCounters = { passes: 0, rows: 0, prefillRows: 0 }
  readonly #session: GraphSession
  readonly #prefill: GraphSession | undefined

  constructor(
    session: GraphSession,
    table: EmbeddingTable,
    config: GromaConfig['llm'],
    { prefill, kv = new HostKv(config) }: LanguageModelOptions = {},
  ) {
    this.#session = session
    this.#prefill = prefill
    this.table = table
    this.config = config
    this.kv = kv
  }

  /**
   * Runs T more tokens of B sequences.
   * @throws GromaError INPUT_INVALID when the sequences become longer than the model has positions, NUMERIC_FAULT
   */
  async forward({ embeds, batch, prefix, past, exact = false, logitRows = 1 }: ForwardInput): Promise<ForwardOutput> {
    const { hiddenSize, maxPositions } = this.config
    const length = embeds.length / (batch * hiddenSize)
    const start = prefix.length + (past?.length ?? 0)
    if (start + length > maxPositions) {
      const reason = `${start + length} tokens are more than the ${maxPositions} positions of the model`
      throw new GromaError('INPUT_INVALID', `the prompt is too long: ${reason}`)
    }
    const rows = batch * length
    const own = past ?? this.kv.cache(batch)
    const long = !exact && rows > PREFILL_FROM_ROWS && this.#prefill !== undefined
    const outputs = await (long ? this.#prefill! : this.#session).run({
      inputs_embeds: floats(embeds, batch, length, hiddenSize),
      last_rows: integers(
        Array.from({ length: batch * logitRows }, (_, i) => {
          const sequence = Math.floor(i / logitRows)
          return (sequence + 1) * length - logitRows + (i % logitRows)
        }),
        batch * logitRows,
      ),
      ...(this.kv.attend
        ? await this.kv.attend(prefix, own, batch, length)
        : await twoSegments(prefix, own, batch, length)),
    })
    own.computed?.(outputs)
    if (past === null) own.close?.()
    this.counters.passes++
    this.counters.rows += rows
    if (long) this.counters.prefillRows += rows
    const logits = floatsOf(outputs, 'logits')
    // what comes out rounded does not show that it was no number
    if (long && !allFinite(logits))
      throw new GromaError('NUMERIC_FAULT', 'a prompt leads to numbers that are not finite')
    return { logits, outputs }
  }

  /**
   * Reads a prompt that goes on after what the cache of one sequence holds, in runs of one length, `PROMPT_ROWS` at most.
   * @param options.between called before each run with the rows that are done; what it throws ends the reading
   */
  async read(
    cache: KvCache,
    embeds: Float32Array,
    { exact = false, between = async () => {} }: { exact?: boolean; between?: (rows: number) => Promise<void> } = {},
  ): Promise<void> {
    const { hiddenSize } = this.config
    const rows = embeds.length / hiddenSize
    const step = Math.ceil(rows / Math.ceil(rows / PROMPT_ROWS))
    for (let row = 0; row < rows; row += step) {
      await between(row)
      const part = embeds.subarray(row * hiddenSize, (row + step) * hiddenSize)
      const { outputs } = await this.forward({ embeds: part, batch: 1, ...this.before(cache), exact })
      cache.append(outputs, part.length / hiddenSize)
    }
  }

  /** What a cache that is being filled with a prompt gives its next run to look at. */
  before(cache: KvCache): Pick<ForwardInput, 'prefix' | 'past'> {
    const prefix = cache.asPrefix?.()
    return prefix ? { prefix, past: null } : { prefix: this.kv.nothing, past: cache }
  }

  /** Keys and values of one sequence that goes on after `before`; the result holds both. */
  async extend(before: KvSegment | null, embeds: Float32Array): Promise<KvSegment> {
    const known = before?.length ?? 0
    const cache = this.kv.cacheFrom(before ?? this.kv.nothing, known, known + embeds.length / this.config.hiddenSize)
    await this.read(cache, embeds)
    return cache.toSegment()
  }

  /** [ids, H] */
  embed(ids: readonly number[]): Float32Array {
    const rows = new Float32Array(ids.length * this.config.hiddenSize)
    this.table.copyInto(rows, 0, ids)
    return rows
  }
}

/** Positions, bias, keys and values for the decoder that takes the prefix and each sequence's own past apart. */
async function twoSegments(prefix: KvSegment, past: KvCache, batch: number, length: number): Promise<Feeds> {
  const start = prefix.length + past.length
  const positions = Array.from({ length: batch * length }, (_, i) => start + (i % length))
  return {
    position_ids: integers(positions, batch, length),
    attention_bias: attentionBias(length, prefix, past),
    ...(await prefix.feeds),
    ...(await past.feeds()),
  }
}

/** [1, 1, T, P + C + T]: earlier tokens are seen by all, new ones by those after them, free places by none. */
function attentionBias(length: number, prefix: KvSegment, past: KvCache): Tensor {
  const prefixPlaces = placesOf(prefix)
  const columns = prefixPlaces + past.capacity + length
  const bias = new Float32Array(length * columns)
  for (let row = 0; row < length; row++) {
    const start = row * columns
    bias.fill(MASKED, start + prefix.length, start + prefixPlaces)
    bias.fill(MASKED, start + prefixPlaces + past.length, start + prefixPlaces + past.capacity)
    bias.fill(MASKED, start + prefixPlaces + past.capacity + row + 1, start + columns)
  }
  return floats(bias, 1, 1, length, columns)
}
