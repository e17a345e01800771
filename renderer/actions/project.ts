/** Opening, closing and rescanning projects; settings. */
import type { Settings } from '../../electron/contract/api.ts'
import type { Shell } from '../../electron/transport/bridgeClient.ts'
import { client } from '../client.ts'
import i18n from '../i18n/index.ts'
import { useView } from '../stores/view.ts'
import { notify } from '../stores/work.ts'
import { runJob } from './jobs.ts'
import { errorText, save } from './save.ts'

/** The desktop's dialogs, or null in a browser: served mode browses folders itself. */
export const shell = (): Shell | null => (globalThis as { gromaticShell?: Shell }).gromaticShell ?? null

/** Opens a folder of images. @returns what went wrong, null when nothing did */
export async function openFolder(path: string): Promise<string | null> {
  return attempt(() => client().call('project.openFolder', { path }))
}

/** Opens a project file. @returns what went wrong, null when nothing did */
export async function openProject(path: string): Promise<string | null> {
  return attempt(() => client().call('project.open', { path }))
}

async function attempt(send: () => Promise<unknown>): Promise<string | null> {
  try {
    await send()
    return null
  } catch (error) {
    return errorText(error)
  }
}

/** Asks for a folder (or project) with the native dialog, else with our own. */
export async function chooseAndOpen(kind: 'folder' | 'project'): Promise<void> {
  const native = shell()
  if (native === null) {
    useView.setState({ dialog: kind })
    return
  }
  const path = kind === 'folder' ? await native.pickFolder() : await native.pickProject()
  if (path === null) return
  const problem = kind === 'folder' ? await openFolder(path) : await openProject(path)
  if (problem !== null) notify('error', problem)
}

/** Closes the project; the welcome page follows. */
export async function closeProject(): Promise<void> {
  await save(() => client().call('project.close', {}))
}

/** Walks the images folder again. */
export async function rescan(): Promise<void> {
  const job = { kind: 'scan', imageId: null, title: i18n.t('jobs.scanning') } as const
  const report = await runJob('project.scan', {}, job, (progress, update) => update(progress))
  if (report === undefined) return
  notify(
    'info',
    i18n.t('jobs.scanned', { added: report.added, missing: report.missing, skipped: report.skipped.length }),
  )
}

/** Changes settings; the window follows the event. */
export async function changeSettings(change: Partial<Settings>): Promise<void> {
  const given = Object.fromEntries(Object.entries(change).filter(([, value]) => value !== undefined))
  await save(() => client().call('settings.set', given))
}

/** Loads a model; the engine's state tells how it goes. */
export async function loadModel(model: string): Promise<void> {
  try {
    await client().call('engine.load', { model })
  } catch (error) {
    notify('error', errorText(error))
  }
}
