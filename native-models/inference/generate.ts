import { GromaError } from '../errors.ts'
import { GrowingCache, type KvSegment } from './kvCache.ts'
import type { LanguageModel } from './languageModel.ts'

export type StopReason = 'end' | 'length' | 'cycle' | 'timeout'

export interface GenerateInput {
  /** Keys and values of everything before the tails. */
  prefix: KvSegment
  /** One sequence each: embeddings [T, H] of what comes after the prefix; all of one length. */
  tails: readonly Float32Array[]
  maxNewTokens: number
  eosTokenId: number
  /** Best logits to keep for every step; none by default. */
  topCount?: number
  /** A text that turns in a circle is cut; traces show it whole. */
  guardCycles?: boolean
  timeLimitMs?: number
  signal?: AbortSignal | undefined
  /** Called with each token as it is chosen. */
  onToken?: (sequence: number, generated: Generated) => void
}

export interface Generated {
  /** new tokens, `</s>` included when it came */
  ids: number[]
  /** softmax probability of each chosen token */
  probabilities: number[]
  /** per step the best [id, logit], best first */
  top: [number, number][][]
  stopReason: StopReason
}

/** Cycles of up to so many tokens count, once they have been said so often. */
const CYCLE_TOKENS = 32
const CYCLE_REPEATS = 4
const TIME_LIMIT_MS = 120_000

/**
 * Greedy decoding of several sequences abreast; those that are done leave the batch.
 * @returns per tail what was generated, and the logits after the tail [vocabulary]
 * @throws GromaError CANCELLED between two steps, NUMERIC_FAULT when logits are no numbers
 */
export async function generate(
  model: Pick<LanguageModel, 'config' | 'forward' | 'embed'>,
  input: GenerateInput,
): Promise<{ generated: Generated[]; firstLogits: Float32Array[] }> {
  const { prefix, tails, maxNewTokens, topCount = 0, guardCycles = true, signal } = input
  const deadline = performance.now() + (input.timeLimitMs ?? TIME_LIMIT_MS)
  const generated = tails.map((): Generated => ({ ids: [], probabilities: [], top: [], stopReason: 'length' }))
  let running = tails.map((_, sequence) => sequence)
  const past = new GrowingCache(model.config, tails.length)
  let embeds = concatenated(tails)
  let tokens = embeds.length / (tails.length * model.config.hiddenSize)
  let firstLogits: Float32Array[] | undefined

  for (let step = 0; step < Math.max(1, maxNewTokens); step++) {
    await nextTurn(signal)
    const { logits, outputs } = await model.forward({ embeds, batch: running.length, prefix, past })
    past.append(outputs, tokens)
    const vocabulary = logits.length / running.length
    const rows = running.map((_, place) => logits.subarray(place * vocabulary, (place + 1) * vocabulary))
    firstLogits ??= rows.map((row) => row.slice())
    if (maxNewTokens < 1) break
    for (const [place, sequence] of running.entries()) {
      const text = generated[sequence]!
      const row = rows[place]!
      const id = bestOf(row)
      text.ids.push(id)
      text.probabilities.push(probabilityOf(row, id))
      if (topCount > 0) text.top.push(topOf(row, topCount))
      if (id === input.eosTokenId) text.stopReason = 'end'
      else if (guardCycles && endsInCycle(text.ids)) text.stopReason = 'cycle'
      else if (performance.now() > deadline) text.stopReason = 'timeout'
      input.onToken?.(sequence, text)
    }
    const staying = running.flatMap((sequence, place) => (generated[sequence]!.stopReason === 'length' ? [place] : []))
    if (staying.length === 0) break
    past.keep(staying)
    running = staying.map((place) => running[place]!)
    embeds = model.embed(running.map((sequence) => generated[sequence]!.ids.at(-1)!))
    tokens = 1
  }
  return { generated, firstLogits: firstLogits ?? [] }
}

/** Lets messages in, among them the one that cancels. */
export async function nextTurn(signal: AbortSignal | undefined): Promise<void> {
  await new Promise<void>((resolve) => setImmediate(resolve))
  if (signal?.aborted) throw new GromaError('CANCELLED', 'cancelled')
}

function bestOf(logits: Float32Array): number {
  let best = 0
  let sum = 0
  for (let id = 0; id < logits.length; id++) {
    sum += logits[id]!
    if (logits[id]! > logits[best]!) best = id
  }
  // one NaN or infinity spoils the sum
  if (!Number.isFinite(sum))
    throw new GromaError('NUMERIC_FAULT', 'the language model put out numbers that are not finite')
  return best
}

function probabilityOf(logits: Float32Array, id: number): number {
  const reference = logits[id]!
  let sum = 0
  for (const logit of logits) sum += Math.exp(logit - reference)
  return 1 / sum
}

/** The best logits, equal ones by lower id. */
function topOf(logits: Float32Array, count: number): [number, number][] {
  const best: [number, number][] = []
  for (let id = 0; id < logits.length; id++) {
    const logit = logits[id]!
    if (best.length === count && logit <= best[count - 1]![1]) continue
    let place = best.length
    while (place > 0 && best[place - 1]![1] < logit) place--
    best.splice(place, 0, [id, logit])
    if (best.length > count) best.pop()
  }
  return best
}

/** Whether the last tokens are one short sequence said several times over. */
export function endsInCycle(ids: readonly number[]): boolean {
  const end = ids.length
  for (let period = 1; period <= CYCLE_TOKENS && period * CYCLE_REPEATS <= end; period++) {
    const from = end - period * CYCLE_REPEATS
    let same = true
    for (let i = from + period; i < end && same; i++) same = ids[i] === ids[i - period]
    if (same) return true
  }
  return false
}

function concatenated(parts: readonly Float32Array[]): Float32Array {
  if (parts.length === 1) return parts[0]!
  const all = new Float32Array(parts.reduce((length, part) => length + part.length, 0))
  let offset = 0
  for (const part of parts) {
    all.set(part, offset)
    offset += part.length
  }
  return all
}
