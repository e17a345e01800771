import type { SpecialTokens } from './specialTokens.ts'

/** A phrase of an answer and the regions it points at. */
export interface GroundedSpan {
  /** the phrase, or '' where the model only pointed */
  text: string
  /** code points into the answer's text: text.slice(start, end) by code points is the phrase */
  start: number
  end: number
  /** region indices, in order, without repetition */
  regions: number[]
  /** per entry of `regions`: index of its `<rK>` in the ids, where its probability is to be found */
  regionTokenIndices: number[]
  /** K of every `<rK>` that names no region of this picture */
  unresolved: number[]
}

export interface GroundedText {
  /** what a person reads: no special tokens, single spaces */
  text: string
  spans: GroundedSpan[]
  /** the model broke its own grammar somewhere; what could be read is here all the same */
  malformed: boolean
}

/**
 * Reads an answer's token ids in one pass. Total: any ids give a result, nothing throws (if `decode` does not).
 *
 *   answer  = { words | phrase | regions }        phrase = <p> words </p> regions
 *   regions = <roi> { <rK> } </roi>               ends at </s> or with the ids; everything open is closed there
 *
 * @param input.ids new tokens only, without the prompt
 * @param input.regionCount number of regions the prompt offered
 * @param input.decode text of a run of ordinary ids
 * @param input.complete false while tokens are still to come: an open end is then no fault
 */
export function parseGroundedText(input: {
  ids: readonly number[]
  tokens: SpecialTokens
  regionCount: number
  decode: (ids: readonly number[]) => string
  complete?: boolean
}): GroundedText {
  const { ids, tokens, regionCount, decode } = input
  const out = new TextBuilder()
  const spans: GroundedSpan[] = []
  let malformed = false
  let run: number[] = []
  let phrase: GroundedSpan | null = null // open: between <p> and </p>
  let pending: GroundedSpan | null = null // closed, waiting for its <roi>
  let roi: GroundedSpan | null = null // open: between <roi> and </roi>

  const flush = () => {
    if (run.length === 0) return
    const [start, end] = out.append(decode(run))
    run = []
    if (phrase && end > start) {
      if (phrase.end < 0) phrase.start = start
      phrase.end = end
    }
  }
  const openSpan = (): GroundedSpan => ({
    text: '',
    start: -1,
    end: -1,
    regions: [],
    regionTokenIndices: [],
    unresolved: [],
  })
  const finishSpan = (span: GroundedSpan) => {
    if (span.end < 0) span.start = span.end = out.length
    span.text = out.slice(span.start, span.end)
    if (span.regions.length + span.unresolved.length === 0) malformed = true
    spans.push(span)
  }
  const closePhrase = () => {
    if (phrase) pending = phrase
    phrase = null
  }
  const closePending = () => {
    if (pending) finishSpan(pending)
    pending = null
  }
  const closeRoi = () => {
    if (roi) finishSpan(roi)
    roi = null
  }
  const addRegion = (span: GroundedSpan, region: number, index: number) => {
    if (region >= regionCount) {
      if (!span.unresolved.includes(region)) span.unresolved.push(region)
    } else if (!span.regions.includes(region)) {
      span.regions.push(region)
      span.regionTokenIndices.push(index)
    }
  }

  let index = 0
  for (; index < ids.length && ids[index] !== tokens.eos; index++) {
    const id = ids[index]!
    if (!tokens.all.has(id)) {
      if (pending) closePending()
      if (roi) malformed = true
      run.push(id)
      continue
    }
    flush()
    const region = tokens.regionOfId.get(id)
    if (region !== undefined) {
      if (roi) addRegion(roi, region, index)
      else {
        // a bare <rK>: still a pointer, though not as the model was taught
        malformed = true
        closePending()
        const bare = openSpan()
        bare.start = bare.end = out.length
        addRegion(bare, region, index)
        finishSpan(bare)
      }
    } else if (id === tokens.phraseStart) {
      if (phrase || roi) malformed = true
      closeRoi()
      closePhrase()
      closePending()
      phrase = openSpan()
    } else if (id === tokens.phraseEnd) {
      if (!phrase) malformed = true
      closePhrase()
    } else if (id === tokens.roiStart) {
      if (phrase || roi) malformed = true
      closeRoi()
      closePhrase()
      roi = pending ?? openSpan()
      pending = null
      if (roi.end < 0) roi.start = roi.end = out.length
    } else if (id === tokens.roiEnd) {
      if (!roi) malformed = true
      closeRoi()
    } else if (id !== tokens.bos && id !== tokens.pad) malformed = true
  }
  flush()
  const endedByModel = index < ids.length
  if ((phrase || roi) && (endedByModel || (input.complete ?? true))) malformed = true
  const wasMalformed = malformed
  closeRoi()
  closePhrase()
  closePending()
  if (!endedByModel && input.complete === false) malformed = wasMalformed
  return { text: out.text(), spans, malformed }
}

const noSpaceBefore = /^[.,;:!?)\]}%'\u2019\u201d\u2026]/u
const noSpaceAfter = /[([{\u2018\u201c\n]$/u

/** Joins runs of words with single spaces, counting code points. */
class TextBuilder {
  private readonly points: string[] = []

  get length(): number {
    return this.points.length
  }

  /** Adds a run; returns where its words lie. */
  append(raw: string): [start: number, end: number] {
    const words = raw
      .toWellFormed()
      .replace(/[^\S\n]+/gu, ' ')
      .replace(/ ?\n ?/gu, '\n')
    const trimmed = words.replace(/^ | $/gu, '')
    if (trimmed === '') return [this.length, this.length]
    const last = this.points.at(-1)
    const touching =
      last === undefined || noSpaceAfter.test(last) || trimmed.startsWith('\n') || noSpaceBefore.test(trimmed)
    if (!touching) this.points.push(' ')
    const start = this.length
    for (const point of trimmed) this.points.push(point)
    return [start, this.length]
  }

  slice(start: number, end: number): string {
    return this.points.slice(start, end).join('')
  }

  text(): string {
    return this.points.join('')
  }
}
