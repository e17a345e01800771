/** Keeps the record store equal to the services': first load, events, and a full reload after a lost connection. */
import type { Project, Revision } from '../../db/records/records.ts'
import { client } from '../client.ts'
import { applyRevision, emptyRecords, keepRecent, useRecords } from '../stores/records.ts'
import { useView } from '../stores/view.ts'
import { notify } from '../stores/work.ts'
import { errorText } from './save.ts'
import { openFirstImage, selectFirstUndecided, selectRegion, showImage } from './select.ts'

const FIRST_PAGE = 500
const NEXT_PAGES = 5000

/** Takes a committed revision into the store. Events and answers both come here; twice is harmless. */
export function takeRevision(revision: Revision, project: Project | null = null): void {
  if (revision.bulkRows !== undefined) {
    // an import too large to be sent along: what is shown is read again
    rereadProject(project ?? useRecords.getState().project ?? null).catch(report)
    return
  }
  const { patch, staleImageIds } = applyRevision(useRecords.getState(), revision, project)
  useRecords.setState(patch)
  if (staleImageIds.length > 0) refreshImages(staleImageIds)
}

const stale = new Set<number>()
let staleTimer: ReturnType<typeof setTimeout> | undefined

/** Asks for image rows again, many at once: background proposals touch an image every few hundred milliseconds. */
function refreshImages(ids: readonly number[]): void {
  for (const id of ids) stale.add(id)
  if (staleTimer !== undefined) return
  staleTimer = setTimeout(async () => {
    staleTimer = undefined
    const wanted = [...stale]
    stale.clear()
    const known = useRecords.getState().images
    try {
      if (wanted.length > 40 || wanted.some((id) => !known.has(id))) return await loadImages()
      const rows = await Promise.all(wanted.map((id) => client().call('images.get', { id })))
      useRecords.setState(({ images }) => {
        const next = new Map(images)
        for (const row of rows) next.set(row.id, row)
        return { images: next }
      })
    } catch {
      // an image that went away meanwhile comes with the next list
    }
  }, 60)
}

let loading: Promise<void> | null = null
let changedMeanwhile = false

/** Loads the file list. While a folder is read, news come faster than lists: one runs at a time, and once more after. */
async function loadImages(): Promise<void> {
  if (loading !== null) {
    changedMeanwhile = true
    return loading
  }
  loading = (async () => {
    do {
      changedMeanwhile = false
      await loadPages()
    } while (changedMeanwhile)
  })().finally(() => {
    loading = null
  })
  return loading
}

/** Page by page; the first shows at once. */
async function loadPages(): Promise<void> {
  const images = new Map<number, Awaited<ReturnType<typeof firstPage>>['items'][number]>()
  const order: number[] = []
  const path = useRecords.getState().project?.path
  let page = await firstPage()
  while (true) {
    for (const item of page.items) {
      if (!images.has(item.id)) order.push(item.id)
      images.set(item.id, item)
    }
    const { project, imageOrder } = useRecords.getState()
    if (project?.path !== path) {
      changedMeanwhile = Boolean(project)
      return
    }
    const complete = page.items.length === 0 || order.length >= page.total
    // a second reading replaces the first only where it has got as far: the list must not shrink and grow again
    if (complete || order.length >= imageOrder.length) {
      useRecords.setState({ images: new Map(images), imageOrder: [...order], imagesLoaded: true })
    }
    if (complete) break
    page = await client().call('images.list', { offset: order.length, limit: NEXT_PAGES })
  }
}

const firstPage = () => client().call('images.list', { offset: 0, limit: FIRST_PAGE })

/** Loads everything of the open project, keeping the open image where it still exists. */
async function loadProject(project: Project | null): Promise<void> {
  const { engine, settings } = useRecords.getState()
  useRecords.setState({ ...emptyRecords, project, engine, settings })
  if (project === null) {
    useView.setState({ imageId: null, regionId: null, editing: null, draftBox: null })
    return
  }
  // classes first: the queue goes by class, and the first region comes into question with the first image
  const categories = await client().call('categories.list', {})
  useRecords.setState({ categories: new Map(categories.map((row) => [row.id, row])) })
  await loadImages()
  const { imageId } = useView.getState()
  if (imageId === null) return // the first one opened with the list
  if (useRecords.getState().images.has(imageId)) await showImage(imageId)
  else openFirstImage()
}

/**
 * Reads everything of the open project again while it stays on screen. Each part is put in as it comes, before any later
 * revision can arrive; other images are read when they are opened.
 */
async function rereadProject(project: Project | null): Promise<void> {
  const { imageId } = useView.getState()
  const shown = <V>(map: ReadonlyMap<number, V>) => new Map([...map].filter(([id]) => id === imageId))
  useRecords.setState(({ annotations, messages }) => ({
    project,
    annotations: shown(annotations),
    messages: shown(messages),
  }))
  await client()
    .call('categories.list', {})
    .then((rows) => useRecords.setState({ categories: new Map(rows.map((row) => [row.id, row])) }))
  await loadImages()
  if (imageId === null) return
  if (!useRecords.getState().images.has(imageId)) return openFirstImage()
  await Promise.all([
    client()
      .call('annotations.list', { imageId })
      .then((rows) =>
        useRecords.setState(({ annotations }) => ({
          annotations: keepRecent(annotations, imageId, new Map(rows.map((row) => [row.id, row]))),
        })),
      ),
    client()
      .call('messages.list', { imageId })
      .then((rows) => useRecords.setState(({ messages }) => ({ messages: keepRecent(messages, imageId, rows) }))),
  ])
  const { regionId } = useView.getState()
  const still = regionId === null || useRecords.getState().annotations.get(imageId)?.has(regionId)
  if (still === false && useView.getState().imageId === imageId) selectRegion(null)
}

/** Asks for the whole state: at the start, and after the connection came back. */
async function resync(): Promise<void> {
  const [project, engine, settings] = await Promise.all([
    client().call('project.current', {}),
    client().call('engine.state', {}),
    client().call('settings.get', {}),
  ])
  const known = useRecords.getState().project?.path
  useRecords.setState({ engine, settings })
  if (project !== null && known === project.path) {
    // the same work after a short break: what is on screen, and what is being typed, stays
    useRecords.setState({ activity: new Map() })
    await rereadProject(project)
    return
  }
  if (known !== project?.path) useView.setState({ imageId: null, regionId: null })
  await loadProject(project)
}

/** Listens to the services and loads what they have. Resolves once the window can be used. */
export async function startSync(): Promise<void> {
  const services = client()
  services.on('workspace.revised', ({ revision, project }) => takeRevision(revision, project))
  services.on('project.changed', (project) => {
    const before = useRecords.getState().project
    if (project !== null && before?.path === project.path) {
      useRecords.setState({ project })
      return
    }
    if (project?.path !== before?.path) useView.setState({ imageId: null, regionId: null, editing: null })
    loadProject(project).catch(report)
  })
  services.on('images.changed', ({ ids }) => (ids.length === 0 ? void loadImages().catch(report) : refreshImages(ids)))
  services.on('grounding.activity', (activity) => {
    useRecords.setState((state) => {
      const next = new Map(state.activity)
      if (activity.state === 'idle') next.delete(activity.imageId)
      else next.set(activity.imageId, activity)
      return { activity: next }
    })
    // proposals that came by themselves queue up like those that were asked for, unless the hand is at something else
    const { tool, editing, draftBox } = useView.getState()
    const free = tool === 'select' && editing === null && draftBox === null
    if (activity.state === 'idle' && free) selectFirstUndecided(activity.imageId)
  })
  services.on('engine.state', (engine) => useRecords.setState({ engine }))
  services.on('settings.changed', (settings) => useRecords.setState({ settings }))
  services.onConnection((connected) => {
    const was = useView.getState().connected
    useView.setState({ connected })
    if (connected && !was) resync().catch(report)
  })
  useRecords.subscribe(({ project, skipped, imageOrder }, before) => {
    if (project && project !== before.project && project.skippedCount !== skipped.length) loadSkipped()
    // a folder that is still being read: its first image opens as soon as there is one
    if (imageOrder !== before.imageOrder && useView.getState().imageId === null) openFirstImage()
  })
  await resync()
}

/** The reasons of skipped files; the project's own counter says when there are others. */
function loadSkipped(): void {
  client()
    .call('images.skipped', {})
    .then((skipped) => useRecords.setState({ skipped }), report)
}

const report = (error: unknown) => notify('error', errorText(error))
