/** What the model says becomes rows: over real SQLite, with a scripted engine in a real process. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { Annotation, Revision } from '../../db/records/records.ts'
import type { Client, EventPayload, ProposeProgress } from '../../electron/contract/api.ts'
import { type Bench, codeOf, makeBench, openWhole, writePicture } from './support.ts'

let bench: Bench
let client: Client
let imageId: number
let revisions: Revision[]
beforeEach(async () => {
  bench = await makeBench()
  client = bench.services.client
  await openWhole(client, bench.images)
  imageId = (await client.call('images.list', { filter: 'one' })).items[0]!.id
  revisions = []
  client.on('workspace.revised', ({ revision }) => revisions.push(revision))
})
afterEach(() => bench.close())

const list = () => client.call('annotations.list', { imageId })
const propose = (onProgress?: (progress: ProposeProgress) => void) =>
  client.run('grounding.propose', { imageId }, onProgress === undefined ? {} : { onProgress })
const until = async (holds: () => boolean | Promise<boolean>) => {
  const end = Date.now() + 60_000
  while (!(await holds())) {
    if (Date.now() > end) throw new Error('waited in vain')
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

describe('propose', () => {
  it('stores boxes first, then captions with classes, and keeps what the model said', async () => {
    const kinds: string[] = []
    const { proposed } = await propose((progress) => kinds.push(progress.kind))
    expect(proposed).toBe(3) // the fourth is less than a pixel wide
    expect(kinds[kinds.indexOf('proposed') - 1] ?? 'step').toBe('step')
    expect(kinds).toContain('captioned')
    const rows = await list()
    expect(
      rows.map(({ caption, status, provenance, modelScore }) => ({ caption, status, provenance, modelScore })),
    ).toEqual([
      { caption: 'a large red circle', status: 'proposed', provenance: 'model', modelScore: 0.9 },
      { caption: 'a small blue star on the left', status: 'proposed', provenance: 'model', modelScore: 0.6 },
      { caption: 'a green square', status: 'proposed', provenance: 'model', modelScore: 0.3 },
    ])
    for (const [i, edge] of [30, 15, 40, 20].entries()) expect(rows[0]!.bboxXywh[i]).toBeCloseTo(edge, 6)
    expect(rows[0]).toMatchObject({
      modelBboxXywh: rows[0]!.bboxXywh,
      modelCaption: 'a large red circle',
      modelHash: 'a'.repeat(64),
    })
    expect((await client.call('categories.list', {})).map(({ name }) => name)).toEqual(['circle', 'star', 'square'])
    expect((await client.call('images.get', { id: imageId })).proposedAt).not.toBeNull()
    expect(revisions.every(({ actor }) => actor === 'model')).toBe(true)
    expect(await client.call('history.undo', {})).toBeNull() // Ctrl+Z never takes the model's work back
    expect((await client.call('engine.state', {})).secondsPerImage).toBe(0.5)
  })

  it('leaves people’s work alone: nothing twice, nothing replaced', async () => {
    await client.call('annotations.create', { imageId, bboxXywh: [31, 15, 40, 20] }) // the circle, drawn by hand
    expect((await propose()).proposed).toBe(2)
    const [human, star, square] = await list()
    expect(human).toMatchObject({ provenance: 'human', status: 'accepted', caption: null })
    await client.call('annotations.decide', { ids: [star!.id], decision: 'reject' })
    expect((await propose()).proposed).toBe(1) // the rejected star is not proposed again
    const rows = await list()
    expect(rows.map(({ status }) => status)).toEqual(['accepted', 'rejected', 'proposed'])
    expect(rows.some(({ id }) => id === square!.id)).toBe(false)
    expect((await client.call('categories.list', {})).map(({ name }) => name)).toEqual(['star', 'square'])
  })

  it('takes a threshold', async () => {
    expect((await client.run('grounding.propose', { imageId, minScore: 0.5 })).proposed).toBe(2)
    expect((await client.run('grounding.propose', { imageId, minScore: 0.99, captions: false })).proposed).toBe(0)
    expect((await client.call('images.get', { id: imageId })).proposedAt).not.toBeNull()
  })

  it('accepts all above a confidence as one step, and the image is done with its last decision', async () => {
    await propose()
    const accepted = await client.call('annotations.acceptAbove', { imageId, minScore: 0.5 })
    expect(accepted.label).toBe('Accept 2')
    expect((await client.call('images.get', { id: imageId })).done).toBe(false)
    const [last] = (await list()).filter(({ status }) => status === 'proposed')
    const rejected = await client.call('annotations.decide', { ids: [last!.id], decision: 'reject', elapsedMs: 800 })
    expect(rejected.label).toBe('Reject square')
    expect(await client.call('images.get', { id: imageId })).toMatchObject({
      done: true,
      counts: { accepted: 2, rejected: 1 },
    })
    await client.call('history.undo', {})
    expect((await client.call('images.get', { id: imageId })).done).toBe(false)
    await client.call('history.undo', {})
    expect((await list()).every(({ status }) => status === 'proposed')).toBe(true)
  })

  it('turns a changed proposal into an edited one, whatever is decided later', async () => {
    await propose()
    const [circle, star] = await list()
    await client.call('annotations.update', { id: circle!.id, caption: 'my circle' })
    expect((await list())[0]).toMatchObject({
      status: 'edited',
      caption: 'my circle',
      modelCaption: 'a large red circle',
    })
    await client.call('annotations.decide', { ids: [star!.id], decision: 'accept' })
    await client.call('annotations.update', { id: star!.id, bboxXywh: [10, 10, 20, 20] })
    await client.call('annotations.decide', { ids: [star!.id], decision: 'reject' })
    await client.call('annotations.decide', { ids: [star!.id], decision: 'accept' })
    expect((await list())[1]).toMatchObject({ status: 'edited', modelBboxXywh: star!.bboxXywh })
    await client.call('annotations.decide', { ids: [star!.id], decision: 'reset' })
    expect((await list())[1]).toMatchObject({ status: 'proposed', decidedAt: null })
  })

  it('does not write a caption over a person’s, nor into a region that is gone', async () => {
    await propose((progress) => {
      if (progress.kind !== 'proposed') return
      const [circle, star] = progress.revision.diff.annotations.map(({ after }) => after as Annotation)
      void client.call('annotations.update', { id: circle!.id, caption: 'typed', categoryName: 'disc' })
      void client.call('annotations.delete', { ids: [star!.id] })
    })
    const rows = await list()
    expect(rows).toHaveLength(2)
    expect(rows[0]).toMatchObject({ caption: 'typed', status: 'edited', modelCaption: 'a large red circle' })
    const disc = (await client.call('categories.list', {})).find(({ name }) => name === 'disc')
    expect(rows[0]!.categoryId).toBe(disc!.id)
  })

  it('says what is wrong with the image or the project', async () => {
    expect(await codeOf(client.run('grounding.propose', { imageId: 999 }))).toBe('NOT_FOUND')
    expect(await codeOf(client.run('grounding.propose', { imageId }, { signal: AbortSignal.abort() }))).toBe(
      'CANCELLED',
    )
    await client.call('project.close', {})
    expect(await codeOf(propose())).toBe('NO_PROJECT')
  })

  it('keeps the model that was asked for while another was still looked up', async () => {
    await client.call('settings.set', { model: 'demo' })
    bench.services.startEngine() // hashes the demo model's files first
    await client.call('engine.load', { model: 'scripted' })
    await new Promise((resolve) => setTimeout(resolve, 500))
    expect(await client.call('engine.state', {})).toMatchObject({ modelName: 'scripted' })
  })

  it('fails with the model’s reason when the model cannot be loaded', async () => {
    await client.call('settings.set', { model: 'not-installed' })
    expect(await codeOf(propose())).toBe('NOT_FOUND')
    expect(await client.call('engine.state', {})).toMatchObject({
      status: 'failed',
      note: expect.stringContaining('not-installed'),
    })
    expect(await codeOf(client.call('engine.load', { model: 'nothing' }))).toBe('NOT_FOUND')
    await client.call('engine.load', { model: 'scripted' })
    expect((await propose()).proposed).toBe(3)
    expect((await client.call('settings.get', {})).model).toBe('scripted')
  })
})

describe('talk', () => {
  it('stores question and answer with boxes in pixels, and streams the text', async () => {
    const texts: string[] = []
    const { question, answer } = await client.run(
      'grounding.ask',
      { imageId, question: 'slow question', boxesXywh: [[0, 0, 100, 50]] },
      { onProgress: ({ text }) => texts.push(text) },
    )
    expect(texts).toContain('word 3')
    // a step that goes on takes back nothing that was said
    expect(texts.slice(texts.indexOf('word 0'))).not.toContain('')
    expect(question).toMatchObject({ role: 'user', text: 'slow question', attachedBoxesXywh: [[0, 0, 100, 50]] })
    expect(answer.text).toContain('1 boxes')
    expect(answer.spans[0]).toMatchObject({ start: 2, end: 12, unresolved: [7] })
    expect(answer.spans[0]!.boxes[0]).toMatchObject({ region: 0, score: 0.8 })
    expect(answer).toMatchObject({ stopReason: 'eos', modelHash: 'a'.repeat(64) })
    expect(await client.call('messages.list', { imageId })).toEqual([question, answer])
    await client.call('messages.clear', { imageId })
    expect(await client.call('messages.list', { imageId })).toEqual([])
    expect(await codeOf(client.call('messages.clear', { imageId }))).toBe('INVALID_INPUT')
    await client.call('history.undo', {})
    expect(await client.call('messages.list', { imageId })).toHaveLength(2)
  })

  it('tells the engine when a file has become another picture', async () => {
    const run = vi.spyOn(bench.services.engine, 'run')
    const ask = () => client.run('grounding.ask', { imageId, question: 'what?' })
    await ask()
    await ask()
    await writePicture(join(bench.images, 'one.png'), 120, 160)
    await ask()
    const [first, second, third] = run.mock.calls.map(([task]) => task.image)
    expect(second).toEqual(first)
    expect(third!.path).toBe(first!.path)
    expect(third!.key).not.toBe(first!.key)
  })

  it('refuses boxes outside the image, and cuts off what reaches beyond it', async () => {
    const about = (...box: [number, number, number, number]) =>
      client.run('grounding.ask', { imageId, question: 'what?', boxesXywh: [box] })
    await expect(about(-500, 0, 10, 10)).rejects.toThrow('The box -500,0,10,10 lies outside one.png')
    expect(await codeOf(about(1e300, 0, 10, 10))).toBe('INVALID_INPUT')
    const run = vi.spyOn(bench.services.engine, 'run')
    await about(-10, -10, 1e300, 1e300)
    expect(run.mock.calls[0]![0]).toMatchObject({ boxesCxcywh: [[0.5, 0.5, 1, 1]] })
  })

  it('stores nothing of an answer that was cancelled', async () => {
    const controller = new AbortController()
    const asking = client.run(
      'grounding.ask',
      { imageId, question: 'slow' },
      { signal: controller.signal, onProgress: () => controller.abort() },
    )
    expect(await codeOf(asking)).toBe('CANCELLED')
    expect(await client.call('messages.list', { imageId })).toEqual([])
  })

  it('tells a crash and answers again', async () => {
    expect(await codeOf(client.run('grounding.ask', { imageId, question: 'crash' }))).toBe('ENGINE_CRASHED')
    expect((await client.run('grounding.ask', { imageId, question: 'again' })).answer.text).toContain('again')
  })

  it('turns the boxes of an answer into proposals, once', async () => {
    const { answer } = await client.run('grounding.ask', { imageId, question: 'what?' })
    const revision = await client.call('grounding.addAnswer', { messageId: answer.id })
    expect(revision).toMatchObject({ actor: 'human', label: 'Add 1 from the answer' })
    expect(await list()).toMatchObject([
      { caption: 'red circle', status: 'proposed', provenance: 'model', modelScore: 0.8 },
    ])
    await client.call('annotations.decide', { ids: [(await list())[0]!.id], decision: 'accept' })
    expect(await client.call('grounding.addAnswer', { messageId: answer.id, spanIndex: 0 })).toBeNull()
    expect(await codeOf(client.call('grounding.addAnswer', { messageId: answer.id, spanIndex: 5 }))).toBe('NOT_FOUND')
    expect(await codeOf(client.call('grounding.addAnswer', { messageId: 999 }))).toBe('NOT_FOUND')
  })

  it('locates a phrase: proposals with the phrase, existing ones renamed, an answer in the talk', async () => {
    const first = await client.run('grounding.locate', { imageId, phrase: 'the traffic light', all: true })
    expect(first.revision?.diff.annotations).toHaveLength(2)
    expect(first.answer).toMatchObject({ text: 'the traffic light', spans: [{ start: 0, end: 17 }] })
    expect((await list()).map(({ caption }) => caption)).toEqual(['the traffic light', 'the traffic light'])
    await client.run('grounding.locate', { imageId, phrase: 'a lamp', all: false })
    expect((await list()).map(({ caption }) => caption)).toEqual(['a lamp', 'the traffic light'])
    const none = await client.run('grounding.locate', { imageId, phrase: 'nothing', all: true })
    expect(none).toMatchObject({ revision: null, answer: { spans: [], text: 'Nothing found for "nothing".' } })
    expect(await client.call('messages.list', { imageId })).toHaveLength(6)
  })

  it('captions what people drew, with a class, unless they typed one meanwhile', async () => {
    const boxes: [number, number, number, number][] = [
      [10, 10, 20, 20],
      [50, 50, 20, 20],
    ]
    const drawn = []
    for (const bboxXywh of boxes)
      drawn.push((await client.call('annotations.create', { imageId, bboxXywh })).annotation)
    const captioning = client.run('grounding.caption', { annotationIds: drawn.map(({ id }) => id) })
    await client.call('annotations.update', { id: drawn[1]!.id, caption: 'typed' })
    const made = await captioning
    expect(made.map(({ actor }) => actor)).toEqual(['model', 'model'])
    const [first, second] = await list()
    expect(first).toMatchObject({
      caption: 'a large red circle',
      status: 'accepted',
      provenance: 'human',
      modelCaption: 'a large red circle',
    })
    expect(second).toMatchObject({ caption: 'typed', modelCaption: 'a small blue star on the left' })
    expect((await client.call('categories.list', {})).map(({ name }) => name)).toEqual(['circle', 'star'])
    await client.run('grounding.caption', { annotationIds: [first!.id], detail: 'detailed' })
    expect((await list())[0]).toMatchObject({
      caption: 'a large red circle in detail',
      modelCaption: 'a large red circle',
    })
    expect(await codeOf(client.run('grounding.caption', { annotationIds: [999] }))).toBe('NOT_FOUND')
  })
})

describe('ahead', () => {
  it('proposes this image and the next ones in the background, and lets people go first', async () => {
    const activity: EventPayload<'grounding.activity'>[] = []
    client.on('grounding.activity', (event) => activity.push(event))
    await client.call('settings.set', { proposeAhead: 2 })
    await list()
    const proposed = async () =>
      (await client.call('images.list', {})).items.filter((image) => image.proposedAt !== null).length
    await until(async () => (await proposed()) > 0)
    const { answer } = await client.run('grounding.ask', { imageId, question: 'meanwhile' })
    expect(answer.text).toContain('meanwhile')
    await until(async () => (await proposed()) === 3)
    await until(() => activity.at(-1)?.state === 'idle')
    expect(activity.map(({ state }) => state)).toEqual(expect.arrayContaining(['queued', 'computing', 'idle']))
    expect((await list()).map(({ caption }) => caption)).toHaveLength(3)
    expect(await client.call('history.undo', {})).toBeNull()
  })

  it('goes no further ahead than it was told, however long a person looks', async () => {
    await client.call('settings.set', { proposeAhead: 1 })
    await list()
    const proposed = async () => (await client.call('images.list', {})).items.map((image) => image.proposedAt !== null)
    await until(async () => (await proposed())[1] === true)
    await new Promise((resolve) => setTimeout(resolve, 600))
    expect(await proposed()).toEqual([true, true, false])
  })

  it('gets ready for questions about this image, and once more when the engine was lost', async () => {
    const ready: string[] = []
    bench.services.engine.onState(({ note }) => {
      if (note.startsWith('Getting ready') && note !== ready.at(-1)) ready.push(note)
      else if (note.includes('Starting it again')) ready.push('lost')
    })
    await propose()
    await client.call('settings.set', { proposeAhead: 1 })
    await list()
    const note = 'Getting ready for questions about one.png'
    await until(() => ready.includes(note))
    await until(async () => (await client.call('images.list', {})).items[1]!.proposedAt !== null)
    await new Promise((resolve) => setTimeout(resolve, 600)) // nothing is left to do
    await codeOf(client.run('grounding.ask', { imageId, question: 'crash' }))
    await until(() => ready.at(-1) === note)
    expect(ready).toEqual([note, 'lost', note])
  })

  it('goes round an image that cannot be read', async () => {
    writeFileSync(join(bench.images, 'two.png'), 'broken now')
    await client.call('settings.set', { proposeAhead: 2 })
    await list()
    await until(async () => (await client.call('images.get', { id: imageId })).proposedAt !== null)
  })

  it('lets go of an image that a person proposes', async () => {
    await client.call('settings.set', { proposeAhead: 1 })
    await list()
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect((await propose()).proposed).toBe(3)
    expect(await list()).toHaveLength(3)
  })
})

describe('out', () => {
  it('exports what people accepted as COCO, and refuses to replace a file by itself', async () => {
    await propose()
    const rows = await list()
    await client.call('annotations.decide', { ids: [rows[0]!.id], decision: 'accept' })
    await client.call('annotations.decide', { ids: [rows[1]!.id], decision: 'reject' })
    const path = join(bench.root, 'out', 'coco.json')
    const report = await client.run('transfer.export', { path })
    expect(report).toMatchObject({ images: 3, annotations: 1, rejectedPath: expect.stringContaining('rejected') })
    expect(await codeOf(client.run('transfer.export', { path }))).toBe('ALREADY_EXISTS')
    expect((await client.run('transfer.export', { path, overwrite: true, status: 'all' })).annotations).toBe(2)
    expect(await codeOf(client.run('transfer.export', { path: '' }))).toBe('INVALID_INPUT')
    expect(await codeOf(client.run('transfer.export', { path: join(bench.images, 'one.png', 'x.json') }))).not.toBe(
      'done',
    )
  })
})

describe('pictures', () => {
  it('shows pictures upright, scaled once, the file itself where that will do', async () => {
    const whole = await bench.services.picture(imageId, null)
    expect(whole).toMatchObject({ path: join(bench.images, 'one.png'), contentType: 'image/png' })
    const small = await bench.services.picture(imageId, 64)
    expect(small.contentType).toBe('image/webp')
    expect(small.path).toContain(join('cache', 'images'))
    expect(small.etag).not.toBe(whole.etag)
    expect((await bench.services.picture(imageId, 64)).path).toBe(small.path)
    const turned = (await client.call('images.list', { filter: 'turned' })).items[0]!
    const { default: sharp } = await import('sharp')
    const upright = await bench.services.picture(turned.id, null)
    expect(upright.path).toContain(join('cache', 'images'))
    expect(await sharp(upright.path).metadata()).toMatchObject({ width: 60, height: 90 })
    expect(await sharp((await bench.services.picture(turned.id, 30)).path).metadata()).toMatchObject({
      width: 30,
      height: 45,
    })
    expect(await codeOf(bench.services.picture(999, null))).toBe('NOT_FOUND')
    writeFileSync(join(bench.images, 'one.png'), 'gone bad')
    expect(await codeOf(bench.services.picture(imageId, 100))).toBe('IMAGE_UNREADABLE')
  })
})
