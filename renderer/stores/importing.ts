/**
 * An import on its way: what is to come in, what was chosen about it, and what the services said it would do. Nothing of
 * it is written before the last step. The functions beside the store are pure.
 */
import { create } from 'zustand'
import type { FormatName, ImportPlan, Input, Output, Progress } from '../../electron/contract/api.ts'

export const IMPORT_STEPS = ['source', 'check', 'classes', 'conflicts', 'import'] as const
export type ImportStep = (typeof IMPORT_STEPS)[number]
export type CategoryChoice = NonNullable<Input<'transfer.preview'>['categories']>[string]

export interface ImportChoices {
  readonly match: 'auto' | 'name' | 'hash' | 'id'
  /** Images that the project lacks; `ask` until someone has chosen. */
  readonly missing: 'ask' | 'skip' | 'add' | 'copy'
  /** Where pictures to copy lie; '' = in the imported folder or zip itself. */
  readonly picturesDir: string
  /** Leave out images whose picture was not found there. */
  readonly leaveRest: boolean
  /** Of COCO results: the COCO file they number, `project` for this project's own numbers, '' = found out. */
  readonly instances: string
  readonly skipBad: boolean
  readonly status: 'asFile' | 'accepted' | 'proposed'
  readonly conflicts: 'ask' | 'add' | 'skip' | 'replace'
  /** Only what a person changed; the plan says what becomes of the others. */
  readonly categories: Readonly<Record<string, CategoryChoice>>
}

export interface ImportState {
  readonly step: ImportStep
  /** The project it goes into; another one starts anew. */
  readonly projectPath: string | null
  readonly path: string
  readonly format: FormatName | 'auto'
  /** What `path` looks like; null until it was looked at. */
  readonly sniffed: Output<'transfer.sniff'> | null
  /** The name of a file dropped where its place is not told. */
  readonly dropped: string | null
  readonly choices: ImportChoices
  readonly plan: ImportPlan | null
  /** {@link planKey} of the choices that `plan` answers. */
  readonly plannedKey: string | null
  /** Boxes of each class as long as it was not left out: leaving it out must not make them look like none. */
  readonly classCounts: ReadonlyMap<string, number>
  /** Images with boxes, as counted before they were left alone. */
  readonly standing: ImportPlan['conflicts'] | null
  readonly checking: Progress | null
  readonly writing: Progress | null
  readonly problem: string | null
  readonly result: Output<'transfer.import'> | null
}

const defaultChoices: ImportChoices = {
  match: 'auto',
  missing: 'ask',
  picturesDir: '',
  instances: '',
  leaveRest: false,
  skipBad: false,
  status: 'asFile',
  conflicts: 'ask',
  categories: {},
}

export const emptyImport: ImportState = {
  step: 'source',
  projectPath: null,
  path: '',
  format: 'auto',
  sniffed: null,
  dropped: null,
  choices: defaultChoices,
  plan: null,
  plannedKey: null,
  classCounts: new Map(),
  standing: null,
  checking: null,
  writing: null,
  problem: null,
  result: null,
}

export const useImport = create<ImportState>(() => emptyImport)

/** What the contract is asked for. */
export function importInput({ path, format, choices }: ImportState): Input<'transfer.import'> {
  const { match, missing, picturesDir, instances, leaveRest, skipBad, status, conflicts, categories } = choices
  const copying = missing === 'copy'
  const folder = picturesDir.trim()
  return {
    path,
    format,
    match,
    missingImages: missing === 'skip' || (copying && leaveRest) ? 'skip' : missing === 'add' ? 'add' : 'refuse',
    conflicts,
    categories: { ...categories },
    skipBad,
    ...(status === 'asFile' ? {} : { status }),
    ...(format !== 'coco-results' || instances.trim() === '' ? {} : { instances: instances.trim() }),
    ...(copying ? (folder === '' ? { copyImages: true } : { imagesDir: folder }) : {}),
  }
}

/** Names a set of choices: a plan is good as long as the key it was made for is the present one. */
export const planKey = (state: ImportState): string => JSON.stringify(importInput(state))

/** Whether the plan answers the present choices. */
export const isPlanned = (state: ImportState): boolean =>
  state.plan !== null && state.checking === null && state.plannedKey === planKey(state)

/** Whether a step has anything to choose; the others are passed over. */
export function hasChoices({ plan, standing }: ImportState, step: ImportStep): boolean {
  if (step === 'classes') return plan !== null && plan.categories.length > 0
  if (step === 'conflicts') return standing !== null && standing.images > 0
  return true
}

/** The step after (or before) one, without those that have nothing to choose. */
export function neighbourStep(state: ImportState, direction: 1 | -1): ImportStep | null {
  for (let at = IMPORT_STEPS.indexOf(state.step) + direction; ; at += direction) {
    const step = IMPORT_STEPS[at]
    if (step === undefined) return null
    if (hasChoices(state, step)) return step
  }
}

const same = (name: string): string => name.trim().normalize('NFC').toLowerCase()

/** A choice that merges into a class that the project does not have. */
export function unknownTargets({ choices }: ImportState, classNames: readonly string[]): string[] {
  const known = new Set(classNames.map(same))
  return Object.entries(choices.categories)
    .filter(([, { action, into }]) => action === 'merge' && !known.has(same(into ?? '')))
    .map(([name]) => name)
}

export type Blocked = 'path' | 'format' | 'counting' | 'problems' | 'missing' | 'notFound' | 'target' | 'conflicts'

/** What must be chosen before this step can be left; null when it can. */
export function blockedBy(state: ImportState, classNames: readonly string[]): Blocked | null {
  const { step, choices, plan, standing, sniffed, path } = state
  if (step === 'source') {
    if (path.trim() === '') return 'path'
    return state.format === 'auto' && sniffed !== null && !sniffed.isZip ? 'format' : null
  }
  if (step === 'classes') return unknownTargets(state, classNames).length > 0 ? 'target' : null
  if (step === 'conflicts') return standing !== null && standing.images > 0 && choices.conflicts === 'ask' ? step : null
  if (plan === null || !isPlanned(state)) return 'counting'
  if (plan.problems.count > 0 && !choices.skipBad) return 'problems'
  if (plan.images.missing > 0 && choices.missing === 'ask') return 'missing'
  if (plan.images.missing > 0 && choices.missing === 'copy' && !choices.leaveRest && plan.refusal !== null) {
    // a refusal over boxes that are there already is asked about later
    if (state.standing === null || state.standing.images === 0 || choices.conflicts !== 'ask') return 'notFound'
  }
  if (step === 'import' && plan.refusal !== null) return 'conflicts'
  return null
}

/** The state with a plan that has come for `key`. */
export function withPlan(state: ImportState, plan: ImportPlan, key: string): Partial<ImportState> {
  const classCounts = new Map(state.classCounts)
  for (const { name, annotations, action } of plan.categories) {
    if (action !== 'skip' || !classCounts.has(name)) classCounts.set(name, annotations)
  }
  const counted = state.choices.conflicts !== 'skip' || state.standing === null
  return {
    plan,
    plannedKey: key,
    checking: null,
    classCounts,
    ...(counted ? { standing: plan.conflicts } : {}),
  }
}
