import type { GraphFacts } from '../builders/modelFiles.ts'
import { REGION_LEVEL_SCALES } from '../builders/regionMaps.ts'
import { GromaError } from '../errors.ts'
import { allFinite } from '../finite.ts'
import { promptParts, promptPrefix, queries } from '../groma/prompt.ts'
import type { SelectedRegions } from '../groma/regionSelection.ts'
import type { RgbImage } from '../preprocess/image.ts'
import { normalisePixels } from '../preprocess/pixels.ts'
import { resizeBicubicPillow } from '../preprocess/resize.ts'
import { resizeBilinearOpenCv } from '../preprocess/resizeOpenCv.ts'
import type { GromaTokenizer } from '../preprocess/tokenizer.ts'
import { ByteLru } from './byteLru.ts'
import { nextTurn } from './generate.ts'
import type { KvSegment } from './kvCache.ts'
import type { LoadedModel } from './loadModel.ts'
import {
  PROMPT,
  type Prompt,
  PromptCache,
  type PromptCounters,
  type PromptHead,
  type PromptPiece,
} from './promptCache.ts'
import { embedParts, type PrefixPiece, prefixPieces, splitPrompt, tokenPiece } from './promptEmbedding.ts'
import { type Proposals, runProposalHead } from './proposals.ts'
import { type Feeds, floats, floatsOf, isOnDevice, type Tensor, tensorBytes } from './session.ts'

/** What the engine knows of one image: small enough to keep, and enough to make everything else again. */
export interface Perception {
  readonly key: string
  readonly width: number
  readonly height: number
  readonly proposals: Proposals
  /** [S, S, 3] the picture as the model sees it */
  readonly squareRgb: Uint8Array
}

const resizers = { pillow: resizeBicubicPillow, opencv: resizeBilinearOpenCv }
/** How a picture becomes the model's square. */
export type Resize = keyof typeof resizers

interface States {
  byIndex: ReadonlyMap<number, Tensor>
}

/** What was computed since the model was opened. */
export interface ImageCounters {
  encoderRuns: number
  proposalRuns: number
  regionMapRuns: number
  regionHeadRuns: number
  /** boxes that became tokens */
  regions: number
  /** tokens of prompts up to the question */
  prompt: PromptCounters
}

/** What there is of an image, what is cheapest to make again for its size first: so it is forgotten. */
const KINDS = ['maps', 'prefix', 'states', 'image-tokens', 'region-tokens', 'perception'] as const

/** Half-way through pooling a box takes [finest side, C, bins]: so many bytes of them at a time. */
const REGION_BATCH_BYTES = 240 << 20

/** Boxes that the region head takes at a time. */
export function regionBatch({
  side,
  regionChannels,
  regionBins,
}: Pick<GraphFacts, 'side' | 'regionChannels' | 'regionBins'>): number {
  const bytesOfBox = side * REGION_LEVEL_SCALES[0] * regionChannels * regionBins * Float32Array.BYTES_PER_ELEMENT
  return Math.max(1, Math.floor(REGION_BATCH_BYTES / bytesOfBox))
}

/**
 * Per image: hidden states, image tokens, region maps, region tokens, and the language model's keys and values of
 * everything before the question. All of it comes and goes by use; `Perception` alone is enough to make it again.
 */
export class ImageMemory {
  readonly #model: LoadedModel
  readonly #lru: ByteLru
  readonly #prompts: PromptCache
  /** What every grounded question begins with: read with the prompt. */
  readonly #likelyHead: readonly PrefixPiece[]
  readonly counters: ImageCounters

  constructor(model: LoadedModel, limitBytes: number) {
    this.#model = model
    this.#lru = new ByteLru(limitBytes)
    this.#prompts = new PromptCache(this.#lru, model.language)
    this.#likelyHead = groundedHead(model.tokenizer)
    this.counters = {
      encoderRuns: 0,
      proposalRuns: 0,
      regionMapRuns: 0,
      regionHeadRuns: 0,
      regions: 0,
      prompt: this.#prompts.counters,
    }
  }

  /** An image is in use: everything about it outlives what is known of others. */
  use({ key }: Pick<Perception, 'key'>): void {
    for (const kind of KINDS) for (const name of this.#lru.keys(`${key}|${kind}`)) this.#lru.get(name)
  }

  /** Drops everything about one image. */
  forget({ key }: Pick<Perception, 'key'>): void {
    for (const name of this.#lru.keys(`${key}|`)) this.#lru.delete(name)
  }

  /** Looks at an image, or remembers it by its key. */
  perceive(image: RgbImage, key: string, signal?: AbortSignal, resize: Resize = 'pillow'): Promise<Perception> {
    const make = async (): Promise<Perception> => {
      const { imageSize } = this.#model.facts
      const squareRgb = resizers[resize](image.data, image.width, image.height, imageSize, imageSize)
      const states = await this.#states({ key, squareRgb }, signal)
      await nextTurn(signal)
      this.counters.proposalRuns++
      const head = this.#model.graphs['proposal-head']
      const proposals = await held(states, runProposalHead(head, this.#lastStates(states, 4)))
      return { key, width: image.width, height: image.height, proposals, squareRgb }
    }
    return this.#lru.getOrMake(`${key}|perception`, make, ({ squareRgb, proposals }) => {
      return squareRgb.byteLength + proposals.boxesCxcywh.byteLength
    })
  }

  /** The image as tokens of the language model: [M, H]. */
  imageTokens(perception: Perception, signal?: AbortSignal): Promise<Float32Array> {
    const make = async () => {
      const states = await this.#states(perception, signal)
      const state = states.byIndex.get(this.#model.config.imageTokenLayer)!
      await nextTurn(signal)
      const outputs = await held(states, this.#model.graphs['image-tokens'].run({ hidden_state: state }))
      return finite('the image tokens', floatsOf(outputs, 'image_tokens'))
    }
    return this.#lru.getOrMake(`${perception.key}|image-tokens`, make, (tokens) => tokens.byteLength)
  }

  /**
   * Boxes as tokens of the language model; each box is computed once per image.
   * @param boxesCxcywh [R, 4]
   * @returns [R, H]
   */
  async regionTokens(perception: Perception, boxesCxcywh: Float32Array, signal?: AbortSignal): Promise<Float32Array> {
    const { hiddenSize } = this.#model.config.llm
    const known = this.#lru.get<Map<string, Float32Array>>(`${perception.key}|region-tokens`) ?? new Map()
    const names = boxNames(boxesCxcywh)
    const missing = names.flatMap((name, i) => (known.has(name) ? [] : [i]))
    if (missing.length > 0) {
      const boxes = Float32Array.from(missing.flatMap((i) => [...boxesCxcywh.subarray(i * 4, i * 4 + 4)]))
      const tokens = await this.#encodeRegions(perception, boxes, signal)
      for (const [row, i] of missing.entries()) {
        known.set(names[i]!, tokens.slice(row * hiddenSize, (row + 1) * hiddenSize))
      }
      this.#lru.set(`${perception.key}|region-tokens`, known, known.size * (hiddenSize * 4 + 100))
    }
    const rows = new Float32Array(names.length * hiddenSize)
    for (const [i, name] of names.entries()) rows.set(known.get(name)!, i * hiddenSize)
    return rows
  }

  /**
   * Keys and values of the prompt up to the question, for an image with these regions in this order.
   * @param options.exact see `ForwardInput.exact`
   */
  prefix(
    perception: Perception,
    selection: Pick<SelectedRegions, 'boxesCxcywh'>,
    options: { signal?: AbortSignal | undefined; exact?: boolean } = {},
  ): Promise<KvSegment> {
    return this.#prompts.get(
      promptKey(perception, selection),
      this.#prompt(perception, selection, options.signal),
      options,
    )
  }

  /** The same, with as much of a question as was read behind it before. @param question its pieces, see `questionPieces` */
  promptFor(
    perception: Perception,
    selection: Pick<SelectedRegions, 'boxesCxcywh'>,
    question: readonly PromptPiece[],
    options: { signal?: AbortSignal | undefined; exact?: boolean } = {},
  ): Promise<PromptHead> {
    const prompt = this.#prompt(perception, selection, options.signal)
    return this.#prompts.begin(promptKey(perception, selection), prompt, question, options)
  }

  /** The pixels that the vision encoder sees, [1, 3, S, S]. */
  pixels({ squareRgb }: Pick<Perception, 'squareRgb'>): Float32Array {
    return normalisePixels(squareRgb, this.#model.pixels)
  }

  /** Drops everything about every image. */
  clear(): void {
    this.#lru.clear()
  }

  #prompt(
    perception: Perception,
    { boxesCxcywh }: Pick<SelectedRegions, 'boxesCxcywh'>,
    signal: AbortSignal | undefined,
  ): Prompt {
    const { language, tokenizer, facts } = this.#model
    const beforeQuestion = prefixPieces(
      splitPrompt(tokenizer.encode(promptPrefix), tokenizer.tokens),
      tokenizer.tokens,
      {
        imageKey: perception.key,
        imageRows: facts.side ** 2 / 4,
        regionKeys: boxNames(boxesCxcywh),
      },
    )
    const pieces = [...beforeQuestion, ...this.#likelyHead]
    const embedsFrom = async (first: number): Promise<Float32Array> => {
      const { hiddenSize } = language.config
      const parts = pieces.slice(first).map(({ part }) => part)
      const regions = parts.flatMap((part) => (typeof part === 'object' ? [part.region] : []))
      const features = regions.length > 0 ? await this.regionTokens(perception, boxesCxcywh, signal) : null
      const image = parts.includes('image') ? await this.imageTokens(perception, signal) : null
      const filled = parts.map((part) => {
        if (typeof part === 'number') return part
        if (part === 'image') return image!
        return features!.subarray(part.region * hiddenSize, (part.region + 1) * hiddenSize)
      })
      return embedParts(language, filled)
    }
    return { pieces, beforeQuestion: beforeQuestion.length, embedsFrom }
  }

  #states(perception: Pick<Perception, 'key' | 'squareRgb'>, signal?: AbortSignal): Promise<States> {
    const make = async (): Promise<States> => {
      const { imageSize, hiddenStates } = this.#model.facts
      await nextTurn(signal)
      const outputs = await this.#model.graphs['vision-encoder'].run({
        pixel_values: floats(this.pixels(perception), 1, 3, imageSize, imageSize),
      })
      this.counters.encoderRuns++
      const states = hiddenStates.map((k) => outputs[`hidden_state.${k}`]!)
      for (const [i, k] of hiddenStates.entries()) {
        // what stays on a device is judged by what comes of it
        if (!isOnDevice(states[i]!)) finite(`hidden state ${k} of the image`, floatsOf(outputs, `hidden_state.${k}`))
      }
      const made: States = { byIndex: new Map(hiddenStates.map((k, i) => [k, states[i]!])) }
      this.#model.graphs['vision-encoder'].hold?.(made, states)
      return made
    }
    const bytesOf = ({ byIndex }: States) => [...byIndex.values()].reduce((sum, state) => sum + tensorBytes(state), 0)
    return this.#lru.getOrMake(`${perception.key}|states`, make, bytesOf)
  }

  /** The last hidden states, oldest first. */
  #lastStates({ byIndex }: States, count: number): Tensor[] {
    const { layerCount } = this.#model.config.vision
    return Array.from({ length: count }, (_, i) => byIndex.get(layerCount - count + 1 + i)!)
  }

  #regionMaps(perception: Perception, signal?: AbortSignal): Promise<Feeds> {
    const make = async (): Promise<Feeds> => {
      const states = await this.#states(perception, signal)
      await nextTurn(signal)
      const feeds = Object.fromEntries(
        this.#lastStates(states, 3).map((state, level) => [`hidden_state.${level}`, state]),
      )
      const graph = this.#model.graphs['region-maps']
      const maps = await held(states, graph.run(feeds))
      this.counters.regionMapRuns++
      const made = Object.fromEntries(
        Object.entries(maps).map(([name, map]) => [name.replace('region_map', 'map'), map]),
      )
      graph.hold?.(made, Object.values(maps))
      return made
    }
    const bytesOf = (maps: Feeds) => Object.values(maps).reduce((sum, map) => sum + tensorBytes(map), 0)
    return this.#lru.getOrMake(`${perception.key}|maps`, make, bytesOf)
  }

  async #encodeRegions(perception: Perception, boxes: Float32Array, signal?: AbortSignal): Promise<Float32Array> {
    const maps = await this.#regionMaps(perception, signal)
    const batch = regionBatch(this.#model.facts)
    const count = boxes.length / 4
    const tokens = new Float32Array(count * this.#model.config.llm.hiddenSize)
    for (let start = 0; start < count; start += batch) {
      await nextTurn(signal)
      const some = boxes.subarray(start * 4, (start + batch) * 4)
      const feeds = { ...maps, boxes_cxcywh: floats(some, some.length / 4, 4) }
      const rows = floatsOf(await held(maps, this.#model.graphs['region-head'].run(feeds)), 'region_tokens')
      this.counters.regionHeadRuns++
      this.counters.regions += some.length / 4
      tokens.set(rows, start * this.#model.config.llm.hiddenSize)
    }
    return finite('the region tokens', tokens)
  }
}

/** Keeps what owns tensors on a device until a run that is fed with them is over: they are given back with it. */
function held<T>(owner: object, run: Promise<T>): Promise<T> {
  inUse.add(owner)
  return run.finally(() => inUse.delete(owner))
}
const inUse = new Set<object>()

/** @throws GromaError NUMERIC_FAULT when some of the numbers are none */
function finite(what: string, numbers: Float32Array): Float32Array {
  if (allFinite(numbers)) return numbers
  throw new GromaError('NUMERIC_FAULT', `${what} hold numbers that are not finite`)
}

const promptKey = ({ key }: Perception, { boxesCxcywh }: Pick<SelectedRegions, 'boxesCxcywh'>) =>
  `${key}${PROMPT}${nameOf(boxesCxcywh)}`

/** The tokens that all grounded questions have in common. */
function groundedHead(tokenizer: GromaTokenizer): PrefixPiece[] {
  const [a = [], b = []] = ['Describe it.', 'What?'].map((question) => {
    const ids = tokenizer.encodeParts(promptParts(queries.groundedQuestion(question)))
    return splitPrompt(ids, tokenizer.tokens).tail
  })
  const end = a.findIndex((id, i) => id !== b[i])
  return a.slice(0, end).map((id) => ({ ...tokenPiece(id), part: id }))
}

/** The name of each box. */
export function boxNames(boxes: Float32Array): string[] {
  return Array.from({ length: boxes.length / 4 }, (_, i) => nameOf(boxes.subarray(i * 4, i * 4 + 4)))
}

/** Boxes by their exact numbers. */
function nameOf(boxes: Float32Array): string {
  return Buffer.from(boxes.buffer, boxes.byteOffset, boxes.byteLength).toString('base64')
}
