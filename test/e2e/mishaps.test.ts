/** What goes wrong in a working day: keys in the middle of a drag, files replaced underneath, a server that is started anew. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Browser, Locator, Page } from 'playwright-core'
import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import type { Annotation, BboxXywh, ImageRecord } from '../../db/records/records.ts'
import { currentId, launchChromium, waitForRows, withoutBrowser } from './support/browser.ts'
import { writeScenes } from './support/images.ts'
import { ensureWindowBuilt, type ServedApp, serve } from './support/server.ts'

const eventually = (read: () => unknown) => expect.poll(read, { timeout: 30_000, interval: 50 })
const SIDE = 400
const LEFT: BboxXywh = [40, 40, 80, 80]
const RIGHT: BboxXywh = [240, 240, 80, 80]

describe.skipIf(withoutBrowser())('mishaps', () => {
  const home = mkdtempSync(join(tmpdir(), 'gromatic-mishaps-'))
  const folder = join(home, 'photos')
  let app: ServedApp
  let browser: Browser
  let page: Page
  let canvas: Locator
  let image: ImageRecord
  let leftId = 0
  let rightId = 0

  const paint = (background: string, comment = 'first') =>
    sharp({ create: { width: SIDE, height: SIDE, channels: 3, background } })
      .withExif({ IFD0: { ImageDescription: comment } })
      .png()
      .toFile(join(folder, 'a plain.png'))
  const rows = async () => (await app.call('annotations.list', { imageId: image.id })) as Annotation[]
  const boxOf = async (id: number) => (await rows()).find((row) => row.id === id)?.bboxXywh
  const captionOf = async (id: number) => (await rows()).find((row) => row.id === id)?.caption
  /** Where a point of the image is on the screen, as `wholePicture` puts it. */
  const at = async (x: number, y: number): Promise<[number, number]> => {
    const frame = (await canvas.boundingBox())!
    const zoom = Math.min((frame.width - 92) / SIDE, (frame.height - 152) / SIDE, 4)
    const left = 64 + (frame.width - 92 - SIDE * zoom) / 2
    const top = 28 + (frame.height - 152 - SIDE * zoom) / 2
    return [frame.x + left + x * zoom, frame.y + top + y * zoom]
  }
  /** The colour on the screen at a point of the image. */
  const pixel = async () => {
    const [x, y] = await at(200, 140)
    const shot = await page.screenshot({ clip: { x, y, width: 1, height: 1 } })
    return [...(await sharp(shot).removeAlpha().raw().toBuffer())]
  }
  const focused = () => page.evaluate('document.activeElement?.getAttribute("aria-label")')
  const select = async (id: number) => {
    await page.locator(`.region-row[data-id="${id}"]`).click()
    await eventually(() => currentId(page)).toBe(id)
  }
  const caption = async (id: number, text: string) => {
    await select(id)
    await page.keyboard.press('c')
    await page.keyboard.type(text)
  }
  const openImage = async () => {
    await page.locator(`[role="option"][data-id="${image.id}"]`).click()
    await waitForRows(page, (all) => all.some(({ id }) => id === leftId) && all.some(({ id }) => id === rightId))
  }

  beforeAll(async () => {
    ensureWindowBuilt()
    await writeScenes(folder, 3)
    await paint('#406080')
    app = await serve(home)
    await app.call('settings.set', { proposeAhead: 0 })
    await app.call('project.openFolder', { path: folder })
    await vi.waitFor(async () => expect(((await app.call('images.list')) as { total: number }).total).toBe(4), 30_000)
    image = ((await app.call('images.list')) as { items: ImageRecord[] }).items.find(
      ({ fileName }) => fileName === 'a plain.png',
    )!
    const create = async (bboxXywh: BboxXywh) =>
      ((await app.call('annotations.create', { imageId: image.id, bboxXywh })) as { annotation: Annotation }).annotation
        .id
    leftId = await create(LEFT)
    rightId = await create(RIGHT)
    browser = await launchChromium()
    page = await browser.newPage({ viewport: { width: 1280, height: 800 } })
    await page.goto(app.url)
    canvas = page.getByRole('region', { name: 'Canvas', exact: true })
    await openImage()
  })
  afterAll(async () => {
    await browser?.close()
    await app?.stop()
    rmSync(home, { recursive: true, force: true })
  })

  it('a key in the middle of a drag moves neither the box that is left nor the one that is gone to', async () => {
    await select(leftId)
    await page.mouse.move(...(await at(80, 80)))
    await page.mouse.down()
    await page.mouse.move(...(await at(120, 120)), { steps: 4 })
    await page.keyboard.press('ArrowDown')
    await eventually(() => currentId(page)).toBe(rightId)
    await page.mouse.move(...(await at(160, 160)), { steps: 4 })
    await page.mouse.up()
    await page.keyboard.press('e') // a command that the services would answer after any change of the drag
    await page.keyboard.press('Escape')
    await app.call('project.current')
    expect(await boxOf(leftId)).toEqual(LEFT)
    expect(await boxOf(rightId)).toEqual(RIGHT)
    // and the next drag is an ordinary one
    await page.mouse.move(...(await at(280, 280)))
    await page.mouse.down()
    await page.mouse.move(...(await at(300, 300)), { steps: 4 })
    await page.mouse.up()
    await eventually(async () => Math.round((await boxOf(rightId))![0] / 10)).toBe(26)
    await page.keyboard.press('Backspace')
    await eventually(() => boxOf(rightId)).toEqual(RIGHT)
  })

  it('keeps a caption that is left with a click, and not one that is left with Escape', async () => {
    await caption(leftId, 'kept by a click')
    await page.locator(`.region-row[data-id="${rightId}"]`).click()
    await eventually(() => captionOf(leftId)).toBe('kept by a click')
    expect(await currentId(page)).toBe(rightId)
    await caption(leftId, 'thrown away')
    await page.keyboard.press('Escape')
    await caption(rightId, 'kept with Enter')
    await page.keyboard.press('Enter')
    await eventually(() => captionOf(rightId)).toBe('kept with Enter')
    expect(await captionOf(leftId)).toBe('kept by a click')
  })

  it('gives the focus back to the picture when the region under the caption is deleted elsewhere', async () => {
    const made = (await app.call('annotations.create', { imageId: image.id, bboxXywh: [150, 20, 40, 40] })) as {
      annotation: Annotation
    }
    await waitForRows(page, (all) => all.length === 3)
    await caption(made.annotation.id, 'of nothing')
    await app.call('annotations.delete', { ids: [made.annotation.id] })
    await waitForRows(page, (all) => all.length === 2)
    await eventually(focused).toBe('Canvas')
  })

  it('keeps a box moved with keys that is left for another region, and not with Escape', async () => {
    const nudge = async (id: number) => {
      await select(id)
      await page.keyboard.press('e')
      for (let press = 0; press < 5; press++) await page.keyboard.press('ArrowRight')
    }
    await nudge(leftId)
    await page.keyboard.press('Escape')
    await nudge(rightId)
    await page.keyboard.press('e') // once more changes nothing
    await page.locator(`.region-row[data-id="${leftId}"]`).click()
    await eventually(async () => (await boxOf(rightId))![0]).toBe(RIGHT[0] + 5)
    expect(await boxOf(leftId)).toEqual(LEFT)
    await nudge(rightId)
    await page.keyboard.press(']')
    await eventually(async () => (await boxOf(rightId))![0]).toBe(RIGHT[0] + 10)
    await page.keyboard.press('[')
    await waitForRows(page, (all) => all.length === 2)
    for (let step = 0; step < 2; step++) await page.keyboard.press('Backspace')
    await eventually(() => boxOf(rightId)).toEqual(RIGHT)
  })

  it('keeps the names of classes apart in the list, however long they are', async () => {
    await app.call('categories.create', { name: 'a name that goes on and on '.repeat(4).trim() })
    await app.call('categories.create', { name: 'short' })
    await select(leftId)
    await page.keyboard.press('l')
    const options = page.locator('.combo-option')
    await eventually(() => options.count()).toBe(2)
    const heights = await options.evaluateAll((all: { scrollHeight: number }[]) => all.map((one) => one.scrollHeight))
    expect(Math.max(...heights)).toBe(26)
    await page.keyboard.press('Escape')
  })

  it('leaves a class renamed with Enter to the keys of the picture', async () => {
    await app.call('categories.create', { name: 'kite' })
    await page.getByRole('tab', { name: 'Info' }).click()
    await page.getByRole('textbox', { name: 'Rename kite' }).fill('dragon')
    await page.keyboard.press('Enter')
    await eventually(focused).toBe('Canvas')
    await page.getByRole('textbox', { name: 'Rename dragon' }).waitFor()
    await page.getByRole('tab', { name: /Regions/ }).click()
  })

  it('shows another picture once the file is another, and the model has seen it', async () => {
    await page.keyboard.press('Escape')
    await page.mouse.move(2, 2)
    await eventually(pixel).toEqual([0x40, 0x60, 0x80])
    await paint('#b02010', 'another number of bytes')
    await page.keyboard.press('p')
    await eventually(pixel).toEqual([0xb0, 0x20, 0x10])
    expect(await boxOf(leftId)).toEqual(LEFT)
    // without the model: when one comes back to it
    await page.keyboard.press(']')
    await paint('#10a040', 'and once more another one')
    await page.keyboard.press('[')
    await waitForRows(page, (all) => all.some(({ id }) => id === leftId))
    await page.keyboard.press('Escape')
    await eventually(pixel).toEqual([0x10, 0xa0, 0x40])
  })

  it('reaches every part with Tab, and goes on typing after a chip of the talk was pressed', async () => {
    await select(leftId)
    await page.getByRole('button', { name: 'About this region' }).click()
    expect(await focused()).toBe('Ask about the image')
    const reached = new Set<unknown>()
    for (let press = 0; press < 80; press++) {
      reached.add(
        await page.evaluate(
          'document.activeElement?.getAttribute("aria-label") ?? document.activeElement?.textContent',
        ),
      )
      await page.keyboard.press('Tab')
    }
    expect([...reached]).toEqual(
      expect.arrayContaining(['Export', 'Menu', 'Filter images', 'Images', 'Canvas', 'Draw a box']),
    )
  })

  it('goes on after a reload where it was, in each tab', async () => {
    const opened = (tab: Page) => tab.locator('[role="option"][aria-selected="true"]').textContent()
    const other = await browser.newPage()
    await other.goto(app.url)
    await other.getByRole('option').nth(1).click()
    await page.getByRole('option').nth(3).click()
    const [here, there] = [await opened(page), await opened(other)]
    expect(here).not.toBe(there)
    await other.reload()
    await eventually(() => opened(other)).toBe(there)
    await other.close()
    await page.reload()
    await eventually(() => opened(page)).toBe(here)
  })

  it('names the key that reopens the last image, and Enter goes on from one that is done', async () => {
    const { items } = (await app.call('images.list')) as { items: ImageRecord[] }
    for (const { id } of items) await app.call('images.setDone', { id, done: true })
    const bar = page.locator('.decision-bar')
    await page.getByRole('option').nth(1).click()
    await eventually(() => bar.getByRole('button', { name: 'Not done yet' }).textContent()).toBe('MNot done yet')
    await app.call('images.setDone', { id: items[3]!.id, done: false })
    await eventually(() => bar.getByRole('button', { name: 'Next image' }).textContent()).toBe('↵Next image')
    await page.keyboard.press('Enter')
    await eventually(() => page.locator('[role="option"][aria-selected="true"]').getAttribute('data-id')).toBe(
      String(items[3]!.id),
    )
  })

  it('says that a picture cannot be shown on an empty plate', async () => {
    await page.route(/images\/\d+\?v=/, (route) => route.abort())
    await page.reload()
    await openImage()
    await page.keyboard.press('Escape')
    await page.getByText('The picture cannot be shown').waitFor()
    const plate = await page.evaluate(
      `getComputedStyle(document.querySelector('.canvas-host')).getPropertyValue('--raised').trim()`,
    )
    await eventually(async () => `#${Buffer.from(await pixel()).toString('hex')}`).toBe(plate)
    await page.unroute(/images\/\d+\?v=/)
  })

  it('is found again by the address of a new start, in the same tab; nothing accepted is lost', async () => {
    await page.reload()
    await openImage()
    const port = new URL(app.url).port
    const project = ((await app.call('project.current')) as { path: string }).path
    await app.kill()
    await page.getByText('The connection to Gromatic is lost').waitFor()
    await caption(leftId, 'written without a server')
    await page.keyboard.press('Enter')
    await eventually(() => page.locator('.status-bar').textContent()).toContain('Not connected')
    await page.keyboard.press('c')
    expect(await page.getByRole('textbox', { name: 'Caption' }).inputValue()).toBe('written without a server')
    await page.keyboard.press('Escape')
    app = await serve(home, ['--port', port, '--project', project])
    await page.getByText('Gromatic was started anew').waitFor()
    await page.evaluate(`location.href = ${JSON.stringify(app.url)}`)
    await openImage()
    expect(page.url()).not.toContain('token')
    const states = new Map((await rows()).map(({ id, status }) => [id, status]))
    expect([states.get(leftId), states.get(rightId)]).toEqual(['accepted', 'accepted'])
    expect(await captionOf(leftId)).toBe('kept by a click')
  })
})
