/** Everything that asks the model. Results are stored before they are returned. */
import { stat } from 'node:fs/promises'
import { diffOf } from '../../db/records/diff.ts'
import type { BboxXywh, Message, Revision } from '../../db/records/records.ts'
import { api, type Input, type ParsedInput, type ProposeProgress } from '../contract/api.ts'
import type { EngineImage, EngineProgress, EngineTask } from '../contract/engineProtocol.ts'
import { AppError } from '../contract/errors.ts'
import { answerContent, locatedContent } from './answers.ts'
import { toModel, toModelInside } from './boxes.ts'
import { CategoryFinder } from './categories.ts'
import type { EngineWorkers } from './engineWorkers.ts'
import type { Handlers } from './handlers.ts'
import type { ProjectSession } from './projectSession.ts'
import { ProposalRun, phraseProposals, withModelCaption } from './proposals.ts'

/** Captions are stored together when they come faster than this. */
const FLUSH_MS = 250

export interface ProposeOptions {
  captions: boolean
  minScore?: number | undefined
  priority: 'foreground' | 'background'
  signal: AbortSignal
  onProgress?: (progress: ProposeProgress) => void
}

export class Grounding {
  readonly #session: ProjectSession
  readonly #engine: EngineWorkers
  /** Called before a person's Propose, so that the background does not do the same. */
  onPropose: (imageId: number) => Promise<void> = async () => {}
  /** Called before every task: the first one loads the model. */
  ensureModel: () => Promise<void> = async () => {}

  constructor(session: ProjectSession, engine: EngineWorkers) {
    this.#session = session
    this.#engine = engine
  }

  /** Proposes regions of one image and stores them; captions are stored as they come. Resolves to the number of regions. */
  async propose(imageId: number, options: ProposeOptions): Promise<number> {
    const store = this.#session.store()
    const { record, engineImage } = await this.#image(imageId)
    let run: ProposalRun | null = null
    let failure: unknown = null
    let lastFlush = Date.now()
    let total = 0
    const tell = options.onProgress ?? (() => {})
    const stop = new AbortController()
    const signal = AbortSignal.any([options.signal, stop.signal])

    const flush = () => {
      const revision = run?.flush() ?? null
      lastFlush = Date.now()
      if (revision !== null) tell({ kind: 'captioned', revision, done: run?.captioned ?? 0, total })
    }
    const onRegions = (regions: Extract<EngineProgress, { kind: 'regions' }>['regions']) => {
      run ??= new ProposalRun(this.#session, imageId, this.#modelHash())
      const revision = run.storeRegions(regions)
      total = run.stored
      if (revision !== null) tell({ kind: 'proposed', revision })
    }
    const onProgress = (progress: EngineProgress) => {
      if (failure !== null) return
      if (progress.kind === 'step') return tell(progress)
      const take = () => {
        if (progress.kind === 'regions') onRegions(progress.regions)
        else if (progress.kind === 'caption') {
          run?.addCaption(progress.index, progress.text)
          if (Date.now() - lastFlush >= FLUSH_MS) flush()
        }
      }
      this.#session.whenSettled(store, take).catch((error: unknown) => {
        failure ??= error // a full disk, for one: computing on would be in vain
        stop.abort()
      })
    }

    try {
      const result = await this.#engine.run(proposeTask(engineImage, options), {
        priority: options.priority,
        note: `Looking for regions in ${record.fileName}`,
        onProgress,
        signal,
      })
      await this.#session.whenSettled(store, () => onRegions(result.regions))
      if (failure !== null) throw failure
      for (const [index, { caption }] of result.regions.entries()) if (caption !== null) run!.addCaption(index, caption)
      return run!.stored
    } catch (error) {
      throw failure ?? error
    } finally {
      // Captions that came before a cancel or a crash are kept.
      if (failure === null && !this.#session.isClosed(store)) await this.#session.whenSettled(store, flush)
    }
  }

  /** Computes ahead what every question on an image begins with, behind everything that people ask for. */
  async prepare(imageId: number, signal: AbortSignal): Promise<void> {
    const { record, engineImage } = await this.#image(imageId)
    const note = `Getting ready for questions about ${record.fileName}`
    await this.#engine.run({ kind: 'prepare', image: engineImage }, { priority: 'background', note, signal })
  }

  /** Begins what a call will ask of the engine; the call itself then finds it begun, or done. @throws as the call would */
  async computeAhead<K extends AheadName>(name: K, input: Input<K>, signal: AbortSignal): Promise<void> {
    const call = { name, input: api[name].input.parse(input) } as AheadCall
    for (const task of await this.#tasks(call)) this.#engine.computeAhead(task, signal)
  }

  async #tasks({ name, input }: AheadCall): Promise<EngineTask[]> {
    if (name === 'grounding.caption') {
      const rows = this.#session.store().annotations.getMany([...new Set(input.annotationIds)])
      const tasks: EngineTask[] = []
      for (const imageId of new Set(rows.map((row) => row.imageId))) {
        const { record, engineImage } = await this.#image(imageId)
        const chosen = rows.filter((row) => row.imageId === imageId)
        tasks.push(captionTask(engineImage, chosen, input.detail, record))
      }
      return tasks
    }
    const { record, engineImage } = await this.#image(input.imageId)
    if (name === 'grounding.propose') return [proposeTask(engineImage, input)]
    return [name === 'grounding.ask' ? askTask(engineImage, input, record) : locateTask(engineImage, input)]
  }

  handlers() {
    return {
      'grounding.propose': async ({ imageId, captions, minScore }, { signal, progress }) => {
        await this.onPropose(imageId)
        return {
          proposed: await this.propose(imageId, {
            captions,
            minScore,
            priority: 'foreground',
            signal,
            onProgress: progress,
          }),
        }
      },
      'grounding.ask': async (input, { signal, progress }) => {
        const store = this.#session.store()
        const { record, engineImage } = await this.#image(input.imageId)
        const onProgress = tellingText(progress)
        const answer = await this.#engine.run(askTask(engineImage, input, record), {
          note: 'Answering',
          onProgress,
          signal,
        })
        return this.#session.whenSettled(store, () => {
          const talk = this.#talk(input.imageId, input.question, input.boxesXywh, answerContent(answer, record))
          this.#session.commit('model', 'Answer', diffOf({ messages: added([talk.question, talk.answer]) }))
          return talk
        })
      },
      'grounding.caption': (input, { signal, progress }) => this.#caption(input, signal, progress),
      'grounding.locate': async ({ imageId, phrase, all }, { signal, progress }) => {
        const store = this.#session.store()
        const { record, engineImage } = await this.#image(imageId)
        const onProgress = tellingText(progress)
        const answer = await this.#engine.run(locateTask(engineImage, { phrase, all }), {
          note: `Looking for ${phrase}`,
          onProgress,
          signal,
        })
        const content = locatedContent(answer, phrase, record)
        const found = content.spans.flatMap((span) => span.boxes.map((box) => ({ ...box, phrase })))
        return this.#session.whenSettled(store, () => {
          const talk = this.#talk(imageId, phrase, [], content)
          const rows = phraseProposals(this.#session, imageId, found, this.#modelHash())
          const revision = this.#session.commit(
            'model',
            `Locate ${phrase}`.slice(0, 100),
            diffOf({ ...rows, messages: added([talk.question, talk.answer]) }),
          )
          return { ...talk, revision: rows.annotations.length === 0 ? null : revision }
        })
      },
      'grounding.addAnswer': ({ messageId, spanIndex }) => {
        const message = this.#session.store().messages.get(messageId)
        const spans = spanIndex === null ? message.spans : message.spans.slice(spanIndex, spanIndex + 1)
        if (spans.length === 0) throw new AppError('NOT_FOUND', 'This answer has no boxes.')
        const found = spans.flatMap((span) => span.boxes.map((box) => ({ ...box, phrase: span.text })))
        const rows = phraseProposals(this.#session, message.imageId, found, message.modelHash)
        const count = rows.annotations.length
        return count === 0 ? null : this.#session.commit('human', `Add ${count} from the answer`, diffOf(rows))
      },
    } satisfies Partial<Handlers>
  }

  async #caption(
    { annotationIds, detail }: ParsedInput<'grounding.caption'>,
    signal: AbortSignal,
    progress: (value: { note: string; text: string }) => void,
  ): Promise<Revision[]> {
    const project = this.#session.store()
    const rows = project.annotations.getMany([...new Set(annotationIds)])
    const revisions: Revision[] = []
    for (const imageId of new Set(rows.map((row) => row.imageId))) {
      const chosen = rows.filter((row) => row.imageId === imageId)
      const { record, engineImage } = await this.#image(imageId)
      const stored = new Set<number>()
      const store = (index: number, text: string) => {
        const asked = chosen[index]
        if (asked === undefined || stored.has(index) || text.trim() === '') return
        const before = project.annotations.find(asked.id)
        if (before === null) return // deleted meanwhile
        const finder = new CategoryFinder(this.#session)
        // What a person typed while the model was thinking stays.
        const fill = before.caption === asked.caption
        const after = withModelCaption(before, text.trim(), finder, { modelHash: this.#modelHash(), fill })
        const diff = diffOf({ categories: finder.changes(), annotations: [{ before, after }] })
        revisions.push(this.#session.commit('model', `Caption ${text.trim()}`.slice(0, 100), diff))
        stored.add(index)
      }
      const tell = tellingText(progress)
      const onProgress = (event: EngineProgress) => {
        tell(event)
        // one that could not be stored is tried again with the result
        if (event.kind === 'caption')
          this.#session.whenSettled(project, () => store(event.index, event.text)).catch(() => {})
      }
      const { captions } = await this.#engine.run(captionTask(engineImage, chosen, detail, record), {
        note: 'Describing a region',
        onProgress,
        signal,
      })
      await this.#session.whenSettled(project, () => {
        for (const [index, text] of captions.entries()) store(index, text)
      })
    }
    return revisions
  }

  /** An image and its file, for a task whose result can be stored. @throws NOT_FOUND, READ_ONLY, IMAGE_UNREADABLE */
  async #image(imageId: number) {
    const { warning, readOnly } = this.#session.store().summary()
    if (readOnly) throw new AppError('READ_ONLY', warning ?? 'This project is open for reading only.')
    const record = this.#session.imageRecord(imageId)
    const path = await this.#session.imageFile(record)
    const { size, mtimeMs } = await stat(path)
    await this.ensureModel()
    // not the record's hash: the file may be another by now, and records that were imported know none
    return { record, engineImage: { path, key: `${path} ${size} ${mtimeMs}` } }
  }

  #modelHash(): string | null {
    return this.#engine.info()?.modelHash ?? null
  }

  #talk(
    imageId: number,
    question: string,
    boxes: Message['attachedBoxesXywh'],
    content: Pick<Message, 'text' | 'spans' | 'regions' | 'malformed' | 'stopReason'>,
  ): { question: Message; answer: Message } {
    const [questionId, answerId] = this.#session.allocateIds('messages', 2)
    const common = { imageId, createdAt: Date.now() }
    const nothing = { spans: [], regions: [], modelHash: null, malformed: false, stopReason: null }
    return {
      question: { id: questionId!, role: 'user', text: question, attachedBoxesXywh: boxes, ...nothing, ...common },
      answer: {
        id: answerId!,
        role: 'assistant',
        attachedBoxesXywh: [],
        modelHash: this.#modelHash(),
        ...content,
        ...common,
      },
    }
  }
}

/** Calls whose work can be begun before them. */
export type AheadName = 'grounding.propose' | 'grounding.ask' | 'grounding.locate' | 'grounding.caption'
type AheadCall = { [K in AheadName]: { name: K; input: ParsedInput<K> } }[AheadName]

// One builder a task: what is computed ahead must be, to the last field, what is asked for later.

const proposeTask = (image: EngineImage, options: { captions: boolean; minScore?: number | undefined }) => ({
  kind: 'propose' as const,
  image,
  captions: options.captions,
  ...(options.minScore === undefined ? {} : { scoreThreshold: options.minScore }),
})

const askTask = (
  image: EngineImage,
  { question, grounded, boxesXywh }: Pick<ParsedInput<'grounding.ask'>, 'question' | 'grounded' | 'boxesXywh'>,
  record: { fileName: string; width: number; height: number },
) => ({
  kind: 'ask' as const,
  image,
  question,
  grounded,
  boxesCxcywh: boxesXywh.map((box) => toModelInside(box, record)),
})

const locateTask = (image: EngineImage, { phrase, all }: { phrase: string; all: boolean }) => ({
  kind: 'locate' as const,
  image,
  phrase,
  all,
})

const captionTask = (
  image: EngineImage,
  rows: readonly { bboxXywh: BboxXywh }[],
  detail: 'brief' | 'detailed',
  size: { width: number; height: number },
) => ({ kind: 'caption' as const, image, boxesCxcywh: rows.map((row) => toModel(row.bboxXywh, size)), detail })

const added = <T>(rows: T[]) => rows.map((after) => ({ before: null, after }))

/** Hands on what an answer says so far; a step that goes on (a long one says so every few seconds) takes none of it back. */
function tellingText(progress: (value: { note: string; text: string }) => void): (event: EngineProgress) => void {
  let text = ''
  return (event) => {
    if (event.kind === 'text' || event.kind === 'caption') text = event.text
    else if (event.kind !== 'step') return
    progress({ note: event.kind === 'step' ? event.note : '', text })
  }
}
