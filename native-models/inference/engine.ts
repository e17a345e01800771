import { totalmem } from 'node:os'
import { basename } from 'node:path'
import { GromaError } from '../errors.ts'
import type { BoxCxcywh } from '../geometry/boxes.ts'
import { maxNewTokens, type Query, queries, trusted } from '../groma/prompt.ts'
import { bestRegionForEach, type RegionOrder, type SelectedRegions, selectRegions } from '../groma/regionSelection.ts'
import type { RgbImage } from '../preprocess/image.ts'
import { type GroundedAnswer, readAnswer, readPartialText } from './answers.ts'
import { groupForCaptions, regionOf } from './captions.ts'
import { physicalCores } from './cores.ts'
import { Decoding } from './decoding.ts'
import type { Generated, StopReason } from './generate.ts'
import { type ImageCounters, ImageMemory, type Perception, type Resize } from './imageMemory.ts'
import type { DecoderCounters } from './languageModel.ts'
import { type LoadedModel, type LoadOptions, loadModel } from './loadModel.ts'
import { boxAt, regionList, type SelectedRegion } from './proposals.ts'
import type { ProviderName } from './session.ts'
import { runTrace, type Trace, type TraceInput } from './trace.ts'

export interface EngineInfo {
  /** the checkpoint's name */
  name: string
  modelHash: string
  /** what runs the vision encoder */
  provider: ProviderName
  /** weights are mapped as they were laid out for this machine */
  prepacked: boolean
  threads: number
  maxRegions: number
  /** boxes that the proposer puts out */
  proposalCount: number
  /** side of the square picture that the model sees, pixels */
  imageSize: number
  llm: string
  vision: string
  scoreThreshold: number
}

export interface OpenOptions
  extends Pick<LoadOptions, 'placement' | 'prepackedDir' | 'deferred' | 'onWarning' | 'onDeviceLost'> {
  /** physical cores by default: more are slower */
  threads?: number
  /** what may be kept about images that have been seen */
  memoryLimitBytes?: number
  /** Whether one pass may check several guessed tokens, where that is faster; answers are the same. On by default. */
  drafts?: boolean
  /** told in one line each what was reused, what was computed, and how fast */
  onLog?: (message: string) => void
  signal?: AbortSignal
  onProgress?: (step: string, fraction: number) => void
}

export interface Caption {
  text: string
  /** mean probability of its tokens, geometric: 0..1 */
  confidence: number
  outputIds: number[]
  stopReason: StopReason
}

interface Cancellable {
  signal?: AbortSignal
}

/**
 * Sequences decoded abreast: weights are read once for all of them. At the release's size a token of each takes a megabyte, so
 * long captions go in smaller company.
 */
const CAPTIONS_ABREAST = { brief: 20, detailed: 8 } as const
const GIGABYTE = 2 ** 30

/**
 * A loaded Groma. Calls are worked off one after the other; each may be cancelled between two runs of a graph.
 * All boxes are cxcywh fractions of the upright image.
 */
export class GromaEngine {
  readonly info: EngineInfo
  readonly #model: LoadedModel
  readonly #memory: ImageMemory
  readonly #decoding: Decoding
  readonly #log: (message: string) => void
  #queue: Promise<unknown> = Promise.resolve()

  private constructor(
    model: LoadedModel,
    info: EngineInfo,
    { memoryLimitBytes, onLog = () => {}, drafts = true }: OpenOptions,
  ) {
    this.#model = model
    this.info = info
    this.#memory = new ImageMemory(model, memoryLimitBytes ?? Math.min(2 * GIGABYTE, totalmem() / 4))
    this.#log = onLog
    this.#decoding = new Decoding(model, this.#memory, { log: onLog, drafts })
  }

  /**
   * Loads an engine folder.
   * @throws GromaError MODEL_INVALID, CONFIG_INVALID or TOKENIZER_INVALID naming the file, CANCELLED
   */
  static async open(modelDir: string, options: OpenOptions = {}): Promise<GromaEngine> {
    const { threads = physicalCores(), placement } = options
    const model = await loadModel(modelDir, { ...options, threads })
    const { manifest, config, facts } = model
    const info: EngineInfo = {
      name: manifest.createdFrom || basename(modelDir),
      modelHash: manifest.modelHash,
      provider: placement?.['vision-encoder']?.provider ?? 'cpu',
      prepacked: typeof options.prepackedDir === 'string',
      threads,
      maxRegions: config.maxRegions,
      proposalCount: config.detector.proposalCount,
      imageSize: facts.imageSize,
      llm: manifest.llm,
      vision: manifest.vision,
      scoreThreshold: config.scoreThreshold,
    }
    return new GromaEngine(model, info, options)
  }

  /** Opens the graphs that loading deferred, one a turn, between other calls. @throws GromaError MODEL_INVALID, OUT_OF_MEMORY, CANCELLED */
  openRest(signal?: AbortSignal): Promise<void> {
    return this.#model.openRest(signal)
  }

  /**
   * Looks at an image: hidden states and all proposals. The same key gives the same result without looking again.
   * @param options.key names the image's content, e.g. its hash, and the resize where it is not the demo's
   * @param options.resize how the picture becomes a square: as the release's demo does, or as for the paper's tables
   */
  perceive(
    image: RgbImage,
    { key, resize, signal }: { key: string; resize?: Resize } & Cancellable,
  ): Promise<Perception> {
    return this.#inTurn(async () => {
      const { proposalRuns } = this.#memory.counters
      const startedAt = performance.now()
      const perception = await this.#decoding.twice({ key }, () => this.#memory.perceive(image, key, signal, resize))
      const seconds = ((performance.now() - startedAt) / 1000).toFixed(2)
      if (this.#memory.counters.proposalRuns > proposalRuns) this.#log(`image: looked at in ${seconds} s`)
      return perception
    })
  }

  /** Computes ahead what every question on an image begins with, so that the first one needs its own words only. */
  prepare(perception: Perception, { signal }: Cancellable = {}): Promise<void> {
    return this.#inTurn(() => this.#decoding.prepare(perception, this.#select(perception, []), signal))
  }

  /** What was computed since the model was opened. */
  counters(): ImageCounters & { decoder: DecoderCounters } {
    return { ...this.#memory.counters, decoder: this.#model.language.counters }
  }

  /** Every box that the proposer puts out, in its order, before threshold and suppression. */
  allProposals({ proposals: { boxesCxcywh, scores } }: Perception): Pick<SelectedRegion, 'boxCxcywh' | 'score'>[] {
    return Array.from(scores, (score, i) => ({ boxCxcywh: boxAt(boxesCxcywh, i), score }))
  }

  /** The regions that a question could point at, best first: the `<r0>`, `<r1>`, ... of a prompt without user boxes. */
  propose(perception: Perception, options: { scoreThreshold?: number } = {}): SelectedRegion[] {
    return regionList(this.#select(perception, [], options))
  }

  /**
   * Describes boxes in a few words, or in a sentence.
   * @param options.onCaption called as each is ready, with its place in `boxes`
   * @param options.onText called with the whole text so far of a caption, and its place in `boxes`
   */
  caption(
    perception: Perception,
    boxes: readonly BoxCxcywh[],
    options: {
      detail: 'brief' | 'detailed'
      maxNewTokens?: number
      onCaption?: (box: number, caption: Caption) => void
      onText?: (box: number, text: string) => void
    } & Cancellable,
  ): Promise<Caption[]> {
    return this.#inTurn(async () => {
      const query = options.detail === 'brief' ? queries.captionBrief() : queries.captionDetailed()
      const captions: Caption[] = []
      for (const { selection, members } of groupForCaptions(boxes, (added) => this.#select(perception, added))) {
        const abreast = CAPTIONS_ABREAST[options.detail]
        for (let start = 0; start < members.length; start += abreast) {
          const batch = members.slice(start, start + abreast)
          const finish = (place: number, generated: Generated) => {
            const caption = this.#captionOf(generated)
            captions[batch[place]!.box] = caption
            options.onCaption?.(batch[place]!.box, caption)
          }
          const all = await this.#decoding.run(perception, selection, query, {
            referRegions: batch.map(({ region }) => [region]),
            maxNewTokens: options.maxNewTokens ?? maxNewTokens.caption,
            signal: options.signal,
            onToken: (place, generated) => {
              options.onText?.(batch[place]!.box, readPartialText(generated.ids, this.#model.tokenizer, 0))
              if (generated.stopReason !== 'length') finish(place, generated)
            },
          })
          for (const [place, generated] of all.entries())
            if (generated.stopReason === 'length') finish(place, generated)
        }
      }
      return captions
    })
  }

  /**
   * Answers a question. Boxes join the regions as the user's own, unless they are selected regions anyway; `{box}` in the
   * question stands for the next of them, those without a place in it follow it.
   * @param options.onText called with the whole text so far
   */
  ask(
    perception: Perception,
    options: {
      question: string
      grounded: boolean
      boxesCxcywh?: readonly BoxCxcywh[]
      maxNewTokens?: number
      onText?: (text: string) => void
    } & Cancellable,
  ): Promise<GroundedAnswer> {
    const { boxesCxcywh = [] } = options
    const query = questionQuery(options.question, options.grounded, boxesCxcywh.length)
    return this.#answer(perception, query, { ...options, boxesCxcywh })
  }

  /**
   * Finds what a phrase means: the one region, or every one of a kind.
   * @param options.onText called with the whole text so far
   */
  locate(
    perception: Perception,
    { phrase, all, ...options }: { phrase: string; all: boolean; onText?: (text: string) => void } & Cancellable,
  ): Promise<GroundedAnswer> {
    const query = all ? queries.locateAll(phrase) : queries.locateOne(phrase)
    const limit = all ? maxNewTokens.locateAll : maxNewTokens.locateOne
    return this.#answer(perception, query, { boxesCxcywh: [], maxNewTokens: limit, ...options })
  }

  /** One question with everything that can be compared with the authors' code. */
  trace(image: RgbImage, input: TraceInput): Promise<Trace> {
    return this.#inTurn(() => runTrace(this.#model, this.#memory, image, input))
  }

  /** Frees the graphs and all memory of images, once the call in work is done. */
  close(): Promise<void> {
    return this.#inTurn(async () => {
      this.#memory.clear()
      await this.#model.close()
    })
  }

  #answer(
    perception: Perception,
    query: Query,
    options: {
      boxesCxcywh: readonly BoxCxcywh[]
      maxNewTokens?: number
      onText?: (text: string) => void
    } & Cancellable,
  ): Promise<GroundedAnswer> {
    return this.#inTurn(async () => {
      const { tokenizer } = this.#model
      const selection = this.#selectFor(perception, options.boxesCxcywh)
      const regions = regionList(selection)
      let shown = ''
      const [generated] = await this.#decoding.run(perception, selection, query, {
        referRegions: [bestRegionForEach(selection.boxesCxcywh, options.boxesCxcywh.flat())],
        maxNewTokens: options.maxNewTokens ?? maxNewTokens.chat,
        signal: options.signal,
        onToken: (_, { ids }) => {
          if (!options.onText) return
          const text = readPartialText(ids, tokenizer, regions.length)
          if (text !== shown) options.onText(text)
          shown = text
        },
      })
      return readAnswer(generated!, tokenizer, regions)
    })
  }

  /** Boxes that are selected regions anyway stand for those: where all are, the image's prompt is known. */
  #selectFor(perception: Perception, userBoxes: readonly BoxCxcywh[]): SelectedRegions {
    const own = this.#select(perception, [])
    const known = userBoxes.map((box) => regionOf(box, own))
    if (!known.includes(undefined)) return own
    const boxes = userBoxes.map((box, i) => (known[i] === undefined ? box : boxAt(own.boxesCxcywh, known[i])))
    return this.#select(perception, boxes)
  }

  #select(
    { proposals }: Perception,
    userBoxes: readonly BoxCxcywh[],
    { scoreThreshold, order = 'score' }: { scoreThreshold?: number; order?: RegionOrder } = {},
  ): SelectedRegions {
    for (const box of userBoxes) requireBox(box)
    const { config } = this.#model
    return selectRegions({
      ...proposals,
      referBoxes: userBoxes.flat(),
      config: scoreThreshold === undefined ? config : { ...config, scoreThreshold },
      order,
    })
  }

  #captionOf({ ids, probabilities, stopReason }: Generated): Caption {
    const { text } = readAnswer({ ids, probabilities, stopReason, top: [] }, this.#model.tokenizer, [])
    const logs = probabilities.reduce((sum, probability) => sum + Math.log(probability), 0)
    return { text, confidence: Math.exp(logs / probabilities.length), outputIds: ids, stopReason }
  }

  /** After all earlier calls, however they ended. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(work)
    this.#queue = result.catch(() => {})
    return result
  }
}

function requireBox(box: BoxCxcywh): void {
  const [, , width, height] = box
  if (box.length === 4 && box.every((place) => Number.isFinite(Math.fround(place))) && width > 0 && height > 0) return
  throw new GromaError('INPUT_INVALID', `a box needs four finite numbers and an area, not [${box.join(', ')}]`)
}

function questionQuery(question: string, grounded: boolean, boxCount: number): Query {
  const start = grounded ? [trusted('[grounding]')] : []
  if (boxCount === 0) return [...start, ...queries.plainQuestion(question)]
  const places = question.split('{box}').length - 1
  const missing = Math.max(0, boxCount - places)
  return [...start, ...queries.aboutBoxes(question + ' {box}'.repeat(missing))]
}
