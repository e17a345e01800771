/**
 * The services in memory, for looking at the window without a server and for tests of the stores: scenes like the demo
 * model's over made-up records, and a made-up model.
 */
import type { Annotation, BboxXywh } from '../../db/records/records.ts'
import type { Client, EngineState, EventName, EventPayload, Settings } from '../../electron/contract/api.ts'
import { AppError } from '../../electron/contract/errors.ts'
import { createFakeModel, type FakeJob, HASH } from './fakeModel.ts'
import { createFakeRecords, empty } from './fakeRecords.ts'
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

const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

/** A client over nothing but memory. */
export function createFakeClient(options: FakeOptions = {}): Client {
  const { images: imageCount = 12, boxes = 0, stepMs = 120, closed = false, worked = true } = options
  const listeners = new Map<EventName, Set<(payload: never) => void>>()
  const scenes = new Map<number, Scene>()
  const emit = <K extends EventName>(name: K, payload: EventPayload<K>) => {
    for (const listener of listeners.get(name) ?? []) (listener as (payload: EventPayload<K>) => void)(payload)
  }
  const records = createFakeRecords((told) => emit('workspace.revised', told))
  const { images, annotations, categories, messages, project, commit, summary, category, blank, rowsOf, decide } =
    records
  const model = createFakeModel(records, scenes, { boxes, stepMs })
  let opened = !closed
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

  for (let i = 0; i < imageCount; i++) {
    const id = records.newId()
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
      model.propose(id)
      if (boxes === 0) for (const row of rowsOf(id)) model.caption(row)
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
    'history.list': records.historyList,
    'history.undo': () => records.turn('undo'),
    'history.redo': () => records.turn('redo'),
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
    'grounding.addAnswer': model.addAnswer,
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
  const jobs: Record<string, FakeJob> = {
    ...model.jobs,
    'history.turn': async ({ direction }: { direction: 'undo' | 'redo' }) => records.turn(direction),
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
