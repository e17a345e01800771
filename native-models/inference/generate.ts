import { GromaError } from '../errors.ts'
import type { Drafter } from './draft.ts'
import type { KvSegment } from './kvCache.ts'
import { type LanguageModel, PROMPT_ROWS } from './languageModel.ts'
import type { Tensor } from './session.ts'

export type StopReason = 'end' | 'length' | 'cycle' | 'timeout'

export interface GenerateInput {
  /** Keys and values of everything before the tails. */
  prefix: KvSegment
  /** One sequence each: embeddings [T, H] of what comes after the prefix; all of one length. */
  tails: readonly Float32Array[]
  maxNewTokens: number
  eosTokenId: number
  /**
   * Guesses that one pass checks together; for one sequence only: several abreast share the weights already, and guesses
   * that fail at different places would pull them apart.
   */
  drafter?: Drafter | undefined
  /** See `ForwardInput.exact`. */
  exact?: boolean
  /** Best logits to keep for every step; none by default. */
  topCount?: number
  /** A text that turns in a circle is cut; traces show it whole. */
  guardCycles?: boolean
  timeLimitMs?: number
  signal?: AbortSignal | undefined
  /**
   * Offered keys and values of a single tail, read in one run, and of right guesses behind it: `count` rows, the first of them
   * the tail's and those of `ids`. What it returns takes the place of `prefix`; null leaves things as they are.
   */
  keepTail?: (outputs: Record<string, Tensor>, count: number, ids: readonly number[]) => KvSegment | null
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

/** How it went. */
export interface GenerateFigures {
  /** passes over the decoder, those over the tails included */
  passes: number
  /** of them, rows that were guesses, and those that were right */
  guessed: number
  guessedRight: number
  firstTokenMs: number
  totalMs: number
}

/** Cycles of up to so many tokens count, once they have been said so often. */
const CYCLE_TOKENS = 32
const CYCLE_REPEATS = 4
const TIME_LIMIT_MS = 120_000
/** e^-(i / 64), with which e^-x costs a quarter of `Math.exp`; beyond 32 even 100,000 terms count for less than 1e-8. */
const EXP_STEPS = 64
const EXP_END = 32
const EXP = Float64Array.from({ length: EXP_END * EXP_STEPS }, (_, step) => Math.exp(-step / EXP_STEPS))

/**
 * Greedy decoding of several sequences abreast; those that are done leave the batch.
 * @returns per tail what was generated, and the logits after the tail [vocabulary]
 * @throws GromaError CANCELLED between two passes, NUMERIC_FAULT when logits are no numbers
 */
export async function generate(
  model: Pick<LanguageModel, 'config' | 'forward' | 'embed' | 'kv'>,
  input: GenerateInput,
): Promise<{ generated: Generated[]; firstLogits: Float32Array[]; figures: GenerateFigures }> {
  const { tails, maxNewTokens, topCount = 0, guardCycles = true, exact = false, signal } = input
  const drafter = tails.length === 1 ? input.drafter : undefined
  const startedAt = performance.now()
  const deadline = startedAt + (input.timeLimitMs ?? TIME_LIMIT_MS)
  const figures: GenerateFigures = { passes: 0, guessed: 0, guessedRight: 0, firstTokenMs: 0, totalMs: 0 }
  const generated = tails.map((): Generated => ({ ids: [], probabilities: [], top: [], stopReason: 'length' }))
  let running = tails.map((_, sequence) => sequence)
  let { prefix } = input
  const past = model.kv.cache(tails.length)
  const { hiddenSize } = model.config

  const run = async (embeds: Float32Array, logitRows: number) => {
    await nextTurn(signal)
    figures.passes++
    return model.forward({ embeds, batch: running.length, prefix, past, exact, logitRows })
  }
  /** All rows of the tails but those of the last run, whose logits are wanted. */
  const readAhead = async (): Promise<Float32Array> => {
    const length = tails[0]!.length / hiddenSize
    const abreast = Math.max(1, Math.floor(PROMPT_ROWS / tails.length))
    const step = tails.length > 1 ? (model.kv.rowsAbreast ?? abreast) : abreast
    let done = 0
    for (; length - done > step; done += step) {
      const rows = tails.map((tail) => tail.subarray(done * hiddenSize, (done + step) * hiddenSize))
      past.append((await run(concatenated(rows), 1)).outputs, step)
    }
    return concatenated(tails.map((tail) => tail.subarray(done * hiddenSize)))
  }
  /** Takes the next token of a sequence from its logits; false when it was the last. */
  const take = (sequence: number, row: Float32Array): boolean => {
    const text = generated[sequence]!
    const id = bestOf(row)
    figures.firstTokenMs ||= performance.now() - startedAt
    text.ids.push(id)
    text.probabilities.push(probabilityOf(row, id))
    if (topCount > 0) text.top.push(topOf(row, topCount))
    if (id === input.eosTokenId) text.stopReason = 'end'
    else if (guardCycles && endsInCycle(text.ids)) text.stopReason = 'cycle'
    else if (performance.now() > deadline) text.stopReason = 'timeout'
    input.onToken?.(sequence, text)
    return text.stopReason === 'length' && text.ids.length < maxNewTokens
  }

  let firstLogits: Float32Array[] | undefined
  try {
    let certain = await readAhead() // [B, T, H] rows that are known to be right
    while (running.length > 0) {
      const spoken = generated[running[0]!]!.ids
      const before = spoken.length
      const guesses = drafter?.guess(spoken, maxNewTokens - before - 1) ?? []
      const embeds = guesses.length > 0 ? concatenated([certain, model.embed(guesses)]) : certain
      const length = embeds.length / (running.length * hiddenSize)
      const passStartedAt = performance.now()
      const { logits, outputs } = await run(embeds, 1 + guesses.length)
      const vocabulary = logits.length / (running.length * (1 + guesses.length))
      const rowOf = (place: number) => logits.subarray(place * vocabulary, (place + 1) * vocabulary)
      firstLogits ??= running.map((_, place) => rowOf(place * (1 + guesses.length)).slice())
      if (maxNewTokens < 1) break

      let staying = running.flatMap((sequence, place) => {
        return take(sequence, rowOf(place * (1 + guesses.length))) ? [place] : []
      })
      let right = 0
      while (right < guesses.length && spoken[before + right] === guesses[right]) {
        right++
        if (staying.length === 0) break
        if (!take(running[0]!, rowOf(right))) staying = []
      }
      figures.guessed += guesses.length
      figures.guessedRight += right
      drafter?.learn(right, Math.min(guesses.length, spoken.length - before))
      drafter?.timed(length, performance.now() - passStartedAt)
      const first = before === 0 && past.length === 0 && tails.length === 1
      const longer = first ? (input.keepTail?.(outputs, length, spoken.slice(0, right)) ?? null) : null
      if (staying.length === 0) break
      if (longer) prefix = longer
      else past.append(outputs, length, length - guesses.length + right)
      past.keep(staying)
      running = staying.map((place) => running[place]!)
      certain = model.embed(running.map((sequence) => generated[sequence]!.ids.at(-1)!))
    }
  } finally {
    past.close?.()
  }
  figures.totalMs = performance.now() - startedAt
  return { generated, firstLogits: firstLogits ?? [], figures }
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
  for (let other = 0; other < logits.length; other++) {
    const below = reference - logits[other]!
    if (below >= 0 && below < EXP_END) {
      const step = Math.floor(below * EXP_STEPS)
      const rest = step / EXP_STEPS - below
      sum += EXP[step]! * (1 + rest * (1 + rest * (1 / 2 + rest / 6)))
    } else if (below < 0) sum += Math.exp(-below)
  }
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
