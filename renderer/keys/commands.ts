/** What each command of the keymap does. Buttons, keys and the palette all come here. */
import { flushSync } from 'react-dom'
import { acceptAbove, decide, deleteRegion, setDone, undo } from '../actions/decide.ts'
import { keepDraft } from '../actions/draft.ts'
import { propose } from '../actions/grounding.ts'
import { openImport } from '../actions/import.ts'
import { changeSettings, chooseAndOpen, rescan } from '../actions/project.ts'
import { selectRegion, skipRegion, stepImage, stepRegion } from '../actions/select.ts'
import { currentStage } from '../canvas/bindStage.ts'
import { nextUndecided } from '../stores/queue.ts'
import { useRecords } from '../stores/records.ts'
import { currentRegion, currentRegions } from '../stores/selectors.ts'
import { type DialogName, type Editing, rightShown, showRight, useView, type ViewState } from '../stores/view.ts'
import { shownTheme } from '../theme.ts'
import type { CommandId } from './keymap.ts'

/** Enter right after the last decision was meant for a region that is gone: it must not close the image. */
const SETTLE_MS = 600
let decidedAt = Number.NEGATIVE_INFINITY

/** Puts the focus on the picture, where the keys of the flow work. */
export function focusCanvas(): void {
  document.querySelector<HTMLElement>('[data-pane="canvas"]')?.focus({ preventScroll: true })
}

/** Puts the focus into a part of the window and selects its text. */
export function focusPane(pane: string): void {
  const element = document.querySelector<HTMLElement>(`[data-pane="${pane}"]`)
  element?.focus()
  if (element instanceof HTMLInputElement) element.select()
}

const openDialog = (dialog: DialogName) => useView.setState({ dialog })

/** Starts (or stops) editing a field of the region in question. */
export function startEditing(field: Editing['field'], place: Editing['place'] = 'bar'): void {
  const region = currentRegion()
  if (region === null || (field === 'box' && useView.getState().editing?.field === 'box')) return
  keepDraft()
  useView.setState({
    editing: { annotationId: region.id, field, place },
    draftBox: field === 'box' ? region.bboxXywh : null,
    tool: 'select',
  })
}

/** Enter: accepts what is in question; else goes to the next undecided; else the image is done. */
function acceptOrGoOn(): void {
  const region = currentRegion()
  const { threshold, deciding } = useView.getState()
  if (region?.status === 'proposed') {
    decidedAt = performance.now()
    void decide('accept')
    return
  }
  const next = nextUndecided(currentRegions(), region?.id ?? null, threshold, deciding)
  if (next !== null) {
    selectRegion(next)
    return
  }
  const { imageId } = useView.getState()
  const image = imageId === null ? undefined : useRecords.getState().images.get(imageId)
  const seen = image !== undefined && (image.done || image.proposedAt !== null || currentRegions().length > 0)
  if (seen && performance.now() - decidedAt > SETTLE_MS) void setDone(true, true)
}

function decided(decision: 'reject' | 'reset'): void {
  decidedAt = performance.now()
  void decide(decision)
}

/** Moves the slider by hundredths. */
export function setThreshold(value: number): void {
  useView.setState({ threshold: Math.round(Math.min(1, Math.max(0, value)) * 100) / 100 })
}

/** Focuses a field before the next key arrives: whoever types on at once must not type commands. */
function showAndFocus(pane: string, change: Partial<ViewState>): void {
  flushSync(() => useView.setState(change))
  focusPane(pane)
}

function talkAbout(attach: boolean, find: boolean): void {
  const region = currentRegion()
  const { talkMode } = useView.getState()
  showAndFocus('talk', {
    ...showRight(true),
    talkMode: find ? 'find' : talkMode === 'find' ? 'grounded' : talkMode,
    ...(attach && region !== null ? { attachedIds: [region.id] } : {}),
  })
}

function nextPane(): void {
  const panes = [...document.querySelectorAll<HTMLElement>('[data-pane]')].filter((pane) => pane.offsetParent !== null)
  const index = panes.findIndex((pane) => pane.contains(document.activeElement))
  panes[(index + 1) % panes.length]?.focus()
}

/** Leaves, from the inside out: the corner, the tool, the edit, the region. */
function cancel(): void {
  const view = useView.getState()
  if (currentStage()?.drawing.cancel()) return
  if (view.tool !== 'select') useView.setState({ tool: 'select' })
  else if (view.editing !== null) useView.setState({ editing: null, draftBox: null })
  else if (view.drawerOpen) useView.setState({ drawerOpen: false })
  else selectRegion(null)
}

export const commands: Readonly<Record<CommandId, () => void>> = {
  accept: acceptOrGoOn,
  acceptAbove: () => {
    decidedAt = performance.now()
    void acceptAbove()
  },
  reject: () => decided('reject'),
  reset: () => decided('reset'),
  skip: skipRegion,
  done: () => {
    const { imageId } = useView.getState()
    const image = imageId === null ? undefined : useRecords.getState().images.get(imageId)
    if (image !== undefined) void setDone(!image.done, !image.done)
  },
  lower: () => setThreshold(useView.getState().threshold - 0.01),
  raise: () => setThreshold(useView.getState().threshold + 0.01),
  undo: () => void undo('undo'),
  redo: () => void undo('redo'),
  edit: () => startEditing('box'),
  caption: () => startEditing('caption'),
  category: () => startEditing('category'),
  draw: () => {
    keepDraft()
    useView.setState({ tool: 'draw', editing: null, draftBox: null })
    focusCanvas()
  },
  select: () => useView.setState({ tool: 'select' }),
  delete: () => void deleteRegion(),
  nextRegion: () => void stepRegion(1),
  previousRegion: () => void stepRegion(-1),
  nextImage: () => stepImage(1),
  previousImage: () => stepImage(-1),
  filter: () => {
    showAndFocus('filter', { leftOpen: true })
  },
  panes: nextPane,
  cancel,
  fit: () => currentStage()?.fit(),
  actual: () => currentStage()?.zoomTo(1),
  zoomIn: () => currentStage()?.zoomBy(1.25),
  zoomOut: () => currentStage()?.zoomBy(0.8),
  follow: () => {
    const follow = !useView.getState().follow
    useView.setState({ follow })
    const region = currentRegion()
    if (follow && region !== null) currentStage()?.show(region.bboxXywh, true)
    else if (!follow) currentStage()?.fit()
  },
  dim: () => useView.setState(({ dimRest }) => ({ dimRest: !dimRest })),
  toggleLeft: () => useView.setState(({ leftOpen }) => ({ leftOpen: !leftOpen })),
  toggleRight: () => useView.setState(showRight(!rightShown(useView.getState()))),
  propose: () => void propose(),
  talk: () => talkAbout(false, false),
  askRegion: () => talkAbout(true, false),
  find: () => talkAbout(false, true),
  palette: () => openDialog('palette'),
  keys: () => openDialog('keys'),
  import: () => void openImport(),
  export: () => useRecords.getState().project && openDialog('export'),
  openFolder: () => void chooseAndOpen('folder'),
  openProject: () => void chooseAndOpen('project'),
  rescan: () => void rescan(),
  theme: () => void changeSettings({ theme: shownTheme() === 'dark' ? 'light' : 'dark' }),
  settings: () => openDialog('settings'),
}

/** Runs a command by name. */
export const run = (command: CommandId): void => commands[command]()
