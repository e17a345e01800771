import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  loadWindowState,
  MIN_SIZE,
  placeWindow,
  type Rectangle,
  saveWindowState,
} from '../../electron/shell/windowState.ts'

const screen: Rectangle = { x: 0, y: 25, width: 1920, height: 1055 }
const second: Rectangle = { x: 1920, y: 0, width: 2560, height: 1440 }
const left: Rectangle = { x: -1280, y: 0, width: 1280, height: 1024 }
const small: Rectangle = { x: 0, y: 0, width: 800, height: 480 }

describe('placeWindow', () => {
  const cases: [string, Rectangle | null, Rectangle[], Rectangle][] = [
    ['first start: centred', null, [screen], { x: 240, y: 103, width: 1440, height: 900 }],
    [
      'kept as it was',
      { x: 100, y: 100, width: 1200, height: 800 },
      [screen],
      { x: 100, y: 100, width: 1200, height: 800 },
    ],
    [
      'kept on the second display',
      { x: 2000, y: 50, width: 1200, height: 800 },
      [screen, second],
      { x: 2000, y: 50, width: 1200, height: 800 },
    ],
    [
      'kept on a display to the left',
      { x: -1200, y: 50, width: 1100, height: 800 },
      [screen, left],
      { x: -1200, y: 50, width: 1100, height: 800 },
    ],
    [
      'the second display is gone',
      { x: 2000, y: 50, width: 1200, height: 800 },
      [screen],
      { x: 360, y: 153, width: 1200, height: 800 },
    ],
    [
      'pulled back from the edge',
      { x: 1500, y: 900, width: 1200, height: 800 },
      [screen],
      { x: 720, y: 280, width: 1200, height: 800 },
    ],
    [
      'title bar under the menu bar',
      { x: 10, y: 0, width: 1200, height: 800 },
      [screen],
      { x: 10, y: 25, width: 1200, height: 800 },
    ],
    ['larger than the display', { x: 0, y: 25, width: 4000, height: 3000 }, [screen], screen],
    ['smaller than useful', { x: 50, y: 50, width: 10, height: 10 }, [screen], { x: 50, y: 50, ...MIN_SIZE }],
    ['a display below the minimum is filled', null, [small], small],
    [
      'between two displays: the one with more of it',
      { x: 1800, y: 100, width: 1200, height: 800 },
      [screen, second],
      { x: 1920, y: 100, width: 1200, height: 800 },
    ],
    ['no display at all', null, [], { x: 0, y: 0, width: 1440, height: 900 }],
  ]
  it.each(cases)('%s', (_name, saved, areas, expected) => expect(placeWindow(saved, areas)).toEqual(expected))

  it('always lies within one display', () => {
    const number = fc.integer({ min: -10_000, max: 10_000 })
    const size = fc.integer({ min: 1, max: 10_000 })
    const rectangle = fc.record({ x: number, y: number, width: size, height: size })
    fc.assert(
      fc.property(fc.option(rectangle), fc.array(rectangle, { minLength: 1, maxLength: 4 }), (saved, areas) => {
        const placed = placeWindow(saved, areas)
        const inside = (area: Rectangle) =>
          placed.x >= area.x &&
          placed.y >= area.y &&
          placed.x + placed.width <= area.x + area.width &&
          placed.y + placed.height <= area.y + area.height
        expect(areas.some(inside)).toBe(true)
      }),
    )
  })
})

describe('the file', () => {
  const folder = mkdtempSync(join(tmpdir(), 'gromatic-window-'))
  const path = join(folder, 'window.json')

  it('comes back as it was written', () => {
    const state = { bounds: { x: -5, y: 6, width: 1000, height: 700 }, maximized: true }
    expect(saveWindowState(path, state)).toBe(true)
    expect(loadWindowState(path)).toEqual(state)
  })
  it.each([
    '',
    '{',
    '[]',
    'null',
    '{"bounds":{"x":1},"maximized":true}',
    '{"bounds":{"x":0.5,"y":0,"width":1,"height":1},"maximized":false}',
  ])('starts afresh from %s', (text) => {
    writeFileSync(path, text)
    expect(loadWindowState(path)).toEqual({ bounds: null, maximized: false })
  })
  it('does not keep the window from closing', () => {
    expect(saveWindowState(join(folder, 'gone', 'window.json'), { bounds: null, maximized: false })).toBe(false)
    rmSync(folder, { recursive: true })
  })
})
