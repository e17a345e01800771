/**
 * Binds the keymap to the window. A key belongs, in this order, to: an open dialog, a text field, a focused control
 * that uses it natively, the box being edited, the drawing tool, and then the flow.
 */
import { createKeybindingsHandler } from 'tinykeys'
import { relabel } from '../actions/decide.ts'
import { keepDraft } from '../actions/draft.ts'
import { stepRegion } from '../actions/select.ts'
import { currentStage } from '../canvas/bindStage.ts'
import { nudge, repeatStep } from '../canvas/boxMath.ts'
import { spaceBar } from '../canvas/pointer.ts'
import { useRecords } from '../stores/records.ts'
import { useView } from '../stores/view.ts'
import { commands, focusCanvas, run } from './commands.ts'
import { type Binding, type CommandId, keymap } from './keymap.ts'

const ARROWS: Readonly<Record<string, readonly [number, number]>> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
}
/** Keys with which a slider is moved. */
const SLIDER_KEYS = new Set([...Object.keys(ARROWS), 'Home', 'End', 'PageUp', 'PageDown'])

/** Whether the event's target wants characters. */
function inTextField(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false
  if (target instanceof HTMLInputElement)
    return !['range', 'checkbox', 'radio', 'button', 'color'].includes(target.type)
  return target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement || target.isContentEditable
}

/** Whether a focused control uses this key itself. */
function isNative(event: KeyboardEvent): boolean {
  const { target } = event
  if (!(target instanceof HTMLElement)) return false
  if (target instanceof HTMLInputElement && target.type === 'range') return SLIDER_KEYS.has(event.key)
  const activates = event.key === 'Enter' || event.key === ' '
  if (activates && target.closest('button, a, summary, input, [role="separator"]')) return true
  return target.closest('[role="menu"]') !== null && event.key !== 'Escape'
}

const held = { key: '', repeats: 0 }

/** Pixels of one arrow press: one, ten with Shift, more the longer it is held. */
function arrowStep(event: KeyboardEvent): number {
  held.repeats = event.repeat && held.key === event.key ? held.repeats + 1 : 0
  held.key = event.key
  return (event.shiftKey ? 10 : 1) * repeatStep(held.repeats)
}

/** Keys of the box being edited. @returns whether the key was one of them */
function editKey(event: KeyboardEvent): boolean {
  const { editing, draftBox, imageId } = useView.getState()
  const image = imageId === null ? undefined : useRecords.getState().images.get(imageId)
  if (editing?.field !== 'box' || draftBox === null || image === undefined) return false
  const arrow = ARROWS[event.key]
  if (arrow !== undefined) {
    const step = arrowStep(event)
    const what = event.altKey ? 'resize' : event.ctrlKey || event.metaKey ? 'resizeStart' : 'move'
    const next = nudge(draftBox, arrow[0] * step, arrow[1] * step, what, image)
    useView.setState({ draftBox: next })
    currentStage()?.show(next, false)
    return true
  }
  if (event.key !== 'Enter' || event.shiftKey) return false
  keepDraft()
  return true
}

/** Keys of the drawing tool. @returns whether the key was one of them */
function drawKey(event: KeyboardEvent): boolean {
  const stage = currentStage()
  if (stage === null || useView.getState().tool !== 'draw' || event.ctrlKey || event.metaKey || event.altKey)
    return false
  const arrow = ARROWS[event.key]
  if (arrow !== undefined) {
    const step = arrowStep(event)
    stage.drawing.moveBy(arrow[0] * step, arrow[1] * step)
    return true
  }
  if ((event.key !== 'Enter' && event.key !== ' ') || event.shiftKey) return false
  if (!event.repeat) stage.drawing.placeCorner()
  return true
}

/** Tab walks the regions while the picture has the focus and leaves it at the ends: no trap. */
function tabKey(event: KeyboardEvent): boolean {
  if (event.key !== 'Tab' || event.ctrlKey || event.altKey || event.metaKey) return false
  const onCanvas = event.target instanceof HTMLElement && event.target.dataset.pane === 'canvas'
  return onCanvas && stepRegion(event.shiftKey ? -1 : 1)
}

function handle(command: CommandId, binding: Binding, event: KeyboardEvent): void {
  if (event.defaultPrevented) return
  if (inTextField(event.target) && binding.inText !== true) {
    if (command === 'cancel') focusCanvas()
    return
  }
  if (isNative(event)) return
  event.preventDefault()
  if (event.repeat && binding.repeat !== true) return
  if (command === 'skip') return // decided when the bar is let go: held, it pans
  run(command)
}

/** Starts listening. @returns what stops it */
export function bindKeys(): () => void {
  const bindings: Record<string, (event: KeyboardEvent) => void> = {}
  for (const binding of keymap as readonly Binding[]) {
    const command = binding.command as CommandId
    for (const pattern of binding.keys) bindings[pattern] = (event) => handle(command, binding, event)
  }
  for (let digit = 1; digit <= 9; digit++) {
    bindings[String(digit)] = (event) => {
      if (event.defaultPrevented || inTextField(event.target) || event.repeat) return
      event.preventDefault()
      void relabel(digit - 1)
    }
  }
  const bound = createKeybindingsHandler(bindings, { ignore: (event) => event.isComposing })

  const down = (event: KeyboardEvent) => {
    if (event.key === 'Tab' || event.key === 'F6') document.documentElement.dataset.tabbing = ''
    if (document.querySelector('dialog[open], :popover-open') !== null || useRecords.getState().project === undefined)
      return
    // what had the focus is gone: the keys of the flow go on from the picture; Tab knows its place by itself
    if (document.activeElement === document.body && event.key !== 'Tab') focusCanvas()
    const free = !inTextField(event.target) && !isNative(event)
    if (free && event.key === ' ' && !event.repeat && useView.getState().tool !== 'draw') {
      spaceBar.held = true
      spaceBar.panned = false
    }
    if (free && (editKey(event) || drawKey(event) || tabKey(event))) {
      event.preventDefault()
      return
    }
    bound(event)
  }
  const up = (event: KeyboardEvent) => {
    if (event.key !== ' ' || !spaceBar.held) return
    spaceBar.held = false
    if (!spaceBar.panned) commands.skip()
  }
  const blur = () => {
    spaceBar.held = false
  }
  window.addEventListener('keydown', down)
  window.addEventListener('keyup', up)
  window.addEventListener('blur', blur)
  return () => {
    window.removeEventListener('keydown', down)
    window.removeEventListener('keyup', up)
    window.removeEventListener('blur', blur)
  }
}

/**
 * A mouse click on a button must not take the focus from the picture, or the next Enter would press the button again.
 * The talk and dialogs keep theirs.
 */
export function keepFocusOnClick(): () => void {
  const down = (event: MouseEvent) => {
    delete document.documentElement.dataset.tabbing
    const target =
      event.target instanceof Element ? event.target.closest('button, [role="option"], [role="listitem"]') : null
    if (target === null || target.closest('dialog, .talk, .info') !== null) return
    if (event.target instanceof Element && inTextField(event.target)) return
    event.preventDefault()
    focusCanvas()
  }
  window.addEventListener('mousedown', down)
  return () => window.removeEventListener('mousedown', down)
}
