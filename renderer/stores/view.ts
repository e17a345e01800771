/** What the person is looking at and doing: never saved to the project, never sent to the services. */
import { create } from 'zustand'
import type { BboxXywh } from '../../db/records/records.ts'

export type Tool = 'select' | 'draw' | 'pan'
export type RightTab = 'regions' | 'info' | 'history'
export type DialogName = 'folder' | 'project' | 'import' | 'export' | 'keys' | 'palette' | 'skipped' | 'settings'
export type TalkMode = 'grounded' | 'plain' | 'find'

/** What is being edited: the box with keys, or a field in the decision bar or in a row. */
export interface Editing {
  readonly annotationId: number
  readonly field: 'box' | 'caption' | 'category'
  readonly place: 'bar' | 'row'
}

/** Boxes lit because the pointer or the focus is on a phrase. */
export interface LitBox {
  readonly bboxXywh: BboxXywh
  readonly label: string
}

export interface ViewState {
  readonly imageId: number | null
  readonly regionId: number | null
  /** `performance.now()` when the region became the one in question: the start of the decision's clock. */
  readonly regionSince: number
  /** Decisions sent but not yet told back: the queue goes on without them. */
  readonly deciding: ReadonlySet<number>
  readonly threshold: number
  readonly tool: Tool
  readonly editing: Editing | null
  /** The box while it is being moved with keys. */
  readonly draftBox: BboxXywh | null
  readonly hoveredId: number | null
  readonly lit: readonly LitBox[]
  readonly dimRest: boolean
  readonly follow: boolean
  readonly imageFilter: string
  readonly rightTab: RightTab
  readonly leftOpen: boolean
  readonly rightOpen: boolean
  /** The window is too narrow for three columns: the right one is a drawer, closed unless asked for. */
  readonly narrow: boolean
  readonly drawerOpen: boolean
  readonly leftWidth: number
  readonly rightWidth: number
  readonly dialog: DialogName | null
  /** Files from outside are held over the window. */
  readonly dropping: boolean
  readonly zoom: number
  readonly connected: boolean
  /** The application no longer takes this window's token. */
  readonly refused: boolean
  readonly talkMode: TalkMode
  readonly findAll: boolean
  /** Regions that ride along with the next question. */
  readonly attachedIds: readonly number[]
}

const KEPT = ['threshold', 'dimRest', 'follow', 'leftOpen', 'rightOpen', 'leftWidth', 'rightWidth'] as const
const STORAGE_KEY = 'gromatic.view'

const initial: ViewState = {
  imageId: null,
  regionId: null,
  regionSince: 0,
  deciding: new Set(),
  threshold: 0.35,
  tool: 'select',
  editing: null,
  draftBox: null,
  hoveredId: null,
  lit: [],
  dimRest: true,
  follow: false,
  imageFilter: '',
  rightTab: 'regions',
  leftOpen: true,
  rightOpen: true,
  narrow: false,
  drawerOpen: false,
  leftWidth: 232,
  rightWidth: 336,
  dialog: null,
  dropping: false,
  zoom: 1,
  connected: true,
  refused: false,
  talkMode: 'grounded',
  findAll: false,
  attachedIds: [],
}

/** The layout of the last time; anything unreadable is ignored, it is only a convenience. */
function remembered(): Partial<ViewState> {
  try {
    const stored: unknown = JSON.parse(globalThis.localStorage?.getItem(STORAGE_KEY) ?? '{}')
    if (typeof stored !== 'object' || stored === null) return {}
    const fits = KEPT.filter((key) => typeof (stored as Record<string, unknown>)[key] === typeof initial[key])
    return Object.fromEntries(fits.map((key) => [key, (stored as Record<string, unknown>)[key]]))
  } catch {
    return {}
  }
}

export const useView = create<ViewState>(() => ({ ...initial, ...remembered() }))

/** Starts remembering the layout; called once by the window, not by tests. */
export function rememberLayout(): void {
  let timer: ReturnType<typeof setTimeout> | undefined
  useView.subscribe((state, before) => {
    if (KEPT.every((key) => state[key] === before[key])) return
    clearTimeout(timer)
    timer = setTimeout(() => {
      try {
        localStorage.setItem(STORAGE_KEY, JSON.stringify(Object.fromEntries(KEPT.map((key) => [key, state[key]]))))
      } catch {
        // a full or forbidden storage only costs the convenience
      }
    }, 300)
  })
}

/** Whether the right column is to be seen. */
export const rightShown = (view: ViewState): boolean => (view.narrow ? view.drawerOpen : view.rightOpen)

/** What shows or hides the right column, whichever form it has now. */
export const showRight = (shown: boolean): Partial<ViewState> =>
  useView.getState().narrow ? { drawerOpen: shown } : { rightOpen: shown }

/** Below this the right column is a drawer. The style sheet knows the same width. */
const NARROW = '(max-width: 1099px)'

/** Watches the window's width. */
export function followWidth(): void {
  const query = matchMedia(NARROW)
  const apply = () => useView.setState({ narrow: query.matches, drawerOpen: false })
  apply()
  query.addEventListener('change', apply)
}
