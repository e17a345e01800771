/**
 * The services in memory, for looking at the window without a server and for tests of the stores: scenes like the demo
 * model's, revisions with reverse diffs, a model that is right most of the time and takes a little while.
 */

import type {
  Annotation,
  BboxXywh,
  Category,
  ImageRecord,
  ImageSummary,
  Message,
  Project,
  RecordsDiff,
  Revision,
} from '../../db/records/records.ts'
import type { Client, EngineState, EventName, EventPayload, Settings } from '../../electron/contract/api.ts'
import { AppError } from '../../electron/contract/errors.ts'
import { makeScene, type Scene, sceneUrl } from './scenes.ts'

export interface FakeOptions {
  /** Images in the folder. */
  readonly images?: number
  /** Objects on an image; 0 = as many as the scene has. */
  readonly boxes?: number
  /** Milliseconds that the model takes for a step. */
  readonly stepMs?: number
  /** Start on the welcome page. */
  readonly closed?: boolean
  /** Give the first images the states of a day's work. */
  readonly worked?: boolean
}

const HASH = 'a'.repeat(64)
const COLOURS = ['#e0a458', '#5aa9e6', '#2fb98a', '#c792ea', '#e4683f', '#7fb069', '#f0b429', '#8d99ae']
const empty = (): RecordsDiff => ({ categories: [], annotations: [], images: [], messages: [] })
const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

/** A client over nothing but memory. */
export function createFakeClient(options: FakeOptions = {}): Client {
  const { images: imageCount = 12, boxes = 0, stepMs = 120, closed = false, worked = true } = options
  const listeners = new Map<EventName, Set<(payload: never) => void>>()
  const scenes = new Map<number, Scene>()
  const images = new Map<number, ImageRecord>()
  const annotations = new Map<number, Annotation>()
  const categories = new Map<number, Category>()
  const messages = new Map<number, Message>()
  const history: Revision[] = []
  let opened = !closed
  let nextId = 1
  let settings: Settings = { theme: 'system', language: 'en', proposeAhead: 3, model: 'demo' }
  let engine: EngineState = {
    status: 'ready',
    modelName: 'Demo model',
    modelHash: HASH,
    provider: 'CPU',
    secondsPerImage: 0.3,
    note: 'Ready.',
    progress: null,
  }

  const emit = <K extends EventName>(name: K, payload: EventPayload<K>) => {
    for (const listener of listeners.get(name) ?? []) (listener as (payload: EventPayload<K>) => void)(payload)
  }
  const undone = () => new Set(history.filter((r) => r.undoes !== null && !redone(r)).map((r) => r.undoes))
  const redone = (revision: Revision) => history.some((r) => r.redoes === revision.seq)
  const undoable = () => {
    const gone = undone()
    return history
      .filter((r) => r.actor === 'human' && r.undoes === null && r.redoes === null && !gone.has(r.seq))
      .at(-1)
  }
  const redoable = () => {
    const last = history.filter((r) => r.actor === 'human').at(-1)
    return last !== undefined && last.undoes !== null ? last : undefined
  }
  const project = (): Project => {
    const done = [...images.values()].filter((image) => image.done).length
    return {
      path: '/home/ada/photos/street-shapes.gromatic',
      name: 'street-shapes',
      imagesDir: '/home/ada/photos/street-shapes',
      readOnly: false,
      warning: null,
      imageCount: images.size,
      doneCount: done,
      decidedCount: [...annotations.values()].filter((a) => a.status !== 'proposed').length,
      skippedCount: 2,
      headSeq: history.at(-1)?.seq ?? 0,
      undoLabel: undoable()?.label ?? null,
      redoLabel: history.find((r) => r.seq === redoable()?.undoes)?.label ?? null,
    }
  }
  const apply = (diff: RecordsDiff) => {
    for (const name of ['categories', 'annotations', 'images', 'messages'] as const) {
      const table = { categories, annotations, images, messages }[name] as Map<number, unknown>
      for (const { before, after } of diff[name]) {
        if (after !== null) table.set(after.id, after)
        else if (before !== null) table.delete(before.id)
      }
    }
  }
  const commit = (label: string, diff: RecordsDiff, extra: Partial<Revision> = {}): Revision => {
    apply(diff)
    const seq = history.length + 1
    const revision: Revision = {
      seq,
      actor: 'human',
      label,
      undoes: null,
      redoes: null,
      createdAt: Date.now(),
      diff,
      ...extra,
    }
    history.push(revision)
    emit('workspace.revised', { revision, project: project() })
    return revision
  }
  const summary = (image: ImageRecord): ImageSummary => {
    const counts = { proposed: 0, accepted: 0, edited: 0, rejected: 0 }
    for (const annotation of annotations.values()) if (annotation.imageId === image.id) counts[annotation.status]++
    return { ...image, counts }
  }
  const category = (name: string, diff: RecordsDiff): number => {
    const known =
      [...categories.values()].find((c) => c.name === name) ??
      diff.categories.find((c) => c.after?.name === name)?.after
    if (known) return known.id
    const made = { id: nextId++, name, color: COLOURS[categories.size % COLOURS.length]! }
    diff.categories.push({ before: null, after: made })
    categories.set(made.id, made)
    return made.id
  }
  const blank = (imageId: number, bboxXywh: BboxXywh): Annotation => ({
    id: nextId++,
    imageId,
    categoryId: null,
    bboxXywh,
    caption: null,
    provenance: 'human',
    status: 'accepted',
    modelBboxXywh: null,
    modelCaption: null,
    modelScore: null,
    modelHash: null,
    decidedAt: null,
    decisionMs: null,
  })
  const rowsOf = (imageId: number) => [...annotations.values()].filter((a) => a.imageId === imageId)
  const decide = (rows: Annotation[], status: Annotation['status'], label: string, ms: number | null) => {
    const diff = empty()
    for (const before of rows)
      diff.annotations.push({ before, after: { ...before, status, decidedAt: Date.now(), decisionMs: ms } })
    return commit(label, diff)
  }
  const propose = (imageId: number): Revision => {
    const diff = empty()
    for (const before of rowsOf(imageId))
      if (before.status === 'proposed') diff.annotations.push({ before, after: null })
    for (const object of scenes.get(imageId)?.objects ?? []) {
      const after = {
        ...blank(imageId, object.bboxXywh),
        provenance: 'model',
        status: 'proposed',
        modelBboxXywh: object.bboxXywh,
        modelScore: object.score,
        modelHash: HASH,
        // a crowd would take minutes to caption one by one
        ...(boxes > 0 ? { caption: object.caption, categoryId: category(object.shape, diff) } : {}),
      } as Annotation
      diff.annotations.push({ before: null, after })
    }
    const image = images.get(imageId)!
    diff.images.push({ before: image, after: { ...image, proposedAt: Date.now() } })
    return commit('Propose', diff, { actor: 'model' })
  }
  const caption = (before: Annotation): Revision => {
    const object = scenes
      .get(before.imageId)
      ?.objects.find((o) => o.bboxXywh.every((v, i) => Math.abs(v - before.bboxXywh[i]!) < 40))
    const words = object?.caption ?? 'a small thing'
    const diff = empty()
    const categoryId = before.categoryId ?? category(words.split(' ').at(-1)!, diff)
    diff.annotations.push({ before, after: { ...before, caption: words, categoryId, modelCaption: words } })
    return commit(`Caption ${words}`, diff, { actor: 'model' })
  }

  for (let i = 0; i < imageCount; i++) {
    const id = nextId++
    const scene = makeScene(i, boxes)
    scenes.set(id, scene)
    images.set(id, {
      id,
      fileName: `scene${String(i).padStart(3, '0')}.jpg`,
      width: scene.width,
      height: scene.height,
      fileBytes: 84_213 + i * 977,
      contentSha256: HASH,
      status: i === 11 && worked ? 'missing' : 'ready',
      done: false,
      proposedAt: null,
    })
  }
  const ids = [...images.keys()]
  if (worked) {
    for (const [i, id] of ids.slice(0, boxes > 0 ? 1 : 7).entries()) {
      propose(id)
      if (boxes === 0) for (const row of rowsOf(id)) caption(row)
      const rows = rowsOf(id)
      if (i < 3 && boxes === 0) {
        if (i === 2) decide(rows.slice(0, 1), 'rejected', 'Reject', 900)
        decide(
          rowsOf(id).filter((r) => r.status === 'proposed'),
          'accepted',
          `Accept ${rows.length}`,
          1200,
        )
        const image = images.get(id)!
        commit('Done', { ...empty(), images: [{ before: image, after: { ...image, done: true } }] })
      }
      if (i === 3) {
        decide(rows.slice(0, 1), 'accepted', 'Accept circle', 800)
        decide(rows.slice(1, 2), 'edited', 'Move box', 2400)
        decide(rows.slice(2, 3), 'accepted', `Accept ${rows[2]?.caption?.split(' ').at(-1) ?? 'box'}`, 700)
      }
    }
  }

  const handlers: Record<string, (input: never) => unknown> = {
    'app.info': () => ({
      version: '0.1.0',
      served: true,
      samplesDir: '/opt/gromatic/samples',
      homeDir: '/home/ada',
      projectsDir: '/home/ada/Gromatic',
    }),
    'settings.get': () => settings,
    'settings.set': (input: Partial<Settings>) => {
      settings = { ...settings, ...input }
      emit('settings.changed', settings)
      return settings
    },
    'files.list': ({ path }: { path: string }) => ({
      path,
      parent: path === '/' ? null : path.replace(/\/[^/]+$/, '') || '/',
      entries: [
        { name: 'photos', path: `${path}/photos`, kind: 'directory' },
        { name: 'street-shapes.gromatic', path: `${path}/street-shapes.gromatic`, kind: 'project' },
        { name: 'IMG_0001.jpg', path: `${path}/IMG_0001.jpg`, kind: 'image' },
      ],
    }),
    'project.current': () => (opened ? project() : null),
    'project.recent': () => [{ path: project().path, name: 'street-shapes', openedAt: Date.now() - 86_400_000 }],
    'project.open': () => open(),
    'project.openFolder': () => open(),
    'project.close': () => {
      opened = false
      emit('project.changed', null)
      return {}
    },
    'images.list': ({ offset = 0, limit = 500 }: { offset?: number; limit?: number }) => ({
      total: images.size,
      items: [...images.values()].slice(offset, offset + limit).map(summary),
    }),
    'images.get': ({ id }: { id: number }) => summary(images.get(id)!),
    'images.skipped': () => [
      { fileName: 'notes.txt', reason: 'Not an image.' },
      { fileName: 'broken.jpg', reason: 'The file ends in the middle of the picture.' },
    ],
    'images.setDone': ({ id, done }: { id: number; done: boolean }) => {
      const before = images.get(id)!
      return commit(done ? 'Done' : 'Not done', { ...empty(), images: [{ before, after: { ...before, done } }] })
    },
    'categories.list': () => [...categories.values()],
    'categories.create': ({ name }: { name: string }) => {
      const diff = empty()
      const id = category(name, diff)
      return {
        revision: diff.categories.length > 0 ? commit(`Add class ${name}`, diff) : null,
        category: categories.get(id),
      }
    },
    'categories.rename': ({ id, name }: { id: number; name: string }) => {
      const before = categories.get(id)!
      return commit(`Rename ${before.name}`, { ...empty(), categories: [{ before, after: { ...before, name } }] })
    },
    'categories.setColor': ({ id, color }: { id: number; color: string }) => {
      const before = categories.get(id)!
      return commit(`Recolour ${before.name}`, { ...empty(), categories: [{ before, after: { ...before, color } }] })
    },
    'annotations.list': ({ imageId }: { imageId: number }) => rowsOf(imageId),
    'annotations.decide': (input: {
      ids: number[]
      decision: 'accept' | 'reject' | 'reset'
      elapsedMs: number | null
    }) => {
      const status = { accept: 'accepted', reject: 'rejected', reset: 'proposed' } as const
      const rows = input.ids.map((id) => annotations.get(id)!)
      const name = categories.get(rows[0]?.categoryId ?? 0)?.name ?? 'region'
      const verb = { accept: 'Accept', reject: 'Reject', reset: 'Reset' }[input.decision]
      return decide(rows, status[input.decision], `${verb} ${name}`, input.elapsedMs)
    },
    'annotations.acceptAbove': ({ imageId, minScore }: { imageId: number; minScore: number }) => {
      const rows = rowsOf(imageId).filter((a) => a.status === 'proposed' && (a.modelScore ?? 1) >= minScore)
      return decide(rows, 'accepted', `Accept ${rows.length}`, null)
    },
    'annotations.create': ({ imageId, bboxXywh }: { imageId: number; bboxXywh: BboxXywh }) => {
      const after = blank(imageId, bboxXywh)
      return { revision: commit('Draw box', { ...empty(), annotations: [{ before: null, after }] }), annotation: after }
    },
    'annotations.update': (
      input: Partial<Annotation> & { id: number; categoryName?: string; elapsedMs?: number | null },
    ) => {
      const { id, categoryName, elapsedMs: _look, ...change } = input
      const before = annotations.get(id)!
      const diff = empty()
      const made = categoryName === undefined ? {} : { categoryId: category(categoryName, diff) }
      const status = before.provenance === 'human' ? before.status : 'edited'
      diff.annotations.push({ before, after: { ...before, ...change, ...made, status } })
      return commit(
        change.bboxXywh ? 'Move box' : change.caption !== undefined ? 'Change caption' : 'Change class',
        diff,
      )
    },
    'annotations.delete': (input: { ids: number[] }) =>
      commit('Delete', {
        ...empty(),
        annotations: input.ids.map((id) => ({ before: annotations.get(id)!, after: null })),
      }),
    'history.list': () => {
      const gone = undone()
      return [...history]
        .reverse()
        .slice(0, 100)
        .map(({ diff, ...revision }) => ({
          ...revision,
          undone: gone.has(revision.seq),
          imageId:
            diff.annotations[0]?.after?.imageId ??
            diff.annotations[0]?.before?.imageId ??
            diff.images[0]?.after?.id ??
            null,
        }))
    },
    'history.undo': () => {
      const target = undoable()
      if (target === undefined) return null
      return commit(`Undo ${target.label}`, reverse(target.diff), { undoes: target.seq })
    },
    'history.redo': () => {
      const target = redoable()
      if (target === undefined) return null
      return commit(`Redo`, reverse(target.diff), { redoes: target.seq })
    },
    'messages.list': ({ imageId }: { imageId: number }) => [...messages.values()].filter((m) => m.imageId === imageId),
    'messages.clear': ({ imageId }: { imageId: number }) =>
      commit('Clear the talk', {
        ...empty(),
        messages: [...messages.values()]
          .filter((m) => m.imageId === imageId)
          .map((before) => ({ before, after: null })),
      }),
    'models.list': () => [],
    'engine.state': () => engine,
    'engine.load': () => engine,
    'grounding.addAnswer': ({ messageId }: { messageId: number }) => {
      const message = messages.get(messageId)!
      const diff = empty()
      for (const span of message.spans)
        for (const box of span.boxes) {
          diff.annotations.push({
            before: null,
            after: {
              ...blank(message.imageId, box.bboxXywh),
              caption: span.text,
              status: 'proposed',
              provenance: 'model',
              modelScore: box.score,
              modelBboxXywh: box.bboxXywh,
            },
          })
        }
      return commit(`Add ${diff.annotations.length} from the answer`, diff)
    },
  }
  const reverse = (diff: RecordsDiff): RecordsDiff => {
    const swap = <T>(rows: { before: T | null; after: T | null }[]) =>
      rows.map(({ before, after }) => ({ before: after, after: before }))
    return {
      categories: [],
      annotations: swap(diff.annotations),
      images: swap(diff.images),
      messages: swap(diff.messages),
    }
  }
  const open = () => {
    opened = true
    emit('project.changed', project())
    return project()
  }
  const engineIs = (status: EngineState['status']) => {
    engine = { ...engine, status }
    emit('engine.state', engine)
  }
  const talk = (imageId: number, role: Message['role'], text: string, spans: Message['spans']): Message => ({
    id: nextId++,
    imageId,
    role,
    text,
    spans,
    attachedBoxesXywh: [],
    regions: [],
    modelHash: role === 'user' ? null : HASH,
    malformed: false,
    stopReason: role === 'user' ? null : 'eos',
    createdAt: Date.now(),
  })

  async function answer(imageId: number, question: string, find: boolean, step: (text: string) => Promise<void>) {
    const objects = (scenes.get(imageId)?.objects ?? []).slice(0, 2)
    let text = find ? '' : 'There is '
    const spans: Message['spans'] = []
    for (const [i, object] of objects.entries()) {
      if (i > 0) text += find ? ', ' : ' next to '
      const start = [...text].length
      const words = find ? question : object.caption
      text += words
      spans.push({
        text: words,
        start,
        end: start + [...words].length,
        boxes: [{ region: i * 4 + 3, bboxXywh: object.bboxXywh, score: 0.93 }],
        unresolved: [],
      })
      await step(text)
    }
    text += find ? '' : '.'
    const asked = talk(imageId, 'user', question, [])
    const given = talk(imageId, 'assistant', text, spans)
    commit(
      'Ask',
      {
        ...empty(),
        messages: [
          { before: null, after: asked },
          { before: null, after: given },
        ],
      },
      { actor: 'model' },
    )
    return { question: asked, answer: given }
  }

  const jobs: Record<string, (input: never, tell: (progress: unknown) => void, check: () => void) => Promise<unknown>> =
    {
      'grounding.propose': async ({ imageId }: { imageId: number }, tell: (p: unknown) => void, check) => {
        tell({ kind: 'step', note: 'Looking for regions' })
        await wait(stepMs * 2)
        check()
        tell({ kind: 'proposed', revision: propose(imageId) })
        const rows = rowsOf(imageId).filter((a) => a.status === 'proposed')
        for (const [i, row] of rows.entries()) {
          await wait(stepMs)
          check()
          tell({ kind: 'captioned', revision: caption(annotations.get(row.id)!), done: i + 1, total: rows.length })
        }
        return { proposed: rows.length }
      },
      'grounding.ask': async (
        { imageId, question }: { imageId: number; question: string },
        tell: (p: unknown) => void,
        check,
      ) =>
        answer(imageId, question, false, async (text) => {
          tell({ note: '', text })
          await wait(stepMs * 2)
          check()
        }),
      'grounding.locate': async ({ imageId, phrase }: { imageId: number; phrase: string }) => {
        await wait(stepMs * 2)
        return { ...(await answer(imageId, phrase, true, async () => {})), revision: null }
      },
      'grounding.caption': async ({ annotationIds }: { annotationIds: number[] }) => {
        await wait(stepMs)
        return annotationIds.map((id) => caption(annotations.get(id)!))
      },
      'project.scan': async () => ({ added: 0, unchanged: images.size, missing: 1, skipped: [] }),
      'transfer.export': async ({ path }: { path: string }, tell: (p: unknown) => void) => {
        for (let done = 0; done <= 12; done += 3) {
          tell({ done, total: 12, note: 'Writing images' })
          await wait(stepMs)
        }
        return {
          path: `${path}/annotations/instances_default.json`,
          images: 12,
          annotations: 21,
          categories: 6,
          rejectedPath: `${path}/rejected.jsonl`,
          captionsPath: null,
          notes: ['9 undecided proposals were left out.'],
        }
      },
    }

  return {
    async call(name: string, input: unknown) {
      await Promise.resolve()
      const handler = handlers[name]
      if (handler === undefined) throw new AppError('UNSUPPORTED', `The fake client cannot ${name}.`)
      return handler(input as never) as never
    },
    async run(
      name: string,
      input: unknown,
      { onProgress, signal }: { onProgress?: (p: never) => void; signal?: AbortSignal } = {},
    ) {
      const check = () => {
        if (signal?.aborted) throw new AppError('CANCELLED', 'Cancelled.')
      }
      engineIs('busy')
      try {
        return (await jobs[name]!(input as never, (progress) => onProgress?.(progress as never), check)) as never
      } finally {
        engineIs('ready')
      }
    },
    on(event: EventName, listener: (payload: never) => void) {
      const set = listeners.get(event) ?? new Set()
      listeners.set(event, set.add(listener))
      return () => set.delete(listener)
    },
    imageUrl: (imageId: number) => sceneUrl(scenes.get(imageId) ?? makeScene(0, 0)),
    onConnection(listener: (connected: boolean) => void) {
      listener(true)
      return () => {}
    },
  } as unknown as Client
}
