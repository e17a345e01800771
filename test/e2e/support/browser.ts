/** A real chromium, and the few things the tests ask of the window by role and name. */
import { existsSync } from 'node:fs'
import { type Browser, chromium, type Page } from 'playwright-core'

const PLACES = [
  process.env.CHROMIUM_PATH,
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
  '/usr/bin/google-chrome-stable',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
  '/Applications/Chromium.app/Contents/MacOS/Chromium',
  'C:\\Program Files\\Google\\Chrome\\Application\\chrome.exe',
]

/** The browser's path, or null where there is none. */
export const chromiumPath = (): string | null => PLACES.find((path) => path !== undefined && existsSync(path)) ?? null

/**
 * Whether the browser tests are left out: only where there is no browser and nobody demands one. In CI a missing browser
 * is a failure, never a skip.
 */
export function withoutBrowser(): boolean {
  const missing = chromiumPath() === null && process.env.CI === undefined
  if (missing)
    console.warn('Browser tests skipped: no chromium (Debian: apt-get install chromium, or set CHROMIUM_PATH).')
  return missing
}

/** Starts chromium without its own background traffic. @throws Error saying what to install */
export async function launchChromium(): Promise<Browser> {
  const executablePath = chromiumPath()
  if (executablePath === null) {
    throw new Error('No chromium found: install it (Debian: apt-get install chromium) or set CHROMIUM_PATH.')
  }
  return chromium.launch({
    executablePath,
    args: [
      '--headless=new',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  })
}

/** One row of the list of regions, as a screen reader would find it. */
export interface RegionRow {
  readonly id: number
  readonly status: string
  readonly text: string
}

/** What the tests read of an element; they are compiled without the browser's types. */
interface ElementLike {
  readonly textContent: string | null
  getAttribute(name: string): string | null
}

/** The list of regions. */
export async function regionRows(page: Page): Promise<RegionRow[]> {
  const rows = page.getByRole('list', { name: 'Regions', exact: true }).getByRole('listitem')
  return rows.evaluateAll((elements: ElementLike[]) =>
    elements.map((element) => ({
      id: Number(element.getAttribute('data-id')),
      status: element.getAttribute('data-status') ?? '',
      text: (element.textContent ?? '').replace(/\s+/g, ' ').trim(),
    })),
  )
}

/** Waits until the list of regions is as `wanted` says, and returns it. */
export async function waitForRows(
  page: Page,
  wanted: (rows: RegionRow[]) => boolean,
  timeoutMs = 60_000,
): Promise<RegionRow[]> {
  const until = Date.now() + timeoutMs
  while (true) {
    const rows = await regionRows(page)
    if (wanted(rows)) return rows
    if (Date.now() > until) throw new Error(`The regions did not become as expected: ${JSON.stringify(rows)}`)
    await page.waitForTimeout(50)
  }
}

/** The id of the region in question. */
export async function currentId(page: Page): Promise<number | null> {
  const current = page.locator('[role="listitem"][aria-current="true"], li[aria-current="true"]')
  return (await current.count()) === 0 ? null : Number(await current.first().getAttribute('data-id'))
}

/** Collects what should never be there: page errors and complaints of the content security policy. */
export function watchForErrors(page: Page): string[] {
  const errors: string[] = []
  page.on('pageerror', (error) => errors.push(error.message))
  page.on('console', (message) => {
    if (message.type() === 'error') errors.push(message.text())
  })
  return errors
}
