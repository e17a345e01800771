/** Real services over a scripted engine: a folder of small pictures, a home of its own, and a client. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import sharp from 'sharp'
import type { Project } from '../../db/records/records.ts'
import type { Client } from '../../electron/contract/api.ts'
import { childProcessStarter } from '../../electron/engine/childProcessStarter.ts'
import { createServices, type Services, type ServicesOptions } from '../../electron/services/createServices.ts'

export const scriptedEntry = new URL('../support/scriptedEngine.ts', import.meta.url).pathname

export interface Bench {
  root: string
  images: string
  services: Services
  /** Files and folders that are gone after the test. */
  close(): Promise<void>
}

/** A PNG or JPEG of one colour; `orientation` is its EXIF tag. */
export async function writePicture(path: string, width: number, height: number, orientation?: number): Promise<void> {
  const picture = sharp({
    create: { width, height, channels: 3, background: { r: width % 255, g: height % 255, b: 90 } },
  })
  await (orientation === undefined ? picture : picture.withMetadata({ orientation })).toFile(path)
}

export async function makeFolder(): Promise<{ root: string; images: string }> {
  const root = mkdtempSync(join(tmpdir(), 'gromatic-test-'))
  const images = join(root, 'pictures')
  mkdirSync(images)
  await writePicture(join(images, 'one.png'), 200, 100)
  await writePicture(join(images, 'two.png'), 120, 160)
  await writePicture(join(images, 'turned.jpg'), 90, 60, 6)
  writeFileSync(join(images, 'broken.jpg'), 'not a picture')
  return { root, images }
}

/** A folder that passes for a converted model. */
function writeModel(dir: string): void {
  mkdirSync(dir, { recursive: true })
  const empty = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'
  const manifest = {
    format: 'gromatic-engine',
    version: 1,
    createdFrom: 'test',
    llm: 'fp32',
    vision: 'fp32',
    files: [],
    modelHash: empty,
    config: {},
  }
  writeFileSync(join(dir, 'manifest.json'), JSON.stringify(manifest))
}

export function makeServices(root: string, options: Partial<ServicesOptions> = {}): Services {
  const homeDir = join(root, 'home')
  writeModel(join(homeDir, 'models', 'scripted'))
  writeFileSync(join(homeDir, 'settings.json'), JSON.stringify({ model: 'scripted', proposeAhead: 0 }))
  return createServices({ starter: childProcessStarter({ entry: scriptedEntry }), homeDir, ...options })
}

export async function makeBench(options: Partial<ServicesOptions> = {}): Promise<Bench> {
  const { root, images } = await makeFolder()
  const services = makeServices(root, options)
  return {
    root,
    images,
    services,
    async close() {
      await services.close()
      rmSync(root, { recursive: true, force: true })
    },
  }
}

/** Opens a folder and waits for the walk over it to end (opening itself waits only for a while). */
export async function openWhole(client: Client, path: string): Promise<Project> {
  await client.call('project.openFolder', { path })
  await client.run('project.scan', {})
  return (await client.call('project.current', {}))!
}

/** The code that a promise is rejected with, or `done`. */
export const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'done',
    (error: { code?: string; message: string }) => error.code ?? error.message,
  )

export const messageOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'done',
    (error: Error) => error.message,
  )
