import { GromaError } from '../errors.ts'
import type { GromaConfig } from '../groma/config.ts'
import type { EmbeddingTable } from './embeddingTable.ts'
import { emptySegment, type GrowingCache, joinSegments, type KvSegment, prefixFeeds, segmentOf } from './kvCache.ts'
import { floats, floatsOf, type GraphSession, integers, type Tensor } from './session.ts'

/** Added to a score, it leaves nothing of it after the softmax. */
const MASKED = -1e9

export interface ForwardInput {
  /** [B, T, H] */
  embeds: Float32Array
  batch: number
  /** what all sequences have in common, before `past` */
  prefix: KvSegment
  /** each sequence's own earlier tokens; null where there are none */
  past: GrowingCache | null
}

/** The decoder graph and its embeddings. */
export class LanguageModel {
  readonly config: GromaConfig['llm']
  readonly table: EmbeddingTable
  readonly #session: GraphSession
  readonly #nothing: KvSegment

  constructor(session: GraphSession, table: EmbeddingTable, config: GromaConfig['llm']) {
    this.#session = session
    this.table = table
    this.config = config
    this.#nothing = emptySegment(config)
  }

  /**
   * Runs T more tokens of B sequences.
   * @returns logits [B, vocabulary] after each last token, and keys and values of the new tokens
   * @throws GromaError INPUT_INVALID when the sequences become longer than the model has positions
   */
  async forward(input: ForwardInput): Promise<{ logits: Float32Array; outputs: Record<string, Tensor> }> {
    const { embeds, batch, prefix, past } = input
    const { hiddenSize, maxPositions, kvHeadCount, headSize } = this.config
    const length = embeds.length / (batch * hiddenSize)
    const start = prefix.length + (past?.length ?? 0)
    if (start + length > maxPositions) {
      const reason = `${start + length} tokens are more than the ${maxPositions} positions of the model`
      throw new GromaError('INPUT_INVALID', `the prompt is too long: ${reason}`)
    }
    const outputs = await this.#session.run({
      inputs_embeds: floats(embeds, batch, length, hiddenSize),
      position_ids: integers(
        Array.from({ length: batch * length }, (_, i) => start + (i % length)),
        batch,
        length,
      ),
      attention_bias: attentionBias(length, prefix, past),
      last_rows: integers(
        Array.from({ length: batch }, (_, sequence) => (sequence + 1) * length - 1),
        batch,
      ),
      ...prefixFeeds(prefix, this.config),
      ...(past?.feeds() ?? noPast(batch, this.#nothing, { kvHeadCount, headSize })),
    })
    return { logits: floatsOf(outputs, 'logits'), outputs }
  }

  /** Keys and values of one sequence that goes on after `before`; the result holds both. */
  async extend(before: KvSegment | null, embeds: Float32Array): Promise<KvSegment> {
    const { outputs } = await this.forward({ embeds, batch: 1, prefix: before ?? this.#nothing, past: null })
    const added = segmentOf(outputs, this.config, embeds.length / this.config.hiddenSize)
    return before ? joinSegments(before, added, this.config) : added
  }

  /** [ids, H] */
  embed(ids: readonly number[]): Float32Array {
    const rows = new Float32Array(ids.length * this.config.hiddenSize)
    this.table.copyInto(rows, 0, ids)
    return rows
  }
}

/** [1, 1, T, P + C + T]: earlier tokens are seen by all, new ones by those after them, free places by none. */
function attentionBias(length: number, prefix: KvSegment, past: GrowingCache | null): Tensor {
  const prefixPlaces = Math.max(1, prefix.length)
  const pastPlaces = past?.capacity ?? 1
  const columns = prefixPlaces + pastPlaces + length
  const bias = new Float32Array(length * columns)
  for (let row = 0; row < length; row++) {
    const start = row * columns
    bias.fill(MASKED, start + prefix.length, start + prefixPlaces)
    bias.fill(MASKED, start + prefixPlaces + (past?.length ?? 0), start + prefixPlaces + pastPlaces)
    bias.fill(MASKED, start + prefixPlaces + pastPlaces + row + 1, start + columns)
  }
  return floats(bias, 1, 1, length, columns)
}

function noPast(batch: number, nothing: KvSegment, shape: { kvHeadCount: number; headSize: number }) {
  const place = new Float32Array(batch * shape.kvHeadCount * shape.headSize)
  const feeds: Record<string, Tensor> = {}
  for (const layer of nothing.keys.keys()) {
    feeds[`past_key.${layer}`] = floats(place, batch, shape.kvHeadCount, shape.headSize, 1)
    feeds[`past_value.${layer}`] = floats(place, batch, shape.kvHeadCount, 1, shape.headSize)
  }
  return feeds
}
