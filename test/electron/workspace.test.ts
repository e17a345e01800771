/** Projects, regions and history through the contract's client, over real SQLite and real pictures. */
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import sharp from 'sharp'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { Annotation, Project, Revision } from '../../db/records/records.ts'
import { api, type Client } from '../../electron/contract/api.ts'
import { type Bench, codeOf, makeBench, messageOf, openWhole, writePicture } from './support.ts'

let bench: Bench
let client: Client
beforeEach(async () => {
  bench = await makeBench()
  client = bench.services.client
})
afterEach(() => bench.close())

const openFolder = () => openWhole(client, bench.images)
const imageIdOf = async (fileName: string) => {
  const { items } = await client.call('images.list', { filter: fileName })
  return items[0]!.id
}
const draw = async (imageId: number, bboxXywh: [number, number, number, number]): Promise<Annotation> =>
  (await client.call('annotations.create', { imageId, bboxXywh })).annotation
const get = async (imageId: number, id: number) =>
  (await client.call('annotations.list', { imageId })).find((row) => row.id === id)

describe('projects', () => {
  it('opens a folder: images upright and sorted, broken files listed, the project kept beside them', async () => {
    const told: (Project | null)[] = []
    client.on('project.changed', (project) => told.push(project))
    const project = await openFolder()
    expect(project).toMatchObject({
      name: 'pictures',
      imagesDir: bench.images,
      imageCount: 3,
      skippedCount: 1,
      readOnly: false,
    })
    expect(existsSync(join(bench.images, 'pictures.gromatic'))).toBe(true)
    const { total, items } = await client.call('images.list', {})
    expect(total).toBe(3)
    expect(items.map(({ fileName, width, height }) => [fileName, width, height])).toEqual([
      ['one.png', 200, 100],
      ['turned.jpg', 60, 90],
      ['two.png', 120, 160],
    ])
    expect(await client.call('images.skipped', {})).toEqual([
      { fileName: 'broken.jpg', reason: expect.stringContaining('unsupported') },
    ])
    expect(told.at(-1)).toMatchObject({ imageCount: 3 })
    expect((await client.call('project.recent', {}))[0]).toMatchObject({ name: 'pictures' })
    await client.call('project.close', {})
    expect(await client.call('project.current', {})).toBeNull()
    expect(await codeOf(client.call('images.list', {}))).toBe('NO_PROJECT')
    expect((await openFolder()).imageCount).toBe(3)
  })

  it('lists a picture that ends too soon as broken', async () => {
    await writePicture(join(bench.images, 'cut.jpg'), 400, 300)
    const whole = readFileSync(join(bench.images, 'cut.jpg'))
    writeFileSync(join(bench.images, 'cut.jpg'), whole.subarray(0, whole.length / 2))
    await openFolder()
    expect((await client.call('images.skipped', {})).map(({ fileName }) => fileName)).toEqual(['broken.jpg', 'cut.jpg'])
  })

  it('keeps the project elsewhere when the folder cannot be written', async () => {
    if (process.getuid?.() === 0) return // root may write anywhere
    chmodSync(bench.images, 0o555)
    const project = await openFolder()
    chmodSync(bench.images, 0o755)
    expect(project.path.startsWith(join(bench.root, 'home', 'projects'))).toBe(true)
  })

  it('says in a sentence what is wrong with a folder or a file, and keeps what is open', async () => {
    await openFolder()
    const empty = join(bench.root, 'empty')
    mkdirSync(empty)
    const onlyBroken = join(bench.root, 'only-broken')
    mkdirSync(onlyBroken)
    writeFileSync(join(onlyBroken, 'a.png'), 'x')
    expect(await codeOf(client.call('project.openFolder', { path: join(bench.root, 'nowhere') }))).toBe('NOT_FOUND')
    expect(await codeOf(client.call('project.openFolder', { path: empty }))).toBe('NO_IMAGES')
    expect(await messageOf(client.call('project.openFolder', { path: onlyBroken }))).toMatch(
      /no readable image.*a\.png/,
    )
    expect(existsSync(join(empty, 'empty.gromatic'))).toBe(false)
    expect(await codeOf(client.call('project.open', { path: join(bench.root, 'none.gromatic') }))).toBe('NOT_FOUND')
    expect(await codeOf(client.call('project.open', { path: join(bench.images, 'one.png') }))).toBe('PROJECT_INVALID')
    const existing = join(bench.images, 'pictures.gromatic')
    expect(await codeOf(client.call('project.create', { path: existing, imagesDir: bench.images }))).toBe(
      'ALREADY_EXISTS',
    )
    expect(await codeOf(client.call('project.create', { path: join(bench.root, 'x'), imagesDir: empty }))).toBe(
      'NO_IMAGES',
    )
    expect((await client.call('project.current', {}))?.name).toBe('pictures')
    const made = await client.call('project.create', { path: join(bench.root, 'mine'), imagesDir: bench.images })
    expect(made.path).toBe(join(bench.root, 'mine.gromatic'))
  })

  it('walks the folder again: new, gone, back', async () => {
    await openFolder()
    await writePicture(join(bench.images, 'new.png'), 50, 50)
    rmSync(join(bench.images, 'two.png'))
    const progress: string[] = []
    const report = await client.run('project.scan', {}, { onProgress: ({ note }) => progress.push(note) })
    expect(report).toMatchObject({ added: 1, unchanged: 2, missing: 1 })
    expect(progress.length).toBeGreaterThan(0)
    const two = await client.call('images.get', { id: await imageIdOf('two.png') })
    expect(two.status).toBe('missing')
    expect(await codeOf(bench.services.picture(two.id, null))).toBe('NOT_FOUND')
  })

  it('notices by itself that a file it is asked for is another one, or gone', async () => {
    await openFolder()
    const [one, two] = [await imageIdOf('one.png'), await imageIdOf('two.png')]
    const before = await bench.services.picture(one, 50)
    await writePicture(join(bench.images, 'one.png'), 300, 400)
    const after = await bench.services.picture(one, 50)
    expect(after.etag).not.toBe(before.etag)
    expect((await sharp(after.path).metadata()).height).toBe(67) // of the new picture, before the walk has ended
    await vi.waitFor(async () =>
      expect(await client.call('images.get', { id: one })).toMatchObject({ width: 300, height: 400, status: 'ready' }),
    )
    await writePicture(join(bench.images, 'one.png'), 30, 40)
    await vi.waitFor(async () => expect(await client.call('images.get', { id: one })).toMatchObject({ width: 30 }))
    writeFileSync(join(bench.images, 'one.png'), 'half of a pict') // as a program that is writing it leaves it
    await vi.waitFor(async () =>
      expect(await client.call('images.get', { id: one })).toMatchObject({ status: 'missing' }),
    )
    await writePicture(join(bench.images, 'one.png'), 50, 40)
    await vi.waitFor(async () =>
      expect(await client.call('images.get', { id: one })).toMatchObject({ status: 'ready' }),
    )
    rmSync(join(bench.images, 'two.png'))
    await vi.waitFor(async () => {
      expect(await codeOf(bench.services.picture(two, null))).toBe('NOT_FOUND')
      expect((await client.call('images.get', { id: two })).status).toBe('missing')
    })
  })

  it('opens a project that is open elsewhere for reading only, and every write says so', async () => {
    const { path } = await openFolder()
    const other = await makeBench({ interactive: false })
    try {
      const project = await other.services.client.call('project.open', { path })
      expect(project).toMatchObject({ readOnly: true, warning: expect.stringContaining('another window') })
      expect((await other.services.client.call('images.list', {})).total).toBe(3)
      const written = other.services.client.call('annotations.create', { imageId: 1, bboxXywh: [1, 1, 5, 5] })
      expect(await codeOf(written)).toBe('READ_ONLY')
    } finally {
      await other.close()
    }
  })
})

describe('regions', () => {
  let imageId: number
  let revisions: { revision: Revision; project: Project }[]
  beforeEach(async () => {
    await openFolder()
    imageId = await imageIdOf('one.png')
    revisions = []
    client.on('workspace.revised', (event) => revisions.push(event))
  })

  it('draws, moves, relabels, captions, deletes, and takes all of it back', async () => {
    const box = await draw(imageId, [10, 10, 50, 40])
    expect(box).toMatchObject({ provenance: 'human', status: 'accepted', modelBboxXywh: null, categoryId: null })
    await client.call('annotations.update', { id: box.id, bboxXywh: [12, 10, 50, 40], elapsedMs: 1200 })
    await client.call('annotations.update', { id: box.id, categoryName: 'cup' })
    await client.call('annotations.update', { id: box.id, caption: '  a cup  ' })
    const { items } = { items: await client.call('categories.list', {}) }
    expect(items.map(({ name }) => name)).toEqual(['cup'])
    expect(await get(imageId, box.id)).toMatchObject({
      bboxXywh: [12, 10, 50, 40],
      categoryId: items[0]!.id,
      caption: 'a cup',
      status: 'accepted',
      decisionMs: 1200,
    })
    await client.call('annotations.delete', { ids: [box.id] })
    expect(revisions.map(({ revision }) => revision.label)).toEqual([
      'Draw box',
      'Move box',
      'Relabel region as cup',
      'Caption cup',
      'Delete cup',
    ])
    expect(revisions.at(-1)?.project.undoLabel).toBe('Delete cup')
    for (let i = 0; i < 5; i++) expect(await client.call('history.undo', {})).not.toBeNull()
    expect(await client.call('history.undo', {})).toBeNull()
    expect(await client.call('annotations.list', { imageId })).toEqual([])
    for (let i = 0; i < 4; i++) await client.call('history.redo', {})
    expect(await get(imageId, box.id)).toMatchObject({ caption: 'a cup' })
    const history = await client.call('history.list', { limit: 3 })
    expect(history[0]).toMatchObject({ undone: false, imageId })
  })

  it('keeps boxes inside the image and refuses those outside', async () => {
    expect((await draw(imageId, [-10, -10, 30, 30])).bboxXywh).toEqual([0, 0, 20, 20])
    expect((await draw(imageId, [190, 90, 50, 50])).bboxXywh).toEqual([190, 90, 10, 10])
    for (const bad of [
      [300, 10, 5, 5],
      [0, 0, 0.5, 50],
      [1, 1, 0, 5],
      [1, 1, -5, 5],
      [Number.NaN, 1, 5, 5],
      [1, 2, 3],
    ]) {
      expect(await codeOf(draw(imageId, bad as [number, number, number, number]))).toBe('INVALID_INPUT')
    }
    expect(await codeOf(draw(999, [1, 1, 5, 5]))).toBe('NOT_FOUND')
    const withClass = client.call('annotations.create', { imageId, bboxXywh: [1, 1, 5, 5], categoryId: 77 })
    expect(await codeOf(withClass)).toBe('NOT_FOUND')
  })

  it('refuses ids that are not there as a whole', async () => {
    const box = await draw(imageId, [10, 10, 50, 40])
    expect(await codeOf(client.call('annotations.decide', { ids: [box.id, 999], decision: 'reject' }))).toBe(
      'NOT_FOUND',
    )
    expect((await get(imageId, box.id))?.status).toBe('accepted')
    expect(await codeOf(client.call('annotations.delete', { ids: [999] }))).toBe('NOT_FOUND')
    expect(await codeOf(client.call('annotations.update', { id: 999, caption: 'x' }))).toBe('NOT_FOUND')
    expect(await codeOf(client.call('annotations.decide', { ids: [], decision: 'accept' }))).toBe('INVALID_INPUT')
    expect(await codeOf(client.call('annotations.acceptAbove', { imageId, minScore: 0.5 }))).toBe('INVALID_INPUT')
    await client.call('annotations.delete', { ids: [box.id] })
    expect(await codeOf(client.call('annotations.decide', { ids: [box.id], decision: 'accept' }))).toBe('NOT_FOUND')
  })

  it('handles classes: found by name whatever the case, renamed, recoloured, deleted with their regions kept', async () => {
    const cup = await client.call('categories.create', { name: 'Cup' })
    expect(cup.revision?.label).toBe('New class Cup')
    const again = await client.call('categories.create', { name: ' cup ' })
    expect(again).toEqual({ revision: null, category: cup.category })
    const { category: plate } = await client.call('categories.create', { name: 'plate' })
    expect(plate.color).not.toBe(cup.category.color)
    expect(await codeOf(client.call('categories.rename', { id: plate.id, name: 'CUP' }))).toBe('ALREADY_EXISTS')
    await client.call('categories.rename', { id: plate.id, name: 'dish' })
    await client.call('categories.setColor', { id: plate.id, color: '#123456' })
    const box = await draw(imageId, [10, 10, 50, 40])
    await client.call('annotations.update', { id: box.id, categoryName: 'CUP' })
    expect((await get(imageId, box.id))?.categoryId).toBe(cup.category.id)
    await client.call('categories.delete', { id: cup.category.id, moveTo: plate.id })
    expect((await get(imageId, box.id))?.categoryId).toBe(plate.id)
    await client.call('categories.delete', { id: plate.id })
    expect((await get(imageId, box.id))?.categoryId).toBeNull()
    await client.call('history.undo', {})
    expect(await client.call('categories.list', {})).toEqual([{ id: plate.id, name: 'dish', color: '#123456' }])
    expect(await codeOf(client.call('categories.delete', { id: 99 }))).toBe('NOT_FOUND')
  })

  it('records an edit that changes nothing without making it a step of undo', async () => {
    const box = await draw(imageId, [10, 10, 50, 40])
    await client.call('annotations.update', { id: box.id, bboxXywh: [10, 10, 50, 40] })
    expect((await client.call('project.current', {}))?.undoLabel).toBe('Draw box')
  })

  it('marks an image done and not done', async () => {
    await client.call('images.setDone', { id: imageId, done: true })
    expect((await client.call('project.current', {}))?.doneCount).toBe(1)
    await client.call('history.undo', {})
    expect((await client.call('images.get', { id: imageId })).done).toBe(false)
  })
})

describe('every call', () => {
  it('parses its input and refuses what does not fit', async () => {
    await openFolder()
    for (const name of Object.keys(api) as (keyof typeof api)[]) {
      const act = (input: unknown) =>
        api[name].kind === 'job'
          ? client.run(name as 'project.scan', input as never)
          : client.call(name as 'app.info', input as never)
      if (api[name].input.safeParse({ id: -1, path: 5 }).success) continue
      expect(await codeOf(act({ id: -1, path: 5 })), name).toBe('INVALID_INPUT')
      expect(await codeOf(act('text')), name).toBe('INVALID_INPUT')
      expect(await codeOf(act([])), name).toBe('INVALID_INPUT')
    }
    expect(await codeOf(client.call('no.such' as 'app.info', {}))).toBe('INVALID_INPUT')
    expect(await codeOf(client.call('__proto__' as 'app.info', {}))).toBe('INVALID_INPUT')
    expect(await codeOf(client.call('constructor' as 'app.info', {}))).toBe('INVALID_INPUT')
    expect(await codeOf(client.call('project.scan' as 'app.info', {}))).toBe('INVALID_INPUT')
    expect(await messageOf(client.call('images.get', { id: 0 }))).toMatch(/^images\.get: id: /)
  })

  it('answers what the contract says', async () => {
    await openFolder()
    const box = await draw(1, [1, 1, 20, 20])
    const inputs: Partial<Record<keyof typeof api, unknown>> = {
      'app.info': {},
      'settings.get': {},
      'settings.set': { theme: 'dark' },
      'files.list': { path: bench.images },
      'project.current': {},
      'project.recent': {},
      'images.list': {},
      'images.get': { id: 1 },
      'images.skipped': {},
      'categories.list': {},
      'annotations.list': { imageId: 1 },
      'annotations.decide': { ids: [box.id], decision: 'reject' },
      'history.list': {},
      'history.undo': {},
      'history.redo': {},
      'messages.list': { imageId: 1 },
      'models.list': {},
      'engine.state': {},
    }
    for (const [name, input] of Object.entries(inputs)) {
      const output = await client.call(name as 'app.info', input as never)
      api[name as keyof typeof api].output.parse(output)
      expect(JSON.parse(JSON.stringify(output)), name).toEqual(output)
    }
  })
})

describe('settings and files', () => {
  it('keeps settings, tells changes, and reads a damaged file as defaults', async () => {
    const told: string[] = []
    client.on('settings.changed', ({ theme }) => told.push(theme))
    await client.call('settings.set', { theme: 'dark', language: 'zh' })
    expect(told).toEqual(['dark'])
    expect(await codeOf(client.call('settings.set', { theme: 'pink' as 'dark' }))).toBe('INVALID_INPUT')
    const stored = join(bench.root, 'home', 'settings.json')
    expect(JSON.parse(readFileSync(stored, 'utf8'))).toMatchObject({ theme: 'dark', language: 'zh', model: 'scripted' })
    writeFileSync(stored, '{"theme":"pink","language":"zh"}')
    const next = await makeBench()
    writeFileSync(join(next.root, 'home', 'settings.json'), '{')
    await next.close()
  })

  it('lists folders: folders first, projects and images named, hidden files not', async () => {
    await openFolder()
    writeFileSync(join(bench.images, '.hidden'), '')
    mkdirSync(join(bench.images, 'zz'))
    const { path, parent, entries } = await client.call('files.list', { path: bench.images })
    expect(path).toBe(bench.images)
    expect(parent).toBe(bench.root)
    expect(entries.map(({ name, kind }) => `${kind} ${name}`).filter((line) => !line.includes('gromatic-'))).toEqual([
      'directory zz',
      'project pictures.gromatic',
      'image broken.jpg',
      'image one.png',
      'image turned.jpg',
      'image two.png',
    ])
    expect(await codeOf(client.call('files.list', { path: join(bench.root, 'nowhere') }))).toBe('NOT_FOUND')
    expect(await codeOf(client.call('files.list', { path: 'relative' }))).toBe('INVALID_INPUT')
    expect((await client.call('files.list', { path: '' })).entries).toBeInstanceOf(Array)
  })
})
