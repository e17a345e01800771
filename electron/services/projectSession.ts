/** The one project that is open: opening and closing it, its writes told to everyone, and the walk over its folder. */

import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { realpath, stat } from 'node:fs/promises'
import { basename, join, resolve, sep } from 'node:path'
import { scanProject } from '../../db/applyScan.ts'
import { createProject, openProject, PROJECT_EXTENSION, type ProjectStore } from '../../db/project.ts'
import type { TableName } from '../../db/records/diff.ts'
import type { Actor, ImageRecord, Project, RecordsDiff, Revision } from '../../db/records/records.ts'
import { scanFolder } from '../../db/scanFolder.ts'
import type { Progress, ScanReport } from '../contract/api.ts'
import { AppError, toWireError } from '../contract/errors.ts'
import type { EventHub } from './eventHub.ts'
import { folderError } from './files.ts'
import { probeImage } from './pixels.ts'
import type { RecentProjects } from './recentProjects.ts'

export interface SessionOptions {
  events: EventHub
  recent: RecentProjects
  projectsDir: string
  /** Walk the folder whenever a project is opened (a window does; one call of the command line does not). */
  scanOnOpen: boolean
}

/** How long opening waits for the first walk: a small folder is complete when it is shown, a large one streams in. */
const FIRST_SCAN_MS = 1_000

interface Scan {
  controller: AbortController
  listeners: Set<(progress: Progress) => void>
  report: Promise<ScanReport>
}

export class ProjectSession {
  readonly #options: SessionOptions
  #store: ProjectStore | null = null
  #scan: Scan | null = null
  readonly #closing = new Set<() => void>()
  #turn: Promise<unknown> = Promise.resolve()

  constructor(options: SessionOptions) {
    this.#options = options
  }

  /** The open project. @throws NO_PROJECT */
  store(): ProjectStore {
    if (this.#store === null) throw new AppError('NO_PROJECT', 'No project is open.')
    return this.#store
  }

  current(): Project | null {
    return this.#store?.summary() ?? null
  }

  /** Whether a project that some work began with is no longer the open one. */
  isClosed(store: ProjectStore): boolean {
    return this.#store !== store
  }

  /** Called whenever a project is about to be closed or replaced. Returns how to stop listening. */
  onClosing(listener: () => void): () => void {
    this.#closing.add(listener)
    return () => void this.#closing.delete(listener)
  }

  /** Long work on the open project: its signal is told when the project closes, too. */
  async whileOpen<T>(signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const closing = new AbortController()
    const stop = this.onClosing(() => closing.abort())
    try {
      return await work(AbortSignal.any([signal, closing.signal]))
    } finally {
      stop()
    }
  }

  /**
   * Writes to a project, at once or, while an import is written or taken back, when that ends; in the order asked.
   * @throws CANCELLED when this project is not the open one by then, and whatever the work throws
   */
  async whenSettled<T>(store: ProjectStore, work: () => T): Promise<Awaited<T>> {
    // whoever waited before may have begun another
    for (let end = store.settled(); end !== null; end = store.settled()) await end
    if (this.isClosed(store)) throw new AppError('CANCELLED', 'The project was closed.')
    return await work()
  }

  /** An image's row, as diffs want it. @throws NO_PROJECT, NOT_FOUND */
  imageRecord(id: number): ImageRecord {
    const { counts: _counts, ...record } = this.store().images.get(id)
    return record
  }

  /**
   * Where an image's file lies; a name that leads out of the folder is refused. A file that went away, came back or
   * became another one since the last walk starts the next: everyone is told. @throws NOT_FOUND, IMAGE_UNREADABLE
   */
  async imageFile(image: Pick<ImageRecord, 'fileName' | 'fileBytes' | 'status'>): Promise<string> {
    const store = this.store()
    const { imagesDir } = store
    const path = resolve(imagesDir, image.fileName)
    const [root, real, file] = await Promise.all([
      realpath(imagesDir).catch(() => imagesDir),
      realpath(path).catch(() => null),
      stat(path).catch(() => null),
    ])
    // a file that is missing may have been read while another program was writing it
    if (image.status === 'ready' ? file?.size !== image.fileBytes : file !== null) this.#scanAgain(store)
    if (real === null)
      throw new AppError('NOT_FOUND', `The image file ${image.fileName} is not in ${imagesDir} any more.`)
    const home = root.endsWith(sep) ? root : root + sep
    if (!real.startsWith(home))
      throw new AppError('IMAGE_UNREADABLE', `${image.fileName} leads out of the images folder.`)
    return path
  }

  allocateIds(table: TableName, count: number): number[] {
    return this.store().allocateIds(table, count)
  }

  /** One durable revision, then told to everyone. */
  commit(actor: Actor, label: string, diff: RecordsDiff): Revision {
    return this.tell(this.store().commit({ actor, label, diff }))
  }

  /** Tells everyone of a revision that is on the disk. */
  tell<R extends Revision | null>(revision: R): R {
    const project = this.current()
    if (revision !== null && project !== null) this.#options.events.emit('workspace.revised', { revision, project })
    return revision
  }

  /** Tells everyone of an import: one too large to be sent along is told as images to be read again. */
  tellImported(revision: Revision): void {
    this.tell(revision)
    this.#options.events.emit('images.changed', { ids: [] })
  }

  /** @throws NOT_FOUND, PROJECT_INVALID, PROJECT_NEWER */
  open(path: string): Promise<Project> {
    const target = resolve(path)
    if (this.#store?.path === target) return Promise.resolve(this.#store.summary())
    return this.#adopt(() => openProject(target))
  }

  /** @throws ALREADY_EXISTS, NOT_FOUND, NO_IMAGES */
  async create(path: string, imagesDir: string): Promise<Project> {
    const target = resolve(path.endsWith(PROJECT_EXTENSION) ? path : path + PROJECT_EXTENSION)
    if (existsSync(target)) throw new AppError('ALREADY_EXISTS', `${target} exists already.`)
    await requireImages(resolve(imagesDir))
    return this.#adopt(() => createProject(target, imagesDir))
  }

  /** Opens the project of a folder, made on first use. @throws NOT_FOUND, NO_IMAGES */
  async openFolder(path: string): Promise<Project> {
    const folder = resolve(path)
    const beside = join(folder, `${basename(folder) || 'images'}${PROJECT_EXTENSION}`)
    const key = createHash('sha256').update(folder).digest('hex').slice(0, 8)
    const elsewhere = join(this.#options.projectsDir, `${basename(folder) || 'images'}-${key}${PROJECT_EXTENSION}`)
    for (const known of [beside, elsewhere]) if (existsSync(known)) return this.open(known)
    await requireImages(folder)
    return this.#adopt(() => {
      try {
        return createProject(beside, folder)
      } catch (error) {
        if (toWireError(error).code !== 'READ_ONLY') throw error
        return createProject(elsewhere, folder)
      }
    })
  }

  async close(): Promise<void> {
    if (this.#store === null) return
    await this.#leave()
    this.#options.events.emit('project.changed', null)
  }

  /** Walks the folder again; joins a walk that is under way. @throws NO_PROJECT, NOT_FOUND, READ_ONLY, CANCELLED */
  async scan(onProgress: (progress: Progress) => void, signal: AbortSignal): Promise<ScanReport> {
    const scan = this.#scan ?? this.#startScan()
    scan.listeners.add(onProgress)
    const onAbort = () => scan.controller.abort()
    signal.addEventListener('abort', onAbort)
    try {
      return await scan.report
    } finally {
      signal.removeEventListener('abort', onAbort)
      scan.listeners.delete(onProgress)
    }
  }

  /** Waits for a walk that is under way: it could not store what it finds while an import is written. */
  async scanned(): Promise<void> {
    await this.#scan?.report.catch(() => {})
  }

  /** Opens one project at a time, in the order they were asked for. */
  #adopt(open: () => ProjectStore): Promise<Project> {
    const turn = this.#turn.then(() => this.#replace(open))
    this.#turn = turn.catch(() => {})
    return turn
  }

  async #replace(open: () => ProjectStore): Promise<Project> {
    const previous = this.#store?.path
    // The new one is opened first: when that fails, the present one stays.
    const next = open()
    if (previous !== undefined) await this.#leave()
    this.#store = next
    this.#options.recent.note({ path: next.path, name: next.name, openedAt: Date.now() })
    if (this.#options.scanOnOpen && !next.readOnly) {
      const { report } = this.#startScan()
      // A folder that is gone is told by the images themselves; the project is still worth opening.
      const settled = report.then(
        () => {},
        () => {},
      )
      await Promise.race([settled, new Promise((done) => setTimeout(done, FIRST_SCAN_MS).unref())])
    }
    const project = next.summary()
    this.#options.events.emit('project.changed', project)
    return project
  }

  async #leave(): Promise<void> {
    for (const listener of this.#closing) listener()
    const scan = this.#scan
    scan?.controller.abort()
    await scan?.report.catch(() => {})
    this.#store?.close()
    this.#store = null
  }

  /** Walks the folder in the background, where walks are wanted and none is under way. */
  #scanAgain(store: ProjectStore): void {
    if (this.#options.scanOnOpen && !store.readOnly && this.#store === store && this.#scan === null) this.#startScan()
  }

  #startScan(): Scan {
    const store = this.store()
    const controller = new AbortController()
    const listeners: Scan['listeners'] = new Set()
    const report = scanProject(store, {
      probe: probeImage,
      signal: controller.signal,
      onProgress: (progress) => {
        for (const listener of listeners) listener(progress)
      },
      onRevision: (revision) => {
        this.tell(revision)
        const ids = revision.diff.images.flatMap(({ before, after }) => (after ?? before)?.id ?? [])
        this.#options.events.emit('images.changed', { ids })
      },
    }).then(({ added, changed, unchanged, missing, skipped }) => ({
      added,
      unchanged: unchanged + changed,
      missing,
      skipped,
    }))
    const scan: Scan = { controller, listeners, report }
    this.#scan = scan
    report
      .catch(() => {})
      .then(() => {
        if (this.#scan === scan) this.#scan = null
        // The list of skipped files is no revision: the summary tells of it.
        if (this.#store === store) this.#options.events.emit('project.changed', store.summary())
      })
    return scan
  }
}

/** @throws NOT_FOUND for a folder that is not there, NO_IMAGES for one without a single readable image */
export async function requireImages(folder: string): Promise<void> {
  try {
    if (!(await stat(folder)).isDirectory()) throw new AppError('NOT_FOUND', `${folder} is not a folder.`)
  } catch (error) {
    throw error instanceof AppError ? error : folderError(folder, error)
  }
  let skipped = 0
  let example = ''
  for await (const item of scanFolder(folder, { probe: probeImage })) {
    if (item.kind !== 'skipped') return
    skipped++
    if (example === '') example = `${item.fileName}: ${item.reason}`
  }
  const seen = skipped === 0 ? '' : ` (${skipped} file${skipped === 1 ? ' was' : 's were'} skipped, e.g. ${example})`
  throw new AppError('NO_IMAGES', `There is no readable image in ${folder}${seen}.`)
}
