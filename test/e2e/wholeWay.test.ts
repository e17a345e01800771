/**
 * The annotator's whole way with the keyboard alone, in a real browser, against the real served mode and the demo
 * model: open, propose, accept, edit a box and a caption, reject, draw, ask, undo, restart, export.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Annotation } from '../../db/records/records.ts'
import {
  currentId,
  launchChromium,
  regionRows,
  waitForRows,
  watchForErrors,
  withoutBrowser,
} from './support/browser.ts'
import { writeScenes } from './support/images.ts'
import { ensureWindowBuilt, type ServedApp, serve } from './support/server.ts'

/** The machine may be busy with other things: what is waited for is that it happens. */
const eventually = (read: () => unknown) => expect.poll(read, { timeout: 90_000, interval: 100 })
const DRAWN_CAPTION = 'a box that a person drew'
const EDITED_CAPTION = 'a caption from a person, ½ übung 中文'

describe.skipIf(withoutBrowser())('the whole way with the keyboard', () => {
  const home = mkdtempSync(join(tmpdir(), 'gromatic-e2e-'))
  const folder = join(home, 'my photos')
  let app: ServedApp
  let browser: Browser
  let page: Page
  let errors: string[]
  let imageId = 0
  let project = ''
  const press = async (...keys: string[]) => {
    for (const key of keys) await page.keyboard.press(key)
  }
  const times = (key: string, count: number) => press(...Array<string>(count).fill(key))
  const annotations = async () => (await app.call('annotations.list', { imageId })) as Annotation[]
  const saved = () =>
    page
      .getByRole('status')
      .filter({ hasText: /^Saved$/ })
      .waitFor()

  beforeAll(async () => {
    ensureWindowBuilt()
    await writeScenes(folder, 4)
    app = await serve(home)
    await app.call('settings.set', { proposeAhead: 0, theme: 'dark' })
    browser = await launchChromium()
    page = await browser.newPage({ viewport: { width: 1280, height: 800 } })
    errors = watchForErrors(page)
  })
  afterAll(async () => {
    await browser?.close()
    await app?.stop()
    rmSync(home, { recursive: true, force: true })
  })

  it('opens a folder', async () => {
    await page.goto(app.url)
    await page.getByRole('button', { name: 'Open a folder' }).waitFor()
    expect(new URL(page.url()).hash).toBe('') // the token does not stay in the address bar
    await press('Control+o')
    const path = page.getByRole('textbox', { name: 'Path' })
    await path.waitFor()
    await eventually(() => path.inputValue()).not.toBe('')
    await press('Control+a')
    await page.keyboard.type(folder)
    await press('Enter')
    await page.getByText('5 images').or(page.getByText('4 images')).waitFor()
    await press('Enter')
    const images = page.getByRole('listbox', { name: 'Images' }).getByRole('option')
    await eventually(() => images.count()).toBe(4)
    await page.getByText('2 files skipped').waitFor()
    imageId = Number(await images.first().getAttribute('data-id'))
    project = ((await app.call('project.current')) as { path: string }).path
    expect(await page.evaluate('document.activeElement?.getAttribute("aria-label")')).toBe('Canvas')
  })

  it('proposes regions with captions', async () => {
    await eventually(async () => ((await app.call('engine.state')) as { status: string }).status).toMatch(/ready/)
    await press('p')
    const rows = await waitForRows(page, (all) => all.length >= 3, 120_000)
    await page.getByRole('button', { name: 'Propose', exact: true, disabled: false }).waitFor({ timeout: 120_000 })
    expect(rows.every((row) => row.status === 'proposed')).toBe(true)
    for (const region of await annotations()) expect(region.caption).toMatch(/\S/)
  })

  it('counts what the slider would accept', async () => {
    await times(',', 100)
    const slider = page.getByRole('slider', { name: 'Confidence' })
    expect(await slider.inputValue()).toBe('0')
    const all = (await annotations()).length
    await page.getByRole('button', { name: `Accept ${all}`, exact: true }).waitFor()
    const scores = (await annotations()).map((region) => region.modelScore ?? 1)
    await times('.', 50)
    const above = scores.filter((score) => score >= 0.5).length
    await page.getByRole('button', { name: `Accept ${above}`, exact: true }).waitFor()
    await times(',', 50)
  })

  it('accepts with Enter and goes on', async () => {
    if ((await currentId(page)) === null) await press('ArrowDown')
    const first = await currentId(page)
    await press('Enter')
    await waitForRows(page, (rows) => rows.find((row) => row.id === first)?.status === 'accepted')
    await saved()
    expect(await currentId(page)).not.toBe(first)
    const decided = (await annotations()).find((region) => region.id === first)
    expect(decided?.decisionMs).toBeGreaterThan(0)
  })

  it('edits a box and a caption', async () => {
    const id = await currentId(page)
    const before = (await annotations()).find((region) => region.id === id)!
    await press('e', 'ArrowLeft', 'ArrowLeft', 'ArrowUp', 'Alt+ArrowRight', 'Alt+ArrowRight', 'Alt+ArrowRight', 'Enter')
    await waitForRows(page, (rows) => rows.find((row) => row.id === id)?.status === 'edited')
    const moved = (await annotations()).find((region) => region.id === id)!
    expect(moved.bboxXywh[0]).toBeCloseTo(Math.max(0, before.bboxXywh[0] - 2), 1)
    expect(moved.bboxXywh[1]).toBeCloseTo(Math.max(0, before.bboxXywh[1] - 1), 1)
    expect(moved.bboxXywh[2]).toBeCloseTo(before.bboxXywh[2] + 3, 1)
    expect(moved.modelBboxXywh).toEqual(before.modelBboxXywh)
    await press('c')
    await page.keyboard.type(EDITED_CAPTION)
    await press('Enter')
    await waitForRows(page, (rows) => rows.some((row) => row.id === id && row.text.includes(EDITED_CAPTION)))
    await saved()
  })

  it('rejects, takes it back, and rejects again', async () => {
    await press('Space')
    const id = await currentId(page)
    await press('x')
    await waitForRows(page, (rows) => rows.find((row) => row.id === id)?.status === 'rejected')
    await press('Backspace')
    await waitForRows(page, (rows) => rows.find((row) => row.id === id)?.status === 'proposed')
    expect(await currentId(page)).toBe(id)
    await press('Control+Shift+z')
    await waitForRows(page, (rows) => rows.find((row) => row.id === id)?.status === 'rejected')
    await saved()
  })

  it('draws a box between two corners', async () => {
    const before = await regionRows(page)
    await press('d')
    await times('Shift+ArrowUp', 4)
    await times('Shift+ArrowLeft', 6)
    await press('Enter')
    await times('Shift+ArrowRight', 9)
    await times('Shift+ArrowDown', 7)
    await press('Enter')
    const rows = await waitForRows(page, (all) => all.length === before.length + 1)
    const drawn = rows.find((row) => !before.some((old) => old.id === row.id))!
    expect(drawn.status).toBe('accepted')
    expect(await currentId(page)).toBe(drawn.id)
    const box = (await annotations()).find((region) => region.id === drawn.id)!
    expect(box.provenance).toBe('human')
    expect(box.bboxXywh.slice(2)).toEqual([90, 70])
    // the model writes a caption into it; then a person writes a better one
    await eventually(async () => (await annotations()).find((region) => region.id === drawn.id)?.caption).toMatch(/\S/)
    await press('Escape', 'c')
    await page.keyboard.type(DRAWN_CAPTION)
    await press('Enter')
    await waitForRows(page, (all) => all.some((row) => row.id === drawn.id && row.text.includes(DRAWN_CAPTION)))
  })

  it('asks, and the answer points at boxes', async () => {
    await press('t')
    await page.keyboard.type('Describe the image.')
    await press('Enter')
    const log = page.getByRole('log', { name: 'Conversation' })
    await log.getByText('Describe the image.').waitFor()
    await eventually(async () => ((await app.call('messages.list', { imageId })) as unknown[]).length).toBe(2)
    const phrases = log.getByRole('link')
    await phrases.first().waitFor()
    expect(await phrases.first().getAttribute('data-regions')).toMatch(/^\d+( \d+)*$/)
    await press('Escape')
    expect(await page.evaluate('document.activeElement?.getAttribute("aria-label")')).toBe('Canvas')
  })

  it('accepts the rest with one key, one undo', async () => {
    const left = (await regionRows(page)).filter((row) => row.status === 'proposed').length
    if (left > 0) {
      await press('Shift+Enter')
      await waitForRows(page, (rows) => rows.every((row) => row.status !== 'proposed'))
      await press('Backspace')
      await waitForRows(page, (rows) => rows.filter((row) => row.status === 'proposed').length === left)
      await press('Shift+Enter')
      await waitForRows(page, (rows) => rows.every((row) => row.status !== 'proposed'))
    }
    await page.getByRole('button', { name: 'Accept 0', exact: true }).waitFor()
    await saved()
  })

  it('has everything after a restart', async () => {
    const before = await regionRows(page)
    const talk = await page.getByRole('log').textContent()
    await app.stop()
    await page.getByRole('alert').first().waitFor() // the window says that the connection is lost
    app = await serve(home, ['--project', project])
    await page.goto(app.url)
    await page.getByRole('option').first().waitFor()
    await page.getByRole('option', { selected: true }).waitFor()
    await press('PageUp') // it opened at the first image that is not done
    await eventually(() => page.getByRole('option', { selected: true }).getAttribute('data-id')).toBe(String(imageId))
    const after = await waitForRows(page, (rows) => rows.length === before.length)
    expect(new Set(after.map((row) => JSON.stringify(row)))).toEqual(new Set(before.map((row) => JSON.stringify(row))))
    await eventually(() => page.getByRole('log').textContent()).toBe(talk)
  })

  it('still undoes after the restart', async () => {
    const before = await regionRows(page)
    await press('Backspace')
    await waitForRows(page, (rows) => JSON.stringify(rows) !== JSON.stringify(before))
    await press('Control+y')
    await waitForRows(
      page,
      (rows) => JSON.stringify(rows.map((r) => r.status).sort()) === JSON.stringify(before.map((r) => r.status).sort()),
    )
    await saved()
  })

  it('exports COCO', async () => {
    const out = join(home, 'coco out', 'annotations')
    const file = join(out, 'instances_train.json')
    await press('Control+e')
    await page.getByRole('textbox', { name: 'File to write' }).waitFor()
    await press('Control+a')
    await page.keyboard.type(file)
    await press('Enter')
    await page.getByRole('dialog', { name: 'Written' }).waitFor({ timeout: 60_000 })
    await press('Escape')
    const kept = (await annotations()).filter(({ status }) => status === 'accepted' || status === 'edited')
    const coco = JSON.parse(readFileSync(file, 'utf8'))
    expect(coco.images).toHaveLength(4)
    expect(coco.images.map((image: { file_name: string }) => image.file_name)).toContain('scene 000 ü.jpg')
    expect(coco.annotations).toHaveLength(kept.length)
    const ids = coco.annotations.map(({ id }: { id: number }) => id)
    expect(new Set(ids).size).toBe(kept.length)
    expect(Math.min(...ids)).toBeGreaterThanOrEqual(1)
    for (const row of coco.annotations) {
      expect(row.area).toBeCloseTo(row.bbox[2] * row.bbox[3], 3)
      expect(row.iscrowd).toBe(0)
      expect(coco.categories.some(({ id }: { id: number }) => id === row.category_id)).toBe(true)
    }
    const text = JSON.stringify(coco)
    expect(text).toContain(DRAWN_CAPTION)
    expect(text).toContain(EDITED_CAPTION)
    const rejected = (await annotations()).filter(({ status }) => status === 'rejected').length
    const jsonl = readFileSync(join(out, 'instances_train.rejected.jsonl'), 'utf8')
    expect(jsonl.trim().split('\n')).toHaveLength(rejected)
  })

  it('raised no error in the browser', () => {
    // the restart is meant to be noticed
    expect(errors.filter((error) => !error.includes('ERR_CONNECTION'))).toEqual([])
  })
})
