/** The steps of an import: look at a path, count, choose, write, report, take back. */
import type { FormatName } from '../../electron/contract/api.ts'
import { client } from '../client.ts'
import i18n from '../i18n/index.ts'
import {
  blockedBy,
  emptyImport,
  type ImportChoices,
  type ImportStep,
  importInput,
  isPlanned,
  neighbourStep,
  planKey,
  useImport,
  withPlan,
} from '../stores/importing.ts'
import { useRecords } from '../stores/records.ts'
import { useView } from '../stores/view.ts'
import { announce, useWork } from '../stores/work.ts'
import { undo } from './decide.ts'
import { errorText, isCancelled } from './save.ts'

const get = useImport.getState
const set = useImport.setState

/** What can be stopped now: a counting or a writing. */
let abort: AbortController | null = null
/** The last counting: whoever presses Enter meanwhile goes on when it is done. */
let counting: Promise<void> = Promise.resolve()

/**
 * Opens the wizard. An import that was left half-way goes on where it was, unless another source comes with the call.
 * @param source a path, or only the name of what was dropped where its place is not told
 */
export async function openImport(source: { path: string } | { dropped: string } | null = null): Promise<void> {
  const { project } = useRecords.getState()
  if (!project || get().writing !== null) return
  if (source !== null || get().result !== null || get().projectPath !== project.path) {
    stop()
    set({ ...emptyImport, projectPath: project.path, dropped: source && 'dropped' in source ? source.dropped : null })
  }
  useView.setState({ dialog: 'import' })
  if (source !== null && 'path' in source) await lookAt(source.path)
}

/** The wizard is on screen: what was counted when it left is counted anew. */
export async function resumeImport(): Promise<void> {
  if (get().step !== 'source' && get().result === null) await check()
}

/** The wizard left the screen; what was chosen stays for the next time, nothing was written. */
export function pauseImport(): void {
  if (get().writing !== null) return
  stop()
  set({ plan: null, plannedKey: null, checking: null })
}

function stop(): void {
  abort?.abort()
  abort = null
}

/** Another path: everything that was known of the one before is forgotten. */
export function setPath(path: string): void {
  if (path === get().path) return
  stop()
  const { projectPath, dropped } = get()
  set({ ...emptyImport, projectPath, dropped, path })
}

/** Sees what a path looks like. @returns whether it is there and in a format that is known */
export async function lookAt(path: string): Promise<boolean> {
  setPath(path)
  const wanted = path.trim()
  if (wanted === '') return false
  try {
    const sniffed = await client().call('transfer.sniff', { path: wanted })
    if (get().path.trim() !== wanted) return false
    const format = sniffed.candidates[0]?.format ?? 'auto'
    set({ sniffed, format, problem: null })
    return sniffed.isZip || format !== 'auto'
  } catch (error) {
    if (get().path.trim() === wanted) set({ sniffed: null, format: 'auto', problem: errorText(error) })
    return false
  }
}

/** Reads it as another format than it looks like. Classes may be called otherwise then: their choices go. */
export function setFormat(format: FormatName | 'auto'): void {
  set({ format, problem: null, choices: emptyImport.choices, classCounts: new Map(), standing: null })
}

/** Takes a choice of the preview and counts anew; whether boxes come beside others is asked again then. */
export async function choose(change: Partial<ImportChoices>): Promise<void> {
  set(({ choices }) => ({ choices: { ...choices, conflicts: 'ask', ...change }, standing: null }))
  await check()
}

/** Takes a choice that is counted when its step is left. */
export function chooseLater(change: Partial<Pick<ImportChoices, 'conflicts' | 'categories' | 'instances'>>): void {
  set(({ choices }) => ({ choices: { ...choices, ...change } }))
}

/** Asks what the import would do as chosen. A counting that is under way is stopped. */
export function check(): Promise<void> {
  stop()
  counting = count()
  return counting
}

async function count(): Promise<void> {
  const key = planKey(get())
  const controller = new AbortController()
  abort = controller
  set({ checking: { done: 0, total: null, note: '' }, problem: null })
  try {
    const plan = await client().run('transfer.preview', importInput(get()), {
      signal: controller.signal,
      onProgress: (checking) => abort === controller && set({ checking }),
    })
    if (abort !== controller) return
    set((state) => withPlan(state, plan, key))
    announce(i18n.t('import.counted', { count: plan.annotations.inFile }))
  } catch (error) {
    if (abort !== controller || isCancelled(error)) return
    // a file that cannot be read at all is a matter of the source
    set({ checking: null, plan: null, plannedKey: null, step: 'source', problem: errorText(error) })
  } finally {
    if (abort === controller) abort = null
  }
}

/** Goes to a step that was passed already, or back. */
export async function goTo(step: ImportStep): Promise<void> {
  set({ step, problem: null })
  if (step !== 'source' && !isPlanned(get())) await check()
}

/** The next step, once nothing is left to choose in this one. @returns whether it went on */
export async function nextStep(): Promise<boolean> {
  const classNames = [...useRecords.getState().categories.values()].map(({ name }) => name)
  if (get().step === 'source') {
    const { sniffed, path } = get()
    if (sniffed === null && !(await lookAt(path))) return false
  }
  const { step } = get()
  if (blockedBy(get(), classNames) === 'counting') await counting
  if (get().step !== step || blockedBy(get(), classNames) !== null) return false
  // what a choice of classes does to the conflicts must be known before their step
  if (step === 'classes' && !isPlanned(get())) await check()
  if (get().step !== step) return false
  const next = neighbourStep(get(), 1)
  if (next === null) return false
  await goTo(next)
  return true
}

/** The step before; the first one has none. */
export async function previousStep(): Promise<void> {
  const step = neighbourStep(get(), -1)
  if (step !== null) await goTo(step)
}

/** Writes what the plan says, in one revision, or nothing. */
export async function startImport(): Promise<void> {
  const state = get()
  if (state.step !== 'import' || !isPlanned(state) || state.plan?.refusal !== null || state.writing !== null) return
  const controller = new AbortController()
  abort = controller
  set({ writing: { done: 0, total: null, note: '' }, problem: null })
  useWork.setState(({ pending }) => ({ pending: pending + 1 }))
  try {
    const result = await client().run('transfer.import', importInput(state), {
      signal: controller.signal,
      onProgress: (writing) => get().writing !== null && set({ writing }),
    })
    set({ result, writing: null })
    announce(i18n.t('import.imported', { count: result.plan.annotations.toAdd }))
  } catch (error) {
    const cancelled = isCancelled(error) || controller.signal.aborted
    set({ writing: null, problem: cancelled ? i18n.t('import.cancelled') : errorText(error) })
    // the project or the file changed meanwhile: what it would do now is counted anew, without losing the sentence
    const { problem } = get()
    if (!cancelled) await check()
    if (get().problem === null) set({ problem })
  } finally {
    useWork.setState(({ pending }) => ({ pending: pending - 1 }))
    if (abort === controller) abort = null
  }
}

/** Stops the writing; nothing of it stays. */
export function cancelImport(): void {
  abort?.abort()
}

/** Takes an import back. @returns notLast when something was done after it, so that undo would take back that */
export async function undoImport(seq: number): Promise<'undone' | 'notLast' | 'stopped'> {
  const entries = await client().call('history.list', { limit: 100 })
  const steps = entries.filter(
    ({ actor, undoes, redoes }) => actor !== 'model' && actor !== 'scan' && !undoes && !redoes,
  )
  const last = steps.find(({ undone }) => !undone)
  if (last?.seq !== seq) return 'notLast'
  return (await undo('undo')) ? 'undone' : 'stopped'
}
