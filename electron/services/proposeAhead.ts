/**
 * Proposals for the next images, computed while a person looks at this one, and what a question about this one begins
 * with. Always behind what people ask for: the engine sets background work aside as soon as there is anything else.
 */
import type { EventPayload } from '../contract/api.ts'
import { toWireError } from '../contract/errors.ts'
import type { EngineHost } from '../engine/engineHost.ts'
import type { EventHub } from './eventHub.ts'
import type { Grounding } from './grounding.ts'
import type { ProjectSession } from './projectSession.ts'
import type { SettingsService } from './settings.ts'

type Activity = EventPayload<'grounding.activity'>['state']

/** A person who leafs through images is not followed at once. */
const SETTLE_MS = 250

export interface ProposeAheadParts {
  session: ProjectSession
  grounding: Grounding
  engine: EngineHost
  settings: SettingsService
  events: EventHub
}

export class ProposeAhead {
  readonly #parts: ProposeAheadParts
  #focus: number | null = null
  #running: { imageId: number; controller: AbortController; done: Promise<void> } | null = null
  #queued: number[] = []
  /** The image looked at, once it has proposals: a question about it may come next. */
  #here: number | null = null
  /** Whether a question about it would start at its own words; unsure once other images may have pushed it out. */
  #askable: 'yes' | 'unsure' | 'no' = 'no'
  /** Images that could not be done: not tried again until the project is opened anew. */
  readonly #failed = new Set<number>()
  #timer: NodeJS.Timeout | null = null

  constructor(parts: ProposeAheadParts) {
    this.#parts = parts
    parts.grounding.onPropose = (imageId) => this.#yieldTo(imageId)
    parts.session.onClosing(() => this.#reset())
    parts.events.on('settings.changed', () => this.#plan())
    parts.engine.onState(({ status }) => {
      // a process or a model that is new knows no image
      if (status === 'loading' || status === 'crashed') this.#askable = 'no'
      if (status === 'ready' && this.#running === null) this.#schedule()
    })
  }

  /** A person looks at this image now. */
  look(imageId: number): void {
    if (imageId !== this.#focus) this.#askable = 'no'
    this.#focus = imageId
    this.#schedule()
  }

  #schedule(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#plan(), SETTLE_MS)
    this.#timer.unref()
  }

  /** What is next: this image, then the few after it, and no further however long the person looks. */
  #plan(): void {
    const { session, settings, engine } = this.#parts
    this.#timer = null
    const project = session.current()
    const count = settings.get().proposeAhead
    const usable = project !== null && !project.readOnly && engine.state().status !== 'failed'
    let wanted: number[] = []
    this.#here = null
    if (usable && count > 0 && this.#focus !== null) {
      const { images } = session.store()
      const here = images.find(this.#focus)
      const thisOne = here !== null && here.status === 'ready' ? [here] : []
      if (here?.status === 'ready' && here.proposedAt !== null) this.#here = here.id
      const near = [...thisOne, ...images.readyAfter(this.#focus, count)]
      wanted = near.filter(({ proposedAt }) => proposedAt === null).map(({ id }) => id)
    }
    wanted = wanted.filter((id) => !this.#failed.has(id) && id !== this.#running?.imageId)
    for (const id of this.#queued) if (!wanted.includes(id) && id !== this.#running?.imageId) this.#tell(id, 'idle')
    for (const id of wanted) if (!this.#queued.includes(id)) this.#tell(id, 'queued')
    this.#queued = wanted
    if (this.#running === null) this.#next()
  }

  #next(): void {
    const due = this.#askable === 'no' || (this.#askable === 'unsure' && this.#queued.length === 0)
    const prepared = due ? this.#here : null
    const imageId = prepared ?? this.#queued.shift()
    if (imageId === undefined) return
    const controller = new AbortController()
    const { signal } = controller
    const work = prepared !== null ? this.#prepare(imageId, signal) : this.#compute(imageId, signal)
    const done = work.finally(() => {
      this.#running = null
      if (!controller.signal.aborted) this.#plan()
    })
    this.#running = { imageId, controller, done }
  }

  /** A question that comes all the same finds what is there, and does the rest itself. */
  async #prepare(imageId: number, signal: AbortSignal): Promise<void> {
    await this.#parts.grounding.prepare(imageId, signal).catch(() => {})
    if (imageId === this.#focus) this.#askable = 'yes'
  }

  async #compute(imageId: number, signal: AbortSignal): Promise<void> {
    this.#tell(imageId, 'computing')
    if (this.#askable === 'yes') this.#askable = 'unsure'
    try {
      await this.#parts.grounding.propose(imageId, { captions: true, priority: 'background', signal })
      this.#tell(imageId, 'idle')
    } catch (error) {
      const { code, message } = toWireError(error)
      if (code !== 'CANCELLED') this.#failed.add(imageId)
      this.#tell(imageId, 'idle', code === 'CANCELLED' ? '' : message)
    }
  }

  /** A person proposes this image: the background lets go of it first. */
  async #yieldTo(imageId: number): Promise<void> {
    this.#queued = this.#queued.filter((id) => id !== imageId)
    this.#failed.delete(imageId)
    if (this.#running?.imageId !== imageId) return
    const { controller, done } = this.#running
    controller.abort()
    await done
    this.#schedule()
  }

  #reset(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#focus = null
    this.#queued = []
    this.#failed.clear()
    this.#running?.controller.abort()
  }

  #tell(imageId: number, state: Activity, note = ''): void {
    this.#parts.events.emit('grounding.activity', { imageId, state, note })
  }
}
