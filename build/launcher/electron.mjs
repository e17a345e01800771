/** Finds Electron's binary, or fetches it once where its release server can be reached. */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { root, say } from './say.mjs'

const folder = join(root, 'node_modules/electron')
/** Written when the server could not be reached, so that an offline machine does not ask at every start. */
const refusal = join(root, 'node_modules/.gromatic-electron-unreachable')
const ASK_AGAIN_AFTER_MS = 24 * 60 * 60 * 1000

function installedPath() {
  const pathFile = join(folder, 'path.txt')
  if (!existsSync(pathFile)) return null
  const path = join(folder, 'dist', readFileSync(pathFile, 'utf8'))
  return existsSync(path) ? path : null
}

const hasDisplay = () => process.platform !== 'linux' || Boolean(process.env.DISPLAY || process.env.WAYLAND_DISPLAY)

async function canDownload() {
  if (existsSync(refusal) && Date.now() - statSync(refusal).mtimeMs < ASK_AGAIN_AFTER_MS) return false
  const server =
    process.env.ELECTRON_MIRROR ??
    process.env.npm_config_electron_mirror ??
    'https://github.com/electron/electron/releases/'
  try {
    await fetch(server, { method: 'HEAD', signal: AbortSignal.timeout(5000) })
    return true
  } catch {
    return false
  }
}

/** @returns {Promise<{path: string} | {reason: string}>} Electron's binary, or in words why there is none. */
export async function findElectron(node) {
  if (process.env.GROMATIC_SERVED === '1') return { reason: 'GROMATIC_SERVED=1 is set' }
  if (!hasDisplay()) return { reason: 'no display was found' }
  // Chromium does not start its sandbox as root, and we do not start without the sandbox.
  if (process.platform === 'linux' && process.getuid?.() === 0) return { reason: 'Electron does not run as root' }
  const present = installedPath()
  if (present) return { path: present }
  if (await canDownload()) {
    say('Fetching Electron (once; about 100 MB) …')
    const result = spawnSync(node, [join(folder, 'install.js')], {
      cwd: root,
      stdio: ['ignore', 2, 2],
      timeout: 10 * 60 * 1000,
    })
    const path = result.status === 0 ? installedPath() : null
    if (path) {
      rmSync(refusal, { force: true })
      return { path }
    }
  }
  writeFileSync(refusal, 'Delete this file to try again at the next start.\n')
  return { reason: "Electron's binary could not be fetched from its release server" }
}
