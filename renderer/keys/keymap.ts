/** Which key does what: one table, shown in the help, beside the buttons and in the palette, and bound by bindKeys.ts. */

export type Group = 'decide' | 'edit' | 'move' | 'view' | 'talk'

export interface Binding {
  readonly command: string
  readonly group: Group
  /** tinykeys patterns; the first is the one shown. */
  readonly keys: readonly string[]
  /** May be held. */
  readonly repeat?: true
  /** Works while a text field has the focus. */
  readonly inText?: true
  /** Listed in the command palette. */
  readonly listed?: false
}

export const keymap = [
  { command: 'accept', group: 'decide', keys: ['Enter'] },
  { command: 'acceptAbove', group: 'decide', keys: ['Shift+Enter'] },
  { command: 'reject', group: 'decide', keys: ['x'] },
  { command: 'skip', group: 'decide', keys: ['Space'] },
  { command: 'reset', group: 'decide', keys: ['Shift+x'] },
  { command: 'done', group: 'decide', keys: ['m'] },
  { command: 'lower', group: 'decide', keys: [','], repeat: true, listed: false },
  { command: 'raise', group: 'decide', keys: ['.'], repeat: true, listed: false },
  { command: 'undo', group: 'edit', keys: ['Backspace', '$mod+z'], repeat: true },
  { command: 'redo', group: 'edit', keys: ['$mod+Shift+z', '$mod+y'], repeat: true },
  { command: 'edit', group: 'edit', keys: ['e'] },
  { command: 'caption', group: 'edit', keys: ['c'] },
  { command: 'category', group: 'edit', keys: ['l'] },
  { command: 'draw', group: 'edit', keys: ['d', 'b'] },
  { command: 'select', group: 'edit', keys: ['v'] },
  { command: 'delete', group: 'edit', keys: ['Delete'] },
  { command: 'nextRegion', group: 'move', keys: ['ArrowDown', 'ArrowRight'], repeat: true, listed: false },
  { command: 'previousRegion', group: 'move', keys: ['ArrowUp', 'ArrowLeft'], repeat: true, listed: false },
  { command: 'nextImage', group: 'move', keys: [']', 'PageDown'], repeat: true },
  { command: 'previousImage', group: 'move', keys: ['[', 'PageUp'], repeat: true },
  { command: 'filter', group: 'move', keys: ['/'] },
  { command: 'panes', group: 'move', keys: ['F6'], inText: true, listed: false },
  { command: 'cancel', group: 'move', keys: ['Escape'], listed: false },
  { command: 'fit', group: 'view', keys: ['0'] },
  { command: 'actual', group: 'view', keys: ['Shift+Digit0'] },
  { command: 'zoomIn', group: 'view', keys: ['[Shift]++', '='], repeat: true },
  { command: 'zoomOut', group: 'view', keys: ['-'], repeat: true },
  { command: 'follow', group: 'view', keys: ['z'] },
  { command: 'dim', group: 'view', keys: ['i'] },
  { command: 'toggleLeft', group: 'view', keys: ['$mod+b'], inText: true },
  { command: 'toggleRight', group: 'view', keys: ['$mod+j'], inText: true },
  { command: 'propose', group: 'talk', keys: ['p'] },
  { command: 'talk', group: 'talk', keys: ['t'] },
  { command: 'askRegion', group: 'talk', keys: ['Shift+t'] },
  { command: 'find', group: 'talk', keys: ['g'] },
  { command: 'palette', group: 'talk', keys: ['$mod+k'], inText: true, listed: false },
  { command: 'keys', group: 'talk', keys: ['[Shift]+?', 'F1'] },
  { command: 'import', group: 'talk', keys: ['$mod+i'], inText: true },
  { command: 'export', group: 'talk', keys: ['$mod+e'], inText: true },
  { command: 'openFolder', group: 'talk', keys: ['$mod+o'], inText: true },
  { command: 'openProject', group: 'talk', keys: [] },
  { command: 'rescan', group: 'talk', keys: [] },
  { command: 'theme', group: 'talk', keys: [] },
  { command: 'settings', group: 'talk', keys: [] },
] as const satisfies readonly Binding[]

export type CommandId = (typeof keymap)[number]['command']

const isMac = /Mac/.test(globalThis.navigator?.platform ?? '')

const names: Readonly<Record<string, string>> = {
  Enter: '↵',
  Shift: '⇧',
  $mod: isMac ? '⌘' : 'Ctrl',
  Alt: isMac ? '⌥' : 'Alt',
  ArrowDown: '↓',
  ArrowUp: '↑',
  ArrowLeft: '←',
  ArrowRight: '→',
  Backspace: '⌫',
  Delete: 'Del',
  Escape: 'Esc',
  PageDown: 'PgDn',
  PageUp: 'PgUp',
  Digit0: '0',
}

/** How a pattern is printed on key caps: `$mod+Shift+z` is `Ctrl ⇧ Z`. */
export function keyCaps(pattern: string): string[] {
  return pattern
    .split(/(?<=\w|\])\+/)
    .filter((part) => !/^\[\w+\]$/.test(part))
    .map((part) => names[part] ?? (part.length === 1 ? part.toUpperCase() : part))
}

/** The key shown for a command; empty when it has none. */
export function shownKey(command: CommandId): string[] {
  const pattern = keymap.find((binding) => binding.command === command)?.keys[0]
  return pattern === undefined ? [] : keyCaps(pattern)
}
