/** Which models there are and where: the demo model inside, installed ones, and any converted folder. */
import { createHash } from 'node:crypto'
import { createReadStream, existsSync } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { basename, isAbsolute, join, resolve } from 'node:path'
import { z } from 'zod'
import { readManifest } from '../../native-models/checkpoint/manifest.ts'
import type { ModelEntry } from '../contract/api.ts'
import type { EngineLimits } from '../contract/engineProtocol.ts'
import { ModelTest, WantedProvider } from '../contract/engineProtocol.ts'
import { AppError, toWireError } from '../contract/errors.ts'
import type { EngineHost, EngineModel } from '../engine/engineHost.ts'
import type { Handlers } from './handlers.ts'
import type { SettingsService } from './settings.ts'

export const DEMO = 'demo'
const DEMO_NAME = 'Demo model'
/** Part of the demo model's folder name: raised when converting makes something else of the same checkpoint. */
const CONVERTER_VERSION = 4

const Converted = z.object({ path: z.string(), modelHash: z.string(), bytes: z.number() })
const Verified = z.object({ ok: z.boolean(), problems: z.array(z.string()), modelHash: z.string().nullable() })

export interface ModelsOptions {
  modelsDir: string
  /** Where what was found out about this machine and made for it is kept. */
  cacheDir: string
  demoModelsDir: string
  demoCheckpointDir: string
}

export class Models {
  readonly #options: ModelsOptions
  readonly #engine: EngineHost
  readonly #settings: SettingsService
  /** What was loaded last, or tried. */
  #wanted: string | null = null

  constructor(options: ModelsOptions, engine: EngineHost, settings: SettingsService) {
    this.#options = options
    this.#engine = engine
    this.#settings = settings
  }

  /** `demo`, an installed name, or an engine folder. @throws NOT_FOUND, MODEL_INVALID */
  async resolve(model: string): Promise<EngineModel> {
    if (model === DEMO) return this.#demo()
    const installed = /^[^/\\]+$/.test(model) && !model.startsWith('.') ? join(this.#options.modelsDir, model) : null
    const path = installed !== null && existsSync(installed) ? installed : resolve(model)
    if (!existsSync(path)) {
      throw new AppError('NOT_FOUND', `There is no model "${model}": neither an installed name nor a folder.`)
    }
    await readManifest(path)
    return { name: basename(path), modelDir: path, checkpointDir: null, ...this.#machine() }
  }

  /** `GROMATIC_PROVIDER` goes before the setting: for tests, and to get past a driver that fails. */
  #machine(): { provider: WantedProvider; cacheDir: string } {
    const fromEnvironment = WantedProvider.safeParse(process.env.GROMATIC_PROVIDER)
    const provider = fromEnvironment.success ? fromEnvironment.data : (this.#settings.get().provider ?? 'auto')
    return { provider, cacheDir: this.#options.cacheDir }
  }

  /** The demo model's engine folder, in the person's cache; made from the checkpoint when it is loaded for the first time. */
  async #demo(): Promise<EngineModel> {
    const { demoCheckpointDir, demoModelsDir } = this.#options
    if (!existsSync(join(demoCheckpointDir, 'config.json'))) {
      throw new AppError('NOT_FOUND', 'The demo model is not part of this copy. Choose a converted model instead.')
    }
    const key = await folderHash(demoCheckpointDir)
    const modelDir = join(demoModelsDir, `demo-${key.slice(0, 16)}-${CONVERTER_VERSION}`)
    return { name: DEMO_NAME, modelDir, checkpointDir: demoCheckpointDir, ...this.#machine() }
  }

  /** Starts loading; the state tells how it goes. @throws NOT_FOUND, MODEL_INVALID */
  async load(model: string, limits?: EngineLimits): Promise<void> {
    const found = await this.resolve(model)
    this.#wanted = model
    this.#engine.load(limits === undefined ? found : { ...found, limits })
  }

  /** Loads the chosen model unless it is (being) loaded already. A failure is the engine's state. */
  async start(): Promise<void> {
    const { model } = this.#settings.get()
    if (model === this.#wanted) return
    this.#wanted = model
    try {
      const found = await this.resolve(model)
      if (this.#wanted === model) this.#engine.load(found) // else another was asked for meanwhile
    } catch (error) {
      if (this.#wanted === model) this.#engine.fail(model, toWireError(error))
    }
  }

  async list(): Promise<z.infer<typeof ModelEntry>[]> {
    const { modelsDir, demoCheckpointDir } = this.#options
    const entries: z.infer<typeof ModelEntry>[] = []
    if (existsSync(join(demoCheckpointDir, 'config.json'))) {
      const loaded = this.#engine.state()
      const modelHash = loaded.modelName === DEMO_NAME ? loaded.modelHash : null
      entries.push({ name: DEMO, path: demoCheckpointDir, bytes: await folderBytes(demoCheckpointDir), modelHash })
    }
    const names = await readdir(modelsDir).catch(() => [])
    for (const name of names.sort()) {
      const path = join(modelsDir, name)
      const manifest = await readManifest(path).catch(() => null) // half a download is no model
      if (manifest === null) continue
      const bytes = manifest.files.reduce((sum, file) => sum + file.bytes, 0)
      entries.push({ name, path, bytes, modelHash: manifest.modelHash })
    }
    return entries
  }

  handlers() {
    return {
      'models.list': () => this.list(),
      'models.convert': async ({ checkpoint, out, llm, vision }, { signal, progress }) => {
        const outDir = isAbsolute(out) || /[/\\.]/.test(out) ? resolve(out) : join(this.#options.modelsDir, out)
        if (existsSync(outDir)) throw new AppError('ALREADY_EXISTS', `${outDir} exists already.`)
        const input = { checkpointDir: resolve(checkpoint), outDir, llm, vision }
        return Converted.parse(await this.#engine.convert(input, { onProgress: progress, signal }))
      },
      'models.verify': async ({ path }, { signal, progress }) => {
        const { modelDir } = path === DEMO ? await this.#demo() : { modelDir: this.#folderOf(path) }
        if (!existsSync(modelDir)) throw new AppError('NOT_FOUND', `There is no folder ${modelDir}.`)
        return Verified.parse(await this.#engine.verify(modelDir, { onProgress: progress, signal }))
      },
      'models.test': async ({ path, provider }, { signal, progress }) => {
        const found = await this.resolve(path)
        const model = provider === undefined ? found : { ...found, provider }
        return ModelTest.parse(await this.#engine.test(model, { onProgress: progress, signal }))
      },
      'engine.state': () => this.#engine.state(),
      'engine.load': async ({ model }) => {
        await this.load(model)
        if (this.#settings.get().model !== model) this.#settings.set({ model })
        return this.#engine.state()
      },
    } satisfies Partial<Handlers>
  }

  #folderOf(path: string): string {
    const installed = join(this.#options.modelsDir, basename(path))
    return basename(path) === path && !existsSync(resolve(path)) && existsSync(installed) ? installed : resolve(path)
  }
}

/** One hash over names and bytes of a folder's files. */
async function folderHash(dir: string): Promise<string> {
  const hash = createHash('sha256')
  for (const name of (await readdir(dir)).sort()) {
    const path = join(dir, name)
    if (!(await stat(path)).isFile()) continue
    hash.update(`${name}\0`)
    for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer)
  }
  return hash.digest('hex')
}

async function folderBytes(dir: string): Promise<number> {
  const names = await readdir(dir)
  const sizes = await Promise.all(names.map(async (name) => (await stat(join(dir, name))).size))
  return sizes.reduce((sum, size) => sum + size, 0)
}
