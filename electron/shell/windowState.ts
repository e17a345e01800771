/** Where the window was, kept over restarts and brought back onto a display that is still there. Pure, but for load and save. */
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { z } from 'zod'

export interface Rectangle {
  x: number
  y: number
  width: number
  height: number
}

export const WindowState = z.object({
  bounds: z.object({ x: z.int(), y: z.int(), width: z.int().positive(), height: z.int().positive() }).nullable(),
  maximized: z.boolean(),
})
export type WindowState = z.infer<typeof WindowState>

export const MIN_SIZE = { width: 960, height: 600 } as const
export const FIRST_SIZE = { width: 1440, height: 900 } as const
const FIRST: WindowState = { bounds: null, maximized: false }

const clamp = (value: number, low: number, high: number) => Math.min(Math.max(value, low), Math.max(low, high))

function overlapArea(a: Rectangle, b: Rectangle): number {
  const width = Math.min(a.x + a.width, b.x + b.width) - Math.max(a.x, b.x)
  const height = Math.min(a.y + a.height, b.y + b.height) - Math.max(a.y, b.y)
  return width > 0 && height > 0 ? width * height : 0
}

/**
 * Bounds that lie wholly within one display. `workAreas` are the displays without task bars, the primary one first.
 * A window of an unplugged display goes to the middle of the primary one; a display smaller than the minimum is filled.
 */
export function placeWindow(saved: Rectangle | null, workAreas: readonly Rectangle[]): Rectangle {
  const primary = workAreas[0] ?? { x: 0, y: 0, ...FIRST_SIZE }
  const home =
    saved === null
      ? primary
      : workAreas.reduce((best, area) => (overlapArea(saved, area) > overlapArea(saved, best) ? area : best), primary)
  const wanted = saved ?? FIRST_SIZE
  const width = clamp(wanted.width, Math.min(MIN_SIZE.width, home.width), home.width)
  const height = clamp(wanted.height, Math.min(MIN_SIZE.height, home.height), home.height)
  if (saved === null || overlapArea(saved, home) === 0) {
    return {
      x: Math.round(home.x + (home.width - width) / 2),
      y: Math.round(home.y + (home.height - height) / 2),
      width,
      height,
    }
  }
  return {
    x: clamp(saved.x, home.x, home.x + home.width - width),
    y: clamp(saved.y, home.y, home.y + home.height - height),
    width,
    height,
  }
}

/** Reads the state; a missing or damaged file is a first start. */
export function loadWindowState(path: string): WindowState {
  try {
    return WindowState.parse(JSON.parse(readFileSync(path, 'utf8')))
  } catch {
    return FIRST
  }
}

/** Writes the state beside and renames. A full or read-only disk must not keep the window from closing: false then. */
export function saveWindowState(path: string, state: WindowState): boolean {
  try {
    writeFileSync(`${path}.tmp`, JSON.stringify(state))
    renameSync(`${path}.tmp`, path)
    return true
  } catch {
    return false
  }
}
