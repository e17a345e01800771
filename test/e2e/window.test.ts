/** The window as it is checked from outside: roles and names, the pointer, the states of files, themes and languages. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Browser, Locator, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import type { Annotation, BboxXywh, Revision } from '../../db/records/records.ts'
import {
  currentId,
  launchChromium,
  regionRows,
  waitForRows,
  watchForErrors,
  withoutBrowser,
} from './support/browser.ts'
import { WEAK_WORDS } from './support/contrast.ts'
import { writeScenes } from './support/images.ts'
import { ensureWindowBuilt, type ServedApp, serve } from './support/server.ts'

const eventually = (read: () => unknown) => expect.poll(read, { timeout: 60_000, interval: 100 })
/** Two boxes of a person, far from each other and from the edges. */
const LEFT: BboxXywh = [100, 120, 120, 100]
const RIGHT: BboxXywh = [500, 200, 160, 140]

describe.skipIf(withoutBrowser())('the window', () => {
  const home = mkdtempSync(join(tmpdir(), 'gromatic-window-'))
  const folder = join(home, 'photos')
  let app: ServedApp
  let browser: Browser
  let page: Page
  let errors: string[]
  let imageId = 0
  let leftId = 0
  let rightId = 0
  let canvas: Locator

  const boxOf = async (id: number) =>
    ((await app.call('annotations.list', { imageId })) as Annotation[]).find((row) => row.id === id)?.bboxXywh
  /** By how many pixels a box is off; mouse events come in whole pixels of the screen. */
  const deviation = async (id: number, wanted: BboxXywh) => {
    const box = await boxOf(id)
    return box === undefined
      ? Number.POSITIVE_INFINITY
      : Math.max(...box.map((value, i) => Math.abs(value - wanted[i]!)))
  }
  const headSeq = async () => ((await app.call('project.current')) as { headSeq: number }).headSeq
  /** Where an image point is on the screen: the picture stands as `wholePicture` puts it. */
  const at = async (x: number, y: number): Promise<[number, number]> => {
    const frame = (await canvas.boundingBox())!
    const zoom = Math.min((frame.width - 92) / 800, (frame.height - 152) / 500, 4)
    const left = 64 + (frame.width - 92 - 800 * zoom) / 2
    const top = 28 + (frame.height - 152 - 500 * zoom) / 2
    return [frame.x + left + x * zoom, frame.y + top + y * zoom]
  }
  const drag = async (from: [number, number], to: [number, number]) => {
    await page.mouse.move(...(await at(...from)))
    await page.mouse.down()
    const [x, y] = await at(...to)
    await page.mouse.move(x - 5, y - 5, { steps: 4 })
    await page.mouse.move(x, y)
    await page.mouse.up()
  }

  beforeAll(async () => {
    ensureWindowBuilt()
    await writeScenes(folder, 3)
    app = await serve(home)
    await app.call('settings.set', { proposeAhead: 0, theme: 'light' })
    await app.call('project.openFolder', { path: folder })
    await vi.waitFor(async () => expect(((await app.call('images.list', {})) as { total: number }).total).toBe(3), {
      timeout: 60_000,
    })
    const { items } = (await app.call('images.list', {})) as { items: { id: number; width: number }[] }
    imageId = items.find(({ width }) => width === 800)!.id
    const create = async (bboxXywh: BboxXywh) =>
      ((await app.call('annotations.create', { imageId, bboxXywh })) as { annotation: Annotation }).annotation.id
    leftId = await create(LEFT)
    rightId = await create(RIGHT)
    browser = await launchChromium()
    page = await browser.newPage({ viewport: { width: 1280, height: 800 } })
    errors = watchForErrors(page)
    await page.goto(app.url)
    canvas = page.getByRole('region', { name: 'Canvas', exact: true })
    await page.locator(`[role="option"][data-id="${imageId}"]`).click()
    await waitForRows(page, (rows) => rows.length === 2)
  })
  afterAll(async () => {
    await browser?.close()
    await app?.stop()
    rmSync(home, { recursive: true, force: true })
  })

  it('has every name that stays, once', async () => {
    await page.keyboard.press('ArrowDown')
    const names = [
      ['listbox', 'Images'],
      ['region', 'Canvas'],
      ['list', 'Regions'],
      ['slider', 'Confidence'],
      ['textbox', 'Ask about the image'],
      ['log', 'Conversation'],
      ['button', 'Propose'],
      ['button', 'Accept'],
      ['button', 'Reject'],
      ['button', 'Undo'],
      ['button', 'Redo'],
      ['button', 'Export'],
      ['button', 'Accept 0'],
    ] as const
    for (const [role, name] of names) {
      expect(await page.getByRole(role, { name, exact: true }).count(), `${role} ${name}`).toBe(1)
    }
    expect(await page.getByRole('status').allTextContents()).toEqual(['Saved'])
    const option = page.locator(`[role="option"][data-id="${imageId}"]`)
    expect(await option.textContent()).toMatch(/^scene \d+ ü\.jpg 2 ✓$/)
    expect((await regionRows(page)).map(({ id, status }) => [id, status])).toEqual([
      [leftId, 'accepted'],
      [rightId, 'accepted'],
    ])
    await page.keyboard.press('Escape')
  })

  it('selects with a click, and lets go with a click beside', async () => {
    await page.mouse.click(...(await at(560, 260)))
    await eventually(() => currentId(page)).toBe(rightId)
    await page.mouse.click(...(await at(400, 60)))
    await eventually(() => currentId(page)).toBe(null)
  })

  it('moves a box with one drag, one revision', async () => {
    await page.mouse.click(...(await at(150, 170)))
    const before = await headSeq()
    await drag([160, 170], [200, 230])
    await eventually(() => deviation(leftId, [140, 180, 120, 100])).toBeLessThan(2)
    expect(await headSeq()).toBe(before + 1)
  })

  it('resizes at a handle and stops at the edge of the image', async () => {
    await drag([260, 280], [290, 300])
    await eventually(() => deviation(leftId, [140, 180, 150, 120])).toBeLessThan(2)
    await drag([140, 180], [-30, -20])
    await eventually(() => deviation(leftId, [0, 0, 290, 300])).toBeLessThan(2)
    await page.getByRole('button', { name: 'Undo', exact: true }).click()
    await eventually(() => deviation(leftId, [140, 180, 150, 120])).toBeLessThan(2)
  })

  it('draws with a drag and with two clicks; the tool stays', async () => {
    await page.getByRole('button', { name: 'Draw a box' }).click()
    await drag([400, 20], [460, 80])
    const rows = await waitForRows(page, (all) => all.length === 3)
    const first = rows.find(({ id }) => id !== leftId && id !== rightId)!.id
    expect(await deviation(first, [400, 20, 60, 60])).toBeLessThan(2)
    await page.mouse.click(...(await at(300, 400)))
    await page.mouse.move(...(await at(340, 440)))
    await page.mouse.click(...(await at(350, 460)))
    const four = await waitForRows(page, (all) => all.length === 4)
    const second = Math.max(...four.map(({ id }) => id))
    expect(await deviation(second, [300, 400, 50, 60])).toBeLessThan(2)
    await page.keyboard.press('Escape')
    for (const id of [second, first]) await app.call('annotations.delete', { ids: [id] })
    await waitForRows(page, (all) => all.length === 2)
  })

  it('keeps the keys on the picture after a click on a button', async () => {
    await page
      .getByRole('button', { name: 'Fit' })
      .or(page.getByRole('button', { name: 'Whole picture' }))
      .click()
    expect(await page.evaluate('document.activeElement?.getAttribute("aria-label")')).toBe('Canvas')
  })

  it('lights a row and its box from either side', async () => {
    await page.mouse.move(...(await at(580, 270)))
    await eventually(() => page.locator(`[data-id="${rightId}"].hovered`).count()).toBe(1)
    await page.mouse.move(2, 2)
    await eventually(() => page.locator('.region-row.hovered').count()).toBe(0)
  })

  it('zooms with the wheel and returns with 0', async () => {
    const zoom = () =>
      page
        .locator('.status-bar')
        .getByText(/^\d+ %$/)
        .textContent()
    const before = await zoom()
    await page.mouse.move(...(await at(400, 250)))
    await page.keyboard.down('Control')
    await page.mouse.wheel(0, -240)
    await page.keyboard.up('Control')
    await eventually(zoom).not.toBe(before)
    await page.keyboard.press('0')
    await eventually(zoom).toBe(before)
  })

  it('changes a class with the list and makes a new one', async () => {
    await page.mouse.click(...(await at(580, 270)))
    await eventually(() => currentId(page)).toBe(rightId)
    await page.keyboard.press('l')
    await page.keyboard.type('kite')
    await page.keyboard.press('Enter')
    await waitForRows(page, (rows) => rows.some((row) => row.id === rightId && row.text.includes('kite')))
    await page.mouse.click(...(await at(200, 230)))
    await eventually(() => currentId(page)).toBe(leftId)
    await page.keyboard.press('1')
    await waitForRows(page, (rows) => rows.every((row) => row.text.includes('kite')))
  })

  it('shows captions as text, whatever is in them', async () => {
    const caption = '<img src=x onerror="document.title=1"> & <b>bold</b>'
    const revision = (await app.call('annotations.update', { id: rightId, caption })) as Revision
    expect(revision.seq).toBeGreaterThan(0)
    await waitForRows(page, (rows) => rows.some((row) => row.text.includes(caption)))
    expect(await page.title()).toBe('Gromatic')
  })

  it.each(['light', 'dark'])('keeps every word apart from its ground, %s', async (theme) => {
    await app.call('settings.set', { theme })
    await eventually(() => page.evaluate('document.documentElement.dataset.theme')).toBe(theme)
    await app.call('annotations.decide', { ids: [rightId], decision: 'reset' })
    await page.getByRole('button', { name: 'Accept 1', exact: true }).waitFor()
    await page.getByRole('tab', { name: 'Info' }).click()
    await eventually(() => page.evaluate(WEAK_WORDS)).toEqual([])
    await page.getByRole('tab', { name: /Regions/ }).click()
    await eventually(() => page.evaluate(WEAK_WORDS)).toEqual([])
    await app.call('annotations.decide', { ids: [rightId], decision: 'accept' })
    await app.call('settings.set', { theme: 'light' })
    await eventually(() => page.evaluate('document.documentElement.dataset.theme')).toBe('light')
  })

  it('says that a file went missing and keeps the work on it', async () => {
    const { fileName } = (await app.call('images.get', { id: imageId })) as { fileName: string }
    rmSync(join(folder, fileName))
    await page.getByRole('button', { name: 'Menu' }).click()
    await page.getByRole('menuitem', { name: 'Look for new images' }).click()
    await page.getByText('This file is missing').first().waitFor()
    await eventually(() => page.locator(`[role="option"][data-id="${imageId}"]`).textContent()).toMatch(/missing$/)
    expect((await regionRows(page)).length).toBe(2)
    expect(await page.getByRole('button', { name: 'Propose', exact: true }).isDisabled()).toBe(true)
  })

  it('changes theme and language at once', async () => {
    const theme = () => page.evaluate('document.documentElement.dataset.theme')
    expect(await theme()).toBe('light')
    await app.call('settings.set', { theme: 'dark' })
    await eventually(theme).toBe('dark')
    await app.call('settings.set', { language: 'zh' })
    await page.getByRole('listbox', { name: '图片' }).waitFor()
    expect(await page.evaluate('document.documentElement.lang')).toBe('zh')
    await app.call('settings.set', { language: 'en' })
    await page.getByRole('listbox', { name: 'Images' }).waitFor()
  })

  it('makes the right column a drawer in a narrow window', async () => {
    await page.setViewportSize({ width: 1000, height: 700 })
    await eventually(() => page.getByRole('list', { name: 'Regions' }).count()).toBe(0)
    await page.keyboard.press('Control+j')
    await page.getByRole('list', { name: 'Regions' }).waitFor()
    await page.setViewportSize({ width: 1280, height: 800 })
    await page.getByRole('list', { name: 'Regions' }).waitFor()
  })

  it('closes the menu with Escape and leaves the region alone', async () => {
    await page.getByRole('list', { name: 'Regions' }).getByRole('listitem').first().click()
    const id = await currentId(page)
    await page.getByRole('button', { name: 'Menu' }).click()
    await page.getByRole('menu').waitFor()
    await page.keyboard.press('Escape')
    await page.getByRole('menu').waitFor({ state: 'hidden' })
    expect(await currentId(page)).toBe(id)
  })

  it('broke no rule of the content security policy', () => {
    // the pixels of the missing file are asked for and refused
    expect(errors.filter((error) => !error.includes('status of 4'))).toEqual([])
  })
})
