/** The browser of the browser tests: Debian's chromium, or whatever CHROMIUM_PATH names. */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { say } from './say.mjs'

const places = [
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
  'C:\\Program Files\\Google\\Chrome\\Application\\chrome.exe',
]

/** @returns {string | null} the path of a chromium, installed through apt-get where that is possible and needed. */
export function ensureChromium() {
  const find = () => [process.env.CHROMIUM_PATH, ...places].find((path) => path && existsSync(path)) ?? null
  const present = find()
  if (present) return present
  const isRoot = process.getuid?.() === 0
  if (isRoot && existsSync('/usr/bin/apt-get')) {
    say('Installing chromium for the browser tests …')
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
    const quiet = { env, stdio: ['ignore', 'ignore', 2] }
    spawnSync('apt-get', ['update', '-qq'], quiet)
    spawnSync('apt-get', ['install', '-y', '-qq', '--no-install-recommends', 'chromium'], quiet)
  }
  const installed = find()
  if (!installed)
    say(
      'No chromium was found: the browser tests will be skipped. Install it (Debian: apt-get install chromium) or set CHROMIUM_PATH.',
    )
  return installed
}
