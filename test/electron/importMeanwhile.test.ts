/** What others do to a project while an import is read and written: nothing of theirs is lost, and nothing of the import goes wrong. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { diffOf } from '../../db/records/diff.ts'
import type { Annotation } from '../../db/records/records.ts'
import type { Client, ProgressOf } from '../../electron/contract/api.ts'
import { childProcessStarter } from '../../electron/engine/childProcessStarter.ts'
import { EngineHost } from '../../electron/engine/engineHost.ts'
import { EngineWorkers } from '../../electron/services/engineWorkers.ts'
import { EventHub } from '../../electron/services/eventHub.ts'
import { Grounding } from '../../electron/services/grounding.ts'
import { ProjectSession } from '../../electron/services/projectSession.ts'
import { RecentProjects } from '../../electron/services/recentProjects.ts'
import { type Bench, codeOf, makeBench, messageOf, openWhole, scriptedEntry, writePicture } from './support.ts'

let bench: Bench
let client: Client
let one: number
beforeEach(async () => {
  bench = await makeBench()
  client = bench.services.client
  await openWhole(client, bench.images)
  one = (await client.call('images.list', { filter: 'one' })).items[0]!.id
})
afterEach(() => bench.close())

const ROWS = 20_000

/** A file whose reading and whose writing take many turns of the event loop. */
function largeFile(name: string, className: string): string {
  const path = join(bench.root, name)
  const annotations = Array.from({ length: ROWS }, (_, index) => ({
    id: index + 1,
    image_id: 1,
    category_id: 1,
    bbox: [1, 2, 3, 4],
  }))
  const images = [{ id: 1, file_name: 'one.png', width: 200, height: 100 }]
  writeFileSync(path, JSON.stringify({ categories: [{ id: 1, name: className }], images, annotations }))
  return path
}

/** Imports the file and does something as soon as the import is at that stage. */
async function during<T>(stage: string, path: string, action: () => Promise<T>): Promise<T> {
  let doing: Promise<T> | null = null
  const onProgress = ({ note }: ProgressOf<'transfer.import'>) => {
    if (note.startsWith(stage)) doing ??= action()
  }
  await client.run('transfer.import', { path }, { onProgress })
  if (doing === null) throw new Error(`the import was never ${stage}`)
  return doing
}

const boxes = () => client.call('annotations.list', { imageId: one })

it('a class that is made while the file is read is the one that its boxes get', async () => {
  const path = largeFile('cups.json', 'cup')
  const { category } = await during('Reading', path, () => client.call('categories.create', { name: 'cup' }))
  expect(await client.call('categories.list', {})).toEqual([category])
  expect((await boxes()).map(({ categoryId }) => categoryId)).toEqual(Array(ROWS).fill(category.id))
})

it('a class that is deleted while the file is read is made anew', async () => {
  const path = largeFile('cups.json', 'cup')
  const { category } = await client.call('categories.create', { name: 'cup' })
  await during('Reading', path, () => client.call('categories.delete', { id: category.id }))
  const [made, ...others] = await client.call('categories.list', {})
  expect([made?.name, others]).toEqual(['cup', []])
  expect(new Set((await boxes()).map(({ categoryId }) => categoryId))).toEqual(new Set([made?.id]))
})

it('a second import waits for the first, and is asked about the boxes of it', async () => {
  const path = largeFile('cups.json', 'cup')
  const other = largeFile('mugs.json', 'mug')
  const second = await during('Reading', path, () => messageOf(client.run('transfer.import', { path: other })))
  expect(second).toContain('1 image has boxes already (one.png)')
  expect(await boxes()).toHaveLength(ROWS)
})

it('an import that waits for another can be stopped', async () => {
  const path = largeFile('cups.json', 'cup')
  const other = largeFile('mugs.json', 'mug')
  const stopped = await during('Reading', path, async () => {
    const stop = new AbortController()
    const waiting = codeOf(client.run('transfer.import', { path: other }, { signal: stop.signal }))
    stop.abort()
    return waiting
  })
  expect(stopped).toBe('CANCELLED')
  expect(await boxes()).toHaveLength(ROWS)
})

describe('what the model says', () => {
  /** Grounding over the open folder, with an import under way that ends when it is told to. */
  async function whileImporting() {
    const parts = { events: new EventHub(), recent: new RecentProjects(null), projectsDir: bench.root }
    await client.call('project.close', {})
    const session = new ProjectSession({ ...parts, scanOnOpen: false })
    await session.openFolder(bench.images)
    const host = new EngineHost({ starter: childProcessStarter({ entry: scriptedEntry }) })
    host.load({ name: 'scripted', modelDir: join(bench.root, 'home', 'models', 'scripted'), checkpointDir: null })
    const grounding = new Grounding(session, new EngineWorkers(host, () => host))
    const handlers = grounding.handlers()
    const context = { signal: new AbortController().signal, progress: () => {} }
    const { promise: gate, resolve: endImport } = Promise.withResolvers<void>()
    const store = session.store()
    const drawn = { imageId: one, bboxXywh: [1, 1, 20, 20], status: 'accepted', provenance: 'human', caption: null }
    const rest = { categoryId: null, decidedAt: null, decisionMs: null }
    const model = { modelBboxXywh: null, modelCaption: null, modelScore: null, modelHash: null }
    const [id = 0] = store.allocateIds('annotations')
    const box = { id, ...drawn, ...rest, ...model } as Annotation
    session.commit('human', 'Draw box', diffOf({ annotations: [{ before: null, after: box }] }))
    const importing = store.commitBulk({ actor: 'import', label: 'Import' }, () => gate).catch(() => null)
    const asked = [
      grounding.propose(one, { captions: true, priority: 'foreground', signal: context.signal }),
      handlers['grounding.ask']({ imageId: one, question: 'What?', boxesXywh: [], grounded: true }, context),
      handlers['grounding.locate']({ imageId: one, phrase: 'circle', all: true }, context),
      handlers['grounding.caption']({ annotationIds: [id], detail: 'brief' }, context),
    ]
    const answers = Promise.allSettled(asked)
    // an answer comes within a few milliseconds of the engine being ready
    await vi.waitFor(() => expect(host.state().status).toBe('ready'), 20_000)
    await new Promise((resolve) => setTimeout(resolve, 400))
    const end = async () => {
      endImport()
      await importing
      return answers
    }
    return { session, store, id, end, close: () => Promise.all([host.close(), session.close()]) }
  }

  it('while an import is written is stored when that ends', async () => {
    const { store, id, end, close } = await whileImporting()
    expect([store.annotations.list(one).length, store.messages.list(one).length]).toEqual([1, 0])
    expect((await end()).map(({ status }) => status)).toEqual(Array(4).fill('fulfilled'))
    expect(store.annotations.list(one).length).toBeGreaterThan(2)
    expect(store.messages.list(one)).toHaveLength(4)
    expect(store.annotations.get(id).caption).toBe('a large red circle')
    await close()
  })

  it('does not go into another project that was opened meanwhile', async () => {
    const { session, end, close } = await whileImporting()
    const other = join(bench.root, 'other')
    mkdirSync(other)
    await writePicture(join(other, 'one.png'), 200, 100)
    await session.openFolder(other)
    const outcomes = await end()
    expect(outcomes.map((outcome) => outcome.status === 'rejected' && outcome.reason.code)).toEqual(
      Array(4).fill('CANCELLED'),
    )
    expect(session.current()).toMatchObject({ headSeq: 0 })
    await close()
  })
})
