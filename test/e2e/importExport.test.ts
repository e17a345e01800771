/**
 * Data in and out with the keyboard alone, in a real browser: a COCO file with a bad row, a missing image and an image
 * that has a person's box already comes in through the wizard, shows, is taken back, comes in again, and leaves as CSV.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import type { Annotation, ImageSummary } from '../../db/records/records.ts'
import { launchChromium, regionRows, waitForRows, watchForErrors, withoutBrowser } from './support/browser.ts'
import { cocoFile } from './support/coco.ts'
import { writeScenes } from './support/images.ts'
import { ensureWindowBuilt, type ServedApp, serve } from './support/server.ts'

const eventually = (read: () => unknown) => expect.poll(read, { timeout: 40_000, interval: 50 })

describe.skipIf(withoutBrowser())('import and export with the keyboard', () => {
  const home = mkdtempSync(join(tmpdir(), 'gromatic-import-'))
  const folder = join(home, 'photos')
  const file = join(home, 'labels ü', 'instances.json')
  let app: ServedApp
  let browser: Browser
  let page: Page
  let errors: string[]
  let images: ImageSummary[]
  let humanId = 0

  const press = async (...keys: string[]) => {
    for (const key of keys) await page.keyboard.press(key)
  }
  const dialog = (name: string) => page.getByRole('dialog', { name, exact: true })
  const step = async (name: string) => {
    await page.locator('[aria-current="step"]', { hasText: name }).waitFor()
    await eventually(() => page.getByRole('progressbar', { name: 'Reading…' }).count()).toBe(0)
  }
  const focused = () =>
    page.evaluate('document.activeElement?.labels?.[0]?.textContent ?? document.activeElement?.textContent')
  const annotations = async (imageId: number) => (await app.call('annotations.list', { imageId })) as Annotation[]

  beforeAll(async () => {
    ensureWindowBuilt()
    await writeScenes(folder, 3)
    app = await serve(home)
    await app.call('settings.set', { proposeAhead: 0, theme: 'dark' })
    await app.call('project.openFolder', { path: folder })
    await vi.waitFor(
      async () => {
        images = ((await app.call('images.list', {})) as { items: ImageSummary[] }).items
        expect(images).toHaveLength(3)
      },
      { timeout: 60_000 },
    )
    const made = await app.call('annotations.create', { imageId: images[0]!.id, bboxXywh: [5, 6, 40, 50] })
    humanId = (made as { annotation: Annotation }).annotation.id
    await app.call('categories.create', { name: 'Circle' })
    mkdirSync(join(file, '..'))
    writeFileSync(file, cocoFile(images))
    browser = await launchChromium()
    page = await browser.newPage({ viewport: { width: 1280, height: 800 } })
    errors = watchForErrors(page)
    await page.goto(app.url)
    await waitForRows(page, (rows) => rows.length === 1)
  })
  afterAll(async () => {
    await browser?.close()
    await app?.stop()
    rmSync(home, { recursive: true, force: true })
  })

  async function walkTo(chosen: 'add' | 'skip'): Promise<void> {
    await press('Control+i')
    const path = dialog('Import').getByRole('textbox', { name: 'Path' })
    await path.waitFor()
    await eventually(() => path.inputValue()).not.toBe('')
    await press('Control+a')
    await page.keyboard.type(file)
    await press('Enter')
    await step('Preview')
    await press('Enter') // the bad row is in the way: it goes there
    await eventually(focused).toBe('Leave these rows out and import the rest')
    await press('Space', 'Enter')
    await eventually(focused).toBe('Leave them and their annotations out')
    await press('Space', 'Enter')
    await step('Classes')
    await press('Enter')
    await step('Conflicts')
    await eventually(focused).toBe('Put the new ones beside them')
    await press(chosen === 'add' ? 'Space' : 'ArrowDown', 'Enter')
    await step('Import')
  }

  it('says what it would do, and asks about everything that is open', async () => {
    const before = ((await app.call('project.current')) as { headSeq: number }).headSeq
    await press('Control+i')
    await dialog('Import').waitFor()
    await press('Enter')
    await page.getByText('looks like none that is known').waitFor()
    await press('Escape')
    await walkTo('add')
    const text = await dialog('Import').textContent()
    expect(text).toContain('5 annotations added')
    expect(text).toContain('New classes: wheel')
    expect(text).toContain('circle → Circle')
    expect(text).toContain('1 row left out')
    expect(((await app.call('project.current')) as { headSeq: number }).headSeq).toBe(before)
    expect(await page.evaluate('document.activeElement?.textContent')).toBe('Import 5 annotations')
  })

  it('imports, shows the boxes and keeps what a person did', async () => {
    await press('Enter')
    await dialog('Imported').waitFor()
    await press('Enter') // Close
    await dialog('Imported').waitFor({ state: 'hidden' })
    expect(await page.evaluate('document.activeElement?.getAttribute("aria-label")')).toBe('Canvas')
    const rows = await waitForRows(page, (all) => all.length === 3)
    expect(rows.filter(({ text }) => text.includes('Circle'))).toHaveLength(1)
    expect(rows.find(({ id }) => id === humanId)?.status).toBe('accepted')
    expect((await annotations(images[0]!.id)).map(({ provenance }) => provenance).sort()).toEqual([
      'human',
      'import',
      'import',
    ])
    expect(await annotations(images[1]!.id)).toHaveLength(3)
    await page.getByText('Undo: Import instances.json').waitFor()
  })

  it('is taken back with one undo', async () => {
    await press('Backspace')
    expect((await waitForRows(page, (rows) => rows.length === 1))[0]?.id).toBe(humanId)
    expect(await annotations(images[1]!.id)).toEqual([])
  })

  it('leaves images alone that have annotations, and undoes from the report', async () => {
    await walkTo('skip')
    await press('Enter')
    await dialog('Imported').waitFor()
    expect(await dialog('Imported').textContent()).toContain('3 annotations added')
    expect(await regionRows(page)).toHaveLength(1)
    expect(await annotations(images[1]!.id)).toHaveLength(3)
    await press('Shift+Tab', 'Shift+Tab')
    await eventually(focused).toBe('Undo this import')
    await press('Enter')
    await page.getByText('Taken back.').waitFor()
    expect(await annotations(images[1]!.id)).toEqual([])
    await press('Escape')
  })

  it('exports as another format and remembers it', async () => {
    const out = join(home, 'out', 'work.csv')
    await press('Control+e')
    const path = page.getByRole('textbox', { name: 'File to write' })
    await path.waitFor()
    const format = page.getByRole('combobox', { name: 'Format' })
    await eventually(() => format.inputValue()).toBe('coco') // the formats are there
    await press('Shift+Tab')
    await page.keyboard.type('CSV')
    await eventually(() => path.inputValue()).toMatch(/photos-csv\.csv$/)
    await press('Tab', 'Control+a')
    await page.keyboard.type(out)
    await press('Enter')
    await dialog('Written').waitFor()
    await press('Escape')
    const lines = readFileSync(out, 'utf8').trim().split(/\r?\n/)
    expect(lines.filter((line) => line.includes('scene 000 ü.jpg'))).toHaveLength(1)
    await press('Control+e')
    await eventually(() => format.inputValue()).toBe('csv')
    await press('Escape')
  })

  it('says where a browser cannot know a dropped file', async () => {
    await page.evaluate(`{
      const data = new DataTransfer()
      data.items.add(new File(['{}'], 'instances.json'))
      for (const type of ['dragenter', 'drop']) document.body.dispatchEvent(new DragEvent(type, { bubbles: true, dataTransfer: data }))
    }`)
    await page.getByText('A browser does not tell where “instances.json” lies').waitFor()
    await press('Escape')
  })

  it('raised no error in the browser', () => expect(errors).toEqual([]))
})
