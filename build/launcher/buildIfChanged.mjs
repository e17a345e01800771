/** Builds a bundle only when one of its sources changed: a content hash of the sources is kept beside the result. */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { root, say, stop } from './say.mjs'

/** What each bundle is made of (files or folders) and the file that proves it was made. */
const bundles = {
  renderer: {
    config: 'build/vite.renderer.config.ts',
    sources: [
      'renderer',
      'electron/contract',
      'electron/transport',
      'db/records',
      'native-models/geometry',
      'native-models/groma',
    ],
    result: 'out/renderer/index.html',
  },
  electron: {
    config: 'build/vite.electron.config.ts',
    sources: ['electron', 'db', 'native-models'],
    result: 'out/electron/main.js',
  },
}

function* filesUnder(path) {
  if (!statSync(path).isDirectory()) return yield path
  for (const entry of readdirSync(path).sort()) {
    if (entry === 'demo' || entry === 'training' || entry === 'node_modules') continue
    yield* filesUnder(join(path, entry))
  }
}

function fingerprint({ config, sources }) {
  const hash = createHash('sha256')
  for (const source of [config, 'package-lock.json', ...sources])
    for (const file of filesUnder(join(root, source)))
      hash.update(file.slice(root.length)).update('\0').update(readFileSync(file))
  return hash.digest('hex')
}

/** @param {'renderer' | 'electron'} name */
export function buildIfChanged(name, node) {
  const bundle = bundles[name]
  const stamp = join(root, 'out', `.${name}.sources`)
  const now = fingerprint(bundle)
  if (existsSync(join(root, bundle.result)) && existsSync(stamp) && readFileSync(stamp, 'utf8') === now) return
  say(`Building the ${name === 'renderer' ? 'window' : 'Electron shell'} …`)
  rmSync(stamp, { force: true })
  const vite = join(root, 'node_modules/vite/bin/vite.js')
  const result = spawnSync(node, [vite, 'build', '-c', bundle.config, '--logLevel', 'warn'], {
    cwd: root,
    stdio: ['ignore', 2, 2],
  })
  if (result.status !== 0) stop(`The build of ${bundle.config} failed; the reason is above.`)
  writeFileSync(stamp, now)
}
