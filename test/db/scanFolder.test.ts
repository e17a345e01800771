import { mkdirSync, renameSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import sharp from 'sharp'
import { expect, test } from 'vitest'
import { applyScan, scanProject } from '../../db/applyScan.ts'
import { createProject, type ProjectStore } from '../../db/project.ts'
import { diffOf } from '../../db/records/diff.ts'
import { type ImageProbe, type ScanItem, scanFolder } from '../../db/scanFolder.ts'
import { addAnnotations, annotationRow, projectWithImages, tempFolder } from './support.ts'

/** Enough of a probe for tests; the application hands in its own. */
const probe: ImageProbe = async (path) => {
  const image = sharp(path)
  const { width = 0, height = 0, orientation = 1 } = await image.metadata()
  await image.raw().toBuffer() // decodes, a header alone proves nothing; stats() now and then misses a cut file
  return orientation >= 5 ? { width: height, height: width } : { width, height }
}

async function picture(path: string, width: number, height: number, orientation?: number): Promise<void> {
  const image = sharp({
    create: { width, height, channels: 3, background: { r: width % 256, g: height % 256, b: 90 } },
  })
  await (orientation === undefined ? image : image.withMetadata({ orientation })).toFile(path)
}

async function folderOfAllSorts(): Promise<string> {
  const folder = join(tempFolder(), 'pictures')
  for (const sub of ['', 'b', 'b/deep', '.hidden', 'empty']) mkdirSync(join(folder, sub), { recursive: true })
  await picture(join(folder, 'scene10.png'), 30, 20)
  await picture(join(folder, 'scene2.png'), 31, 20)
  await picture(join(folder, 'turned.jpg'), 40, 25, 6)
  await picture(join(folder, 'b/deep/图 1.webp'), 33, 21)
  await picture(join(folder, 'b/cafe\u0301.png'), 34, 22) // NFD
  await picture(join(folder, 'b/caf\u00e9.png'), 35, 22) // NFC: another file
  await picture(join(folder, '.hidden/x.png'), 8, 8)
  await picture(join(folder, '.dot.png'), 8, 8)
  await picture(join(folder, 'really.png'), 36, 23)
  renameSync(join(folder, 'really.png'), join(folder, 'no-extension'))
  writeFileSync(join(folder, 'broken.jpg'), 'this is no jpeg')
  writeFileSync(
    join(folder, 'cut.png'),
    (
      await sharp({ create: { width: 300, height: 300, channels: 3, background: 'red' } })
        .png({ compressionLevel: 0 })
        .toBuffer()
    ).subarray(0, 5000),
  )
  writeFileSync(join(folder, 'nothing.png'), '')
  writeFileSync(join(folder, 'notes.txt'), 'hello')
  writeFileSync(join(folder, 'work.gromatic'), 'ours')
  writeFileSync(join(folder, 'work.gromatic-wal'), 'ours')
  writeFileSync(join(folder, '..', 'outside.png'), 'secret')
  symlinkSync(join(folder, '..', 'outside.png'), join(folder, 'link-out.png'))
  symlinkSync(join(folder, 'scene2.png'), join(folder, 'zz-link-in.png'))
  symlinkSync(folder, join(folder, 'b/loop'))
  return folder
}

async function collect(items: AsyncIterable<ScanItem>): Promise<ScanItem[]> {
  const all: ScanItem[] = []
  for await (const item of items) all.push(item)
  return all
}

test('a folder of all sorts: pictures in the order people count, the rest with a reason', async () => {
  const folder = await folderOfAllSorts()
  const met: string[] = []
  const items = await collect(scanFolder(folder, { probe, onFile: (name) => met.push(name) }))
  const good = items.flatMap((item) => (item.kind === 'file' ? [[item.fileName, item.width, item.height]] : []))
  expect(good).toEqual([
    ['b/cafe\u0301.png', 34, 22],
    ['b/caf\u00e9.png', 35, 22],
    ['b/deep/图 1.webp', 33, 21],
    ['no-extension', 36, 23],
    ['scene2.png', 31, 20],
    ['scene10.png', 30, 20],
    ['turned.jpg', 25, 40],
    ['zz-link-in.png', 31, 20],
  ])
  const skipped = new Map(items.flatMap((item) => (item.kind === 'skipped' ? [[item.fileName, item.reason]] : [])))
  expect([...skipped.keys()].sort()).toEqual([
    'b/loop',
    'broken.jpg',
    'cut.png',
    'link-out.png',
    'notes.txt',
    'nothing.png',
  ])
  expect(skipped.get('broken.jpg')).toMatch(/Damaged or not readable/)
  expect(skipped.get('cut.png')).toMatch(/Damaged or not readable/)
  expect(skipped.get('nothing.png')).toBe('The file is empty.')
  expect(skipped.get('notes.txt')).toBe('Not an image.')
  expect(skipped.get('link-out.png')).toMatch(/out of the folder/)
  expect(met).toHaveLength(items.length)
  const file = items.find((item) => item.fileName === 'scene2.png')
  expect(file).toMatchObject({ contentSha256: expect.stringMatching(/^[0-9a-f]{64}$/), modifiedMs: expect.any(Number) })
})

test('a scan is stored, and a second one reads nothing again', async () => {
  const folder = await folderOfAllSorts()
  const store = createProject(join(folder, 'a.gromatic'), folder)
  try {
    let notes = 0
    const first = await scanProject(store, { probe, onProgress: () => notes++ })
    expect(first).toMatchObject({ added: 8, changed: 0, unchanged: 0, missing: 0 })
    expect(first.skipped).toHaveLength(6)
    expect(notes).toBe(14)
    expect(store.summary()).toMatchObject({ imageCount: 8, skippedCount: 6, undoLabel: null })
    expect(store.images.skipped().map(({ fileName }) => fileName)).toContain('cut.png')
    const head = store.history.headSeq()
    let probed = 0
    const counting: ImageProbe = (path) => {
      probed++
      return probe(path)
    }
    const second = await scanProject(store, { probe: counting })
    expect(second).toMatchObject({ added: 0, unchanged: 8, missing: 0 })
    expect(probed).toBe(2) // only the broken ones get another chance
    expect(store.history.headSeq()).toBe(head)
  } finally {
    store.close()
  }
})

test('files that go become missing and keep their boxes; files that come back are ready; changed ones are read again', async () => {
  const folder = tempFolder()
  const store = projectWithImages(folder, 0)
  const path = (name: string) => join(store.imagesDir, name)
  for (const [name, width] of [
    ['a.png', 10],
    ['b.png', 11],
    ['c.png', 12],
  ] as const)
    await picture(path(name), width, 10)
  await scanProject(store, { probe })
  const b = store.images.byFileName('b.png')
  addAnnotations(store, [annotationRow(1, b?.id ?? 0)])
  renameSync(path('b.png'), join(folder, 'b.png'))
  await picture(path('c.png'), 50, 60)
  utimesSync(path('c.png'), new Date(5000), new Date(5000))
  utimesSync(path('a.png'), new Date(6000), new Date(6000)) // touched, same content
  const revisions: number[] = []
  const gone = await scanProject(store, { probe, onRevision: ({ diff }) => revisions.push(diff.images.length) })
  expect(gone).toMatchObject({ added: 0, changed: 1, unchanged: 1, missing: 1 })
  expect(revisions).toEqual([2])
  expect(store.images.byFileName('b.png')?.status).toBe('missing')
  expect(store.images.byFileName('c.png')).toMatchObject({ width: 50, height: 60, status: 'ready' })
  expect(store.annotations.list(b?.id ?? 0)).toHaveLength(1)
  expect(await scanProject(store, { probe })).toMatchObject({ unchanged: 2, missing: 1 })
  renameSync(join(folder, 'b.png'), path('b.png'))
  expect(await scanProject(store, { probe })).toMatchObject({ unchanged: 3, missing: 0 })
  expect(store.images.byFileName('b.png')).toEqual(b)
})

test('a cancelled scan keeps what it stored and calls nothing missing', async () => {
  const store = projectWithImages(tempFolder(), 2) // rows without files
  for (let i = 0; i < 60; i++) await picture(join(store.imagesDir, `p${i}.png`), 5, 5)
  const abort = new AbortController()
  const scan = scanProject(store, { probe, signal: abort.signal, onRevision: () => abort.abort() })
  await expect(scan).rejects.toMatchObject({ code: 'CANCELLED' })
  expect(store.images.list().items.filter(({ status }) => status === 'ready')).toHaveLength(18)
  expect(await scanProject(store, { probe })).toMatchObject({ added: 44, unchanged: 16, missing: 2 })
})

test('a folder that is not there is told, and nothing is marked', async () => {
  const store = projectWithImages(tempFolder(), 2)
  rmSync(store.imagesDir, { recursive: true })
  await expect(scanProject(store, { probe })).rejects.toMatchObject({ code: 'NOT_FOUND' })
  expect(store.images.list().items.every(({ status }) => status === 'ready')).toBe(true)
})

test('a subfolder that cannot be read does not make its images missing', async () => {
  const store: ProjectStore = projectWithImages(tempFolder(), 0)
  async function* walk(items: ScanItem[]) {
    yield* items
  }
  const file = (fileName: string): ScanItem => ({
    kind: 'file',
    fileName,
    width: 1,
    height: 1,
    fileBytes: 1,
    contentSha256: '0'.repeat(64),
    modifiedMs: 1,
  })
  await applyScan(store, walk([file('a.png'), file('sub/b.png'), file('subway.png')]))
  const result = await applyScan(
    store,
    walk([{ kind: 'skipped', fileName: 'sub/', reason: 'The folder cannot be read (EACCES).' }]),
  )
  expect(result).toMatchObject({ missing: 2 })
  expect(store.images.byFileName('sub/b.png')?.status).toBe('ready')
})

test('a walk waits with what it found while an import is written', async () => {
  const store = projectWithImages(tempFolder(), 1)
  await picture(join(store.imagesDir, 'new.png'), 30, 20)
  const { promise: gate, resolve: endImport } = Promise.withResolvers<void>()
  const importing = store.commitBulk({ actor: 'import', label: 'Import' }, async (add) => {
    add(diffOf({ annotations: [{ before: null, after: annotationRow(1, 1) }] }))
    await gate
  })
  let done = false
  const scanning = scanProject(store, { probe }).finally(() => {
    done = true
  })
  await new Promise((resolve) => setTimeout(resolve, 300))
  expect(done).toBe(false)
  endImport()
  await importing
  expect(await scanning).toMatchObject({ added: 1 })
  expect(store.images.byFileName('new.png')).toMatchObject({ status: 'ready', width: 30 })
  store.close()
})
