/** In and out through the contract: what a wizard asks, and what comes back. */
import { createWriteStream, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import yazl from 'yazl'
import type { Client, Input } from '../../electron/contract/api.ts'
import { api } from '../../electron/contract/api.ts'
import { type Bench, codeOf, makeBench, messageOf, openWhole, writePicture } from './support.ts'

let bench: Bench
let client: Client
beforeEach(async () => {
  bench = await makeBench()
  client = bench.services.client
  await openWhole(client, bench.images)
})
afterEach(() => bench.close())

const at = (...parts: string[]) => join(bench.root, ...parts)

/** One box on one.png (200 x 100), one on a picture that the project may lack. */
function cocoFile(name: string, second = 'two.png', box: unknown = [5, 6, 7, 8]): string {
  const file = {
    images: [
      { id: 1, file_name: 'one.png', width: 200, height: 100 },
      { id: 2, file_name: second, width: 120, height: 160 },
    ],
    annotations: [
      { id: 1, image_id: 1, category_id: 1, bbox: [10, 20, 30, 40] },
      { id: 2, image_id: 2, category_id: 2, bbox: box },
    ],
    categories: [
      { id: 1, name: 'cup' },
      { id: 2, name: 'Mug' },
    ],
  }
  writeFileSync(at(name), JSON.stringify(file))
  return at(name)
}
const preview = (input: Input<'transfer.preview'>) => client.run('transfer.preview', input)
const run = (input: Input<'transfer.import'>) => client.run('transfer.import', input)
const imageId = async (name: string) => (await client.call('images.list', { filter: name })).items[0]?.id as number
const boxes = async (name: string) => client.call('annotations.list', { imageId: await imageId(name) })

describe('import', () => {
  it('previews without writing, imports as one undo, tells everyone', async () => {
    const path = cocoFile('in.json')
    expect(await client.call('transfer.sniff', { path })).toEqual({
      isZip: false,
      candidates: [{ format: 'coco', sureness: 0.9 }],
    })
    const plan = await preview({ path })
    expect(plan).toMatchObject({
      format: 'coco',
      refusal: null,
      images: { inFile: 2, matched: 2, missing: 0 },
      annotations: { inFile: 2, toAdd: 2 },
      categories: [
        { name: 'cup', annotations: 1, action: 'create', into: 'cup' },
        { name: 'Mug', annotations: 1, action: 'create', into: 'Mug' },
      ],
    })
    expect(api['transfer.preview'].output.parse(plan)).toEqual(plan)
    expect(await client.call('categories.list', {})).toEqual([])

    const told: unknown[] = []
    client.on('workspace.revised', ({ revision }) => told.push(revision.label))
    client.on('images.changed', ({ ids }) => told.push(ids))
    const result = await run({ path })
    expect(result).toMatchObject({ copied: 0, plan: { annotations: { toAdd: 2 } } })
    expect(told).toEqual(['Import in.json', []])
    expect(await boxes('one.png')).toMatchObject([
      { provenance: 'import', status: 'accepted', bboxXywh: [10, 20, 30, 40], decidedAt: null },
    ])
    expect(await client.call('history.undo', {})).toMatchObject({ undoes: result.seq })
    expect(await boxes('one.png')).toEqual([])
    expect(await client.call('categories.list', {})).toEqual([])
  })

  it('maps classes: merge, rename, leave out', async () => {
    const path = cocoFile('in.json')
    await client.call('categories.create', { name: 'CUP' })
    await client.call('categories.create', { name: 'vessel' })
    expect((await preview({ path })).categories).toMatchObject([
      { action: 'merge', into: 'CUP' },
      { action: 'create', into: 'Mug' },
    ])
    const categories = { cup: { action: 'merge' as const, into: 'vessel' }, Mug: { action: 'skip' as const } }
    const { plan } = await run({ path, categories })
    expect(plan).toMatchObject({
      annotations: { toAdd: 1, leftOut: 1 },
      categories: [{ into: 'vessel' }, { action: 'skip', into: null }],
    })
    expect((await client.call('categories.list', {})).map(({ name }) => name)).toEqual(['CUP', 'vessel'])
  })

  it('asks about images that have boxes, never doubles one, and replaces nothing that people did', async () => {
    const path = cocoFile('in.json')
    await run({ path })
    const again = await run({ path })
    expect(again).toMatchObject({
      seq: null,
      plan: { annotations: { toAdd: 0, alreadyThere: 2 }, conflicts: { images: 0 } },
    })

    const one = await imageId('one.png')
    const { annotation: drawn } = await client.call('annotations.create', { imageId: one, bboxXywh: [1, 1, 5, 5] })
    const [imported] = await boxes('two.png')
    await client.call('annotations.decide', { ids: [imported?.id as number], decision: 'accept' })
    const moved = JSON.parse(readFileSync(path, 'utf8'))
    for (const row of moved.annotations) row.bbox[0] += 3
    writeFileSync(at('moved.json'), JSON.stringify(moved))
    expect(await preview({ path: at('moved.json') })).toMatchObject({
      refusal: expect.stringContaining('2 images have boxes already'),
      conflicts: { images: 2, annotations: 2 },
    })
    expect(await codeOf(run({ path: at('moved.json') }))).toBe('INVALID_INPUT')
    expect(await run({ path: at('moved.json'), conflicts: 'skip' })).toMatchObject({ seq: null })
    const before = (await boxes('two.png')).length
    await run({ path: at('moved.json'), conflicts: 'replace' })
    // the untouched import made room; the drawn box and what a person decided stay
    expect((await boxes('one.png')).map(({ id, bboxXywh }) => [id === drawn.id, bboxXywh[0]])).toEqual([
      [true, 1],
      [false, 13],
    ])
    expect((await boxes('two.png')).length).toBeGreaterThanOrEqual(before)
    await client.call('history.undo', {})
    await run({ path: at('moved.json'), conflicts: 'add' })
    expect(await boxes('one.png')).toHaveLength(3)
  })

  it('refuses a file with a bad row, with its place, and leaves it out when asked', async () => {
    const path = cocoFile('bad.json', 'two.png', [900, 900, 5, 5])
    const plan = await preview({ path })
    expect(plan.problems).toEqual({
      count: 1,
      first: [{ where: 'annotations[1]', reason: expect.stringContaining('outside') }],
    })
    expect(await messageOf(run({ path }))).toMatch(/1 row of bad.json cannot be taken, e.g. annotations\[1\]/)
    expect(await run({ path, skipBad: true })).toMatchObject({ plan: { annotations: { toAdd: 1 } } })
  })

  it('brings pictures that the project lacks, from a folder or out of the zip itself', async () => {
    const path = cocoFile('in.json', 'new/three.png')
    expect((await preview({ path })).refusal).toContain('1 image of in.json is not in the project (new/three.png)')
    mkdirSync(at('elsewhere', 'deep', 'new'), { recursive: true })
    await writePicture(at('elsewhere', 'deep', 'new', 'three.png'), 120, 160)
    expect(await preview({ path, imagesDir: at('elsewhere') })).toMatchObject({
      refusal: null,
      images: { matched: 1, coming: 1, missing: 0 },
      annotations: { toAdd: 2 }, // those on the picture that is still to come, too
    })
    // an import that is refused copies nothing
    const bad = cocoFile('bad-in.json', 'new/three.png', [900, 900, 5, 5])
    expect(await codeOf(run({ path: bad, imagesDir: at('elsewhere') }))).toBe('INVALID_INPUT')
    expect(readdirSync(bench.images)).not.toContain('new')
    expect((await client.call('images.list', {})).total).toBe(3)
    expect(await run({ path, imagesDir: at('elsewhere') })).toMatchObject({
      copied: 1,
      plan: { annotations: { toAdd: 2 } },
    })
    expect(await boxes('three.png')).toHaveLength(1)
    expect(readdirSync(bench.images).filter((name) => name.startsWith('.'))).toEqual([])

    const zip = new yazl.ZipFile()
    await writePicture(at('four.png'), 120, 160)
    zip.addFile(cocoFile('zipped.json', 'pictures/four.png'), 'set/annotations.json')
    zip.addFile(at('four.png'), 'set/pictures/four.png')
    zip.end()
    await pipeline(zip.outputStream, createWriteStream(at('set.zip')))
    expect(await client.call('transfer.sniff', { path: at('set.zip') })).toEqual({ isZip: true, candidates: [] })
    expect(await run({ path: at('set.zip'), copyImages: true })).toMatchObject({
      copied: 1,
      plan: { format: 'coco', annotations: { toAdd: 1, alreadyThere: 1 } },
    })
    expect(await boxes('four.png')).toHaveLength(1)
  })

  it('stops when it is cancelled, and says what it does not know', async () => {
    const rows = Array.from({ length: 20_000 }, (_, index) => ({
      id: index + 1,
      image_id: 1,
      category_id: 1,
      bbox: [1, 2, 3, 4],
    }))
    const path = cocoFile('large.json')
    const file = JSON.parse(readFileSync(path, 'utf8'))
    writeFileSync(path, JSON.stringify({ ...file, annotations: rows }))
    for (const stage of ['Reading', 'Writing']) {
      const controller = new AbortController()
      const onProgress = ({ note }: { note: string }) => note.startsWith(stage) && controller.abort()
      expect(await codeOf(client.run('transfer.import', { path }, { onProgress, signal: controller.signal }))).toBe(
        'CANCELLED',
      )
      expect(await boxes('one.png')).toEqual([])
      expect(await client.call('categories.list', {})).toEqual([])
    }
    let closing: Promise<unknown> = Promise.resolve()
    const onProgress = () => {
      closing = client.call('project.close', {})
    }
    expect(await codeOf(client.run('transfer.import', { path }, { onProgress }))).toBe('CANCELLED')
    await closing
    await openWhole(client, bench.images)
    expect(await boxes('one.png')).toEqual([])
    writeFileSync(at('odd.bin'), 'nothing that is known')
    expect(await messageOf(preview({ path: at('odd.bin') }))).toContain('in no format that is known')
    expect(await codeOf(preview({ path: at('gone.json') }))).toBe('NOT_FOUND')
    await run({ path })
    expect(await boxes('one.png')).toHaveLength(20_000)
    const stopping = new AbortController()
    const taken = client.run(
      'history.turn',
      { direction: 'undo' },
      { onProgress: () => stopping.abort(), signal: stopping.signal },
    )
    expect(await codeOf(taken)).toBe('CANCELLED')
    expect(await boxes('one.png')).toHaveLength(20_000)
    expect(await client.call('history.undo', {})).toMatchObject({ bulkRows: 20_002, diff: { annotations: [] } })
    expect(await boxes('one.png')).toEqual([])
    // what is done while an import is written waits for its end
    let waiting: Promise<unknown> | null = null
    const drawWhileWriting = ({ note }: { note: string }) => {
      if (note.startsWith('Writing'))
        waiting ??= client.call('annotations.create', { imageId: 1, bboxXywh: [1, 1, 5, 5] })
    }
    await client.run('transfer.import', { path }, { onProgress: drawWhileWriting })
    expect(await waiting).toMatchObject({ revision: { label: 'Draw box' } })
    expect(await boxes('one.png')).toHaveLength(20_001)
  }, 60_000)
})

describe('export', () => {
  it('lists every format with what it keeps and loses', async () => {
    const formats = await client.call('transfer.formats', {})
    expect(formats.map(({ id }) => id)).toContain('yolo')
    expect(api['transfer.formats'].output.parse(formats)).toEqual(formats)
  })

  it('writes parts by filter and split, proposals apart, zips, and never over what is not ours', async () => {
    await run({ path: cocoFile('in.json') })
    await client.call('annotations.create', { imageId: await imageId('turned.jpg'), bboxXywh: [1, 1, 5, 5] })
    const base = { format: 'yolo' as const, path: at('yolo'), copyImages: true }
    const report = await client.run('transfer.export', { ...base, split: { shares: { train: 1, val: 1 }, seed: 'x' } })
    expect(report).toMatchObject({ images: 3, annotations: 3, files: [at('yolo')] })
    const subsets = readdirSync(at('yolo', 'images'))
    expect(subsets.flatMap((subset) => readdirSync(at('yolo', 'images', subset))).sort()).toEqual([
      'one.png',
      'turned.jpg',
      'two.png',
    ])
    for (const subset of subsets)
      expect(readdirSync(at('yolo', 'labels', subset)).length).toBe(readdirSync(at('yolo', 'images', subset)).length)
    expect(readFileSync(at('yolo', 'data.yaml'), 'utf8')).toContain('nc: 3\nnames:\n  - cup\n  - Mug\n  - object\n')
    expect(await codeOf(client.run('transfer.export', base))).toBe('ALREADY_EXISTS')
    mkdirSync(at('photos'))
    writeFileSync(at('photos', 'precious.jpg'), 'x')
    expect(await messageOf(client.run('transfer.export', { ...base, path: at('photos'), overwrite: true }))).toContain(
      'no export of ours',
    )
    await client.run('transfer.export', { ...base, overwrite: true })

    const filtered = {
      format: 'coco' as const,
      path: at('cups.json'),
      filter: { categories: ['cup'], withBoxesOnly: true },
    }
    expect(await client.run('transfer.export', filtered)).toMatchObject({ images: 1, annotations: 1 })
    const parts = await client.run('transfer.export', {
      format: 'csv',
      path: at('out.csv'),
      split: { shares: { train: 1, test: 1 } },
    })
    expect(parts.files).toEqual([at('out_train.csv'), at('out_test.csv')])
    await run({ path: cocoFile('more.json', 'two.png', [50, 50, 5, 5]), status: 'proposed', conflicts: 'add' })
    const proposals = await client.run('transfer.export', { format: 'voc', path: at('voc'), proposals: true })
    expect(proposals).toMatchObject({ annotations: 3, notes: ['1 undecided boxes are in voc.proposals.json.'] })
    expect(JSON.parse(readFileSync(at('voc.proposals.json'), 'utf8'))).toMatchObject([
      { bbox: [50, 50, 5, 5], category_id: 2 },
    ])

    await client.run('transfer.export', { ...base, path: at('set.zip') })
    rmSync(at('yolo'), { recursive: true })
    // what had no class comes back as "object"
    expect(await run({ path: at('set.zip'), format: 'yolo', conflicts: 'add' })).toMatchObject({
      plan: { annotations: { toAdd: 1, alreadyThere: 2 } },
    })
  })
})
