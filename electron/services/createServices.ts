/** The composition root: everything that the window, the command line and the tests talk to. */

import { mkdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { api, type CallName, type Client, type Input } from '../contract/api.ts'
import { EngineHost, type EngineStarter } from '../engine/engineHost.ts'
import { annotationHandlers } from './annotations.ts'
import { categoryHandlers } from './categories.ts'
import { EngineWorkers } from './engineWorkers.ts'
import { EventHub } from './eventHub.ts'
import { fileHandlers } from './files.ts'
import { type AheadName, Grounding } from './grounding.ts'
import type { Handlers } from './handlers.ts'
import { defaultHomeDir, homeFolders } from './homeDir.ts'
import { createInProcessClient } from './inProcessClient.ts'
import { Models } from './models.ts'
import { PictureCache, type PixelFile } from './pixels.ts'
import { ProjectSession } from './projectSession.ts'
import { ProposeAhead } from './proposeAhead.ts'
import { RecentProjects } from './recentProjects.ts'
import { SettingsService } from './settings.ts'
import { transferHandlers } from './transfer.ts'
import { workspaceHandlers } from './workspace.ts'

export interface ServicesOptions {
  starter: EngineStarter
  /** Where the person's settings, models and caches live. */
  homeDir?: string
  version?: string
  /** A browser's window instead of the desktop's. */
  served?: boolean
  /** A person works in a window: folders are walked when they are opened, proposals computed ahead, projects remembered. */
  interactive?: boolean
  /** The folder that holds `native-models`; the demo model and the samples are below it. */
  appRoot?: string
  demoCheckpointDir?: string
  samplesDir?: string
  onLog?: (level: 'info' | 'warn' | 'error', message: string) => void
}

export interface Services {
  client: Client
  engine: EngineHost
  /** The engine's process and, where a command wants more, others beside it. */
  workers: EngineWorkers
  models: Models
  homeDir: string
  samplesDir: string
  projectsDir: string
  /** Pixels of an image of the open project, upright, at most `width` wide. @throws NO_PROJECT, NOT_FOUND, IMAGE_UNREADABLE */
  picture(imageId: number, width: number | null): Promise<PixelFile>
  /** Begins what a call will ask of the model, before the call itself; when that comes, it goes on from there. */
  computeAhead<K extends AheadName>(name: K, input: Input<K>, signal: AbortSignal): Promise<void>
  /** Begins to load the chosen model; how it goes is the engine's state. */
  startEngine(): void
  close(): Promise<void>
}

/** Calls that change the project's records. Opening and closing do not wait: they stop an import. */
const WRITES = /^(annotations|categories|images|messages|history|grounding)\.|^transfer\.import$/

/** What people do while an import is written (in another window, say) is saved when it ends, not refused. */
function afterImports(session: ProjectSession, handlers: Handlers): Handlers {
  const waiting = Object.entries(handlers).map(([name, handler]) => {
    if (!WRITES.test(name) || api[name as CallName].kind === 'query') return [name, handler]
    const run = handler as (...args: unknown[]) => unknown
    const later = async (...args: unknown[]): Promise<unknown> =>
      session.whenSettled(session.store(), () => run(...args))
    return [name, later]
  })
  return Object.fromEntries(waiting) as Handlers
}

/** Puts the services together. Nothing runs yet: the model is loaded by `startEngine` or by the first task. */
export function createServices(options: ServicesOptions): Services {
  const appRoot = options.appRoot ?? fileURLToPath(new URL('../../', import.meta.url))
  const demoCheckpointDir = options.demoCheckpointDir ?? join(appRoot, 'native-models', 'demo', 'checkpoint')
  const samplesDir = options.samplesDir ?? join(appRoot, 'native-models', 'demo', 'samples')
  const interactive = options.interactive ?? true
  const homeDir = resolve(options.homeDir ?? defaultHomeDir())
  const folders = homeFolders(homeDir)
  const log = options.onLog ?? (() => {})
  mkdirSync(homeDir, { recursive: true })

  const events = new EventHub()
  const settings = new SettingsService(folders.settings, events)
  const startHost = () => new EngineHost({ starter: options.starter, onLog: log })
  const engine = startHost()
  const workers = new EngineWorkers(engine, startHost)
  const models = new Models(
    { modelsDir: folders.models, cacheDir: folders.cache, demoModelsDir: folders.demoModels, demoCheckpointDir },
    engine,
    settings,
  )
  const recent = new RecentProjects(interactive ? folders.recent : null)
  const session = new ProjectSession({ events, recent, projectsDir: folders.projects, scanOnOpen: interactive })
  const grounding = new Grounding(session, workers)
  const ahead = interactive ? new ProposeAhead({ session, grounding, engine, settings, events }) : null
  const pictures = new PictureCache(folders.pictures)

  engine.onState((state) => events.emit('engine.state', state))
  events.on('settings.changed', () => {
    if (engine.state().status !== 'stopped') void models.start()
  })
  grounding.ensureModel = async () => {
    // A model that was loaded by name stays, whatever the settings say.
    if (engine.state().status === 'stopped') await models.start()
  }

  const handlers: Handlers = afterImports(session, {
    'app.info': () => ({
      version: options.version ?? '0.1.0',
      served: options.served ?? false,
      samplesDir,
      homeDir,
      projectsDir: folders.projects,
    }),
    ...settings.handlers(),
    ...fileHandlers,
    ...workspaceHandlers(session, recent),
    ...categoryHandlers(session),
    ...annotationHandlers(session, (imageId) => ahead?.look(imageId)),
    ...models.handlers(),
    ...grounding.handlers(),
    ...transferHandlers(session),
  })

  return {
    client: createInProcessClient(handlers, events),
    engine,
    workers,
    models,
    homeDir,
    samplesDir,
    projectsDir: folders.projects,
    async picture(imageId, width) {
      return pictures.get(await session.imageFile(session.imageRecord(imageId)), width)
    },
    computeAhead: (name, input, signal) => grounding.computeAhead(name, input, signal),
    startEngine: () => void models.start(),
    async close() {
      workers.close()
      engine.close()
      await session.close()
    },
  }
}
