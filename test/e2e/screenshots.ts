/**
 * Takes the README's pictures from the running program: the samples, the demo model, both themes, two sizes.
 * `node test/e2e/screenshots.ts [FOLDER]` (default out/screenshots).
 */
import { cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import type { Page } from 'playwright-core'
import type { Annotation, ImageSummary } from '../../db/records/records.ts'
import { launchChromium } from './support/browser.ts'
import { writeScenes } from './support/images.ts'
import { ensureWindowBuilt, type ServedApp, serve } from './support/server.ts'

const SIZES = [
  [1280, 800],
  [2560, 1440],
] as const

/** Leaves the project as in the middle of a morning: two images done, one begun, some proposed, some new. */
async function work(app: ServedApp, images: readonly ImageSummary[]): Promise<number> {
  for (const image of images.slice(0, 10)) await app.call('grounding.propose', { imageId: image.id })
  const rowsOf = async (image: ImageSummary) =>
    (await app.call('annotations.list', { imageId: image.id })) as Annotation[]
  // the one to show: landscape, and with the most to see
  const wide = images.slice(0, 10).filter((image) => image.width > image.height * 1.2)
  const sizes = await Promise.all(wide.map(async (image) => ({ image, count: (await rowsOf(image)).length })))
  const shown = sizes.sort((a, b) => b.count - a.count)[0]?.image ?? images[0]!
  for (const [index, image] of [...images.filter((image) => image !== shown).slice(0, 3), shown].entries()) {
    const rows = await rowsOf(image)
    const good = rows.filter((row) => (row.modelScore ?? 0) >= 0.35).map((row) => row.id)
    if (index < 3) {
      await app.call('annotations.decide', { ids: good, decision: 'accept' })
      await app.call('images.setDone', { id: image.id, done: true })
    } else {
      await app.call('annotations.decide', { ids: good.slice(0, 2), decision: 'accept', elapsedMs: 900 })
      const edited = rows.find((row) => row.id === good[2])
      if (edited === undefined) continue
      const [x, y, width, height] = edited.bboxXywh
      await app.call('annotations.update', { id: edited.id, bboxXywh: [x, y, width, height + 1], elapsedMs: 2100 })
    }
  }
  await app.call('grounding.ask', { imageId: shown.id, question: 'Describe the image.' })
  return shown.id
}

async function take(page: Page, app: ServedApp, imageId: number, folder: string): Promise<void> {
  for (const theme of ['dark', 'light'] as const) {
    await app.call('settings.set', { theme })
    for (const [width, height] of SIZES) {
      await page.setViewportSize({ width, height })
      await page.goto('about:blank')
      await page.goto(app.url)
      await page.locator(`[role="option"][data-id="${imageId}"]`).click()
      await page.getByRole('list', { name: 'Regions' }).getByRole('listitem').first().waitFor()
      await page.waitForTimeout(800) // the picture's pixels
      await page.mouse.move(2, 2)
      await page.screenshot({ path: join(folder, `workspace-${theme}-${width}x${height}.png`) })
    }
  }
}

const folder = resolve(process.argv[2] ?? 'out/screenshots')
mkdirSync(folder, { recursive: true })
ensureWindowBuilt()
const home = mkdtempSync(join(tmpdir(), 'gromatic-shots-'))
const photos = join(home, 'street shapes')
const samples = resolve(import.meta.dirname, '../../native-models/demo/samples')
try {
  cpSync(samples, photos, { recursive: true, filter: (path) => !path.endsWith('.json') })
} catch {
  await writeScenes(photos, 12)
}
const app = await serve(home, ['--images', photos])
const browser = await launchChromium()
try {
  await app.call('settings.set', { proposeAhead: 0 })
  const { items } = (await app.call('images.list', { limit: 50 })) as { items: ImageSummary[] }
  const imageId = await work(app, items)
  const page = await browser.newPage()
  await take(page, app, imageId, folder)
  process.stdout.write(`${folder}\n`)
} finally {
  await browser.close()
  await app.stop()
  rmSync(home, { recursive: true, force: true })
}
