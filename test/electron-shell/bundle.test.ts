/**
 * The bundles of out/electron as they are shipped, with the real services, database and picture code, under Node with a
 * stand-in for Electron: paths, native packages and the way from a page's message to a saved row and back.
 */
import { type ChildProcess, fork, spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Client } from '../../electron/contract/api.ts'
import { bridgeClient } from '../../electron/transport/bridgeClient.ts'

const root = join(import.meta.dirname, '../..')
const folder = mkdtempSync(join(tmpdir(), 'gromatic-bundle-'))
const home = join(folder, 'home')
const photos = join(folder, 'photos')
/** Laid out as a clone is, so that every path in the bundles is found as it will be. */
const clone = join(root, 'node_modules', '.gromatic-bundle-test')

let main: ChildProcess
let client: Client
let output = ''
const heard: { channel: string; value: unknown }[] = []
const next = async <T>(channel: string): Promise<T> => {
  for (;;) {
    const index = heard.findIndex((message) => message.channel === channel)
    if (index >= 0) return heard.splice(index, 1)[0]!.value as T
    if (main.exitCode !== null) expect.fail(`the main process ended:\n${output}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
const get = (path: string) => {
  main.send({ channel: 'get', value: `app://gromatic${path}` })
  return next<{ status: number; type: string; bytes: number }>('got')
}

beforeAll(async () => {
  rmSync(clone, { recursive: true, force: true })
  mkdirSync(join(clone, 'out/renderer'), { recursive: true })
  mkdirSync(photos)
  const built = spawnSync(
    process.execPath,
    [join(root, 'node_modules/vite/bin/vite.js'), 'build', '-c', 'build/vite.electron.config.ts'],
    { cwd: root, encoding: 'utf8', env: { ...process.env, GROMATIC_OUT_DIR: join(clone, 'out/electron') } },
  )
  expect(built.status, built.stdout + built.stderr).toBe(0)
  cpSync(join(root, 'renderer/index.html'), join(clone, 'out/renderer/index.html'))
  for (const [name, width] of Object.entries({ a: 300, b: 40 }))
    await sharp({ create: { width, height: 200, channels: 3, background: '#805020' } }).toFile(
      join(photos, `${name}.png`),
    )

  const standIn = pathToFileURL(join(import.meta.dirname, 'standIn/register.mjs')).href
  main = fork(join(clone, 'out/electron/main.js'), [], {
    cwd: folder,
    execArgv: ['--import', standIn],
    env: { ...process.env, GROMATIC_HOME: home },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  })
  for (const stream of [main.stdout!, main.stderr!])
    stream.on('data', (text: Buffer) => {
      output += text
    })
  let onMessage: (text: string) => void = () => {}
  let onConnection: (connected: boolean) => void = () => {}
  main.on('message', ({ channel, value }: { channel: string; value: unknown }) => {
    if (channel === 'gromatic:message') onMessage(value as string)
    else if (channel === 'gromatic:connection') onConnection(value as boolean)
    else heard.push({ channel, value })
  })
  client = bridgeClient({
    send: (text) => main.send({ channel: 'gromatic:message', value: text }),
    onMessage: (listener) => {
      onMessage = listener
    },
    onConnection: (listener) => {
      onConnection = listener
    },
  })
  expect(await next('loaded')).toBe('app://gromatic/index.html')
  main.send({ channel: 'gromatic:connect' })
})
afterAll(() => {
  main?.kill('SIGKILL')
  rmSync(folder, { recursive: true, force: true })
  rmSync(clone, { recursive: true, force: true })
})

describe('the built program', () => {
  it('consists of four files', () => {
    const files = ['main.js', 'preload.cjs', 'engineProcess.js', 'conversionThread.mjs']
    for (const file of files) expect(existsSync(join(clone, 'out/electron', file)), file).toBe(true)
    for (const file of files) {
      const text = readFileSync(join(clone, 'out/electron', file), 'utf8')
      expect(text, file).not.toContain(root) // no path of the machine that built it
    }
  })

  it('knows where it is', async () => {
    const info = await client.call('app.info', {})
    expect(info).toMatchObject({ version: '0.0.0-test', served: false, homeDir: home })
    expect(info.samplesDir).toBe(join(clone, 'native-models/demo/samples'))
  })

  it('opens a folder, serves its images, and saves what was drawn', async () => {
    const project = await client.call('project.openFolder', { path: photos })
    expect(await next('title')).toBeDefined()
    await client.run('project.scan', {})
    const { items } = await client.call('images.list', {})
    expect(items).toHaveLength(2)
    const { id } = items[0]!
    expect(await get(client.imageUrl(id))).toMatchObject({ status: 200, type: 'image/png' })
    expect(await get(client.imageUrl(id, 64))).toMatchObject({ status: 200, type: 'image/webp' })
    expect(await get('/images/999')).toMatchObject({ status: 404 })
    expect(await get('/')).toMatchObject({ status: 200, type: 'text/html; charset=utf-8' })
    const { annotation } = await client.call('annotations.create', { imageId: id, bboxXywh: [10, 10, 50, 60] })
    expect(annotation).toMatchObject({ imageId: id, status: 'accepted' })
    expect(existsSync(project.path)).toBe(true)
  })

  it('starts its engine process, with the native runtime in it', async () => {
    const verified = await client.run('models.verify', { path: photos }).catch((error: Error) => error)
    // A folder of photos is no model, and only the engine process can have said so.
    expect(JSON.stringify(verified) + String(verified)).toMatch(/manifest|model/i)
    expect(String(verified)).not.toMatch(/stopped|crash/i)
    expect(output).not.toMatch(/Cannot find|ERR_/)
  })

  it('carries errors to the page', async () => {
    await expect(client.call('project.open', { path: join(folder, 'gone.gromatic') })).rejects.toMatchObject({
      code: 'NOT_FOUND',
    })
  })

  it('closes in good order: the project is one file again', async () => {
    const project = await client.call('project.current', {})
    const exit = new Promise<number | null>((resolve) => main.on('exit', resolve))
    main.send({ channel: 'quit' })
    expect(await exit, output).toBe(0)
    expect(existsSync(project!.path)).toBe(true)
    expect(existsSync(`${project!.path}-wal`)).toBe(false)
    const log = join(home, 'logs', 'window.log')
    const lines = existsSync(log) ? readFileSync(log, 'utf8').split('\n') : []
    expect(lines.filter((line) => line.includes(' error ') && !line.includes('engine'))).toEqual([])
  })
})
