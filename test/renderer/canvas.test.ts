import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { BboxXywh } from '../../db/records/records.ts'
import { boxBetween, cutInside, moveInside, nudge, repeatStep, sameBox } from '../../renderer/canvas/boxMath.ts'
import { closeUp, pan, reveal, wholePicture, zoomAt } from '../../renderer/canvas/viewport.ts'

const image = { width: 800, height: 500 }
const view = { width: 712, height: 724 }
const insets = { top: 28, right: 28, bottom: 124, left: 64 }

const inside = ([x, y, w, h]: BboxXywh) =>
  x >= -1e-9 && y >= -1e-9 && x + w <= image.width + 1e-9 && y + h <= image.height + 1e-9 && w > 0 && h > 0
const number = fc.double({ min: -2000, max: 2000, noNaN: true })
const box = fc
  .tuple(
    fc.double({ min: 0, max: 790, noNaN: true }),
    fc.double({ min: 0, max: 490, noNaN: true }),
    fc.double({ min: 1, max: 10, noNaN: true }),
    fc.double({ min: 1, max: 10, noNaN: true }),
  )
  .map((values) => values as BboxXywh)

describe('boxes under the hand', () => {
  it('stay inside the image, whatever the hand does', () => {
    fc.assert(
      fc.property(
        box,
        number,
        number,
        fc.constantFrom('move', 'resize', 'resizeStart' as const),
        (start, dx, dy, what) => {
          expect(inside(nudge(start, dx, dy, what as 'move', image))).toBe(true)
          expect(inside(cutInside([start[0] + dx, start[1] + dy, start[2], start[3]], image))).toBe(true)
          expect(inside(moveInside([start[0] + dx, start[1] + dy, start[2], start[3]], image))).toBe(true)
        },
      ),
    )
  })

  it('keep their size when they are moved', () => {
    expect(nudge([790, 10, 8, 8], 50, 0, 'move', image)).toEqual([792, 10, 8, 8])
  })

  it('resize at one corner and hold the other', () => {
    expect(nudge([10, 10, 20, 20], 5, -3, 'resize', image)).toEqual([10, 10, 25, 17])
    expect(nudge([10, 10, 20, 20], 5, -3, 'resizeStart', image)).toEqual([15, 7, 15, 23])
    expect(nudge([10, 10, 20, 20], -100, -100, 'resize', image)).toEqual([10, 10, 1, 1])
  })

  it('are drawn between two corners in any order, and not by a slip', () => {
    expect(boxBetween({ x: 50, y: 60 }, { x: 10, y: 20 }, image)).toEqual([10, 20, 40, 40])
    expect(boxBetween({ x: -50, y: -60 }, { x: 900, y: 600 }, image)).toEqual([0, 0, 800, 500])
    expect(boxBetween({ x: 10, y: 10 }, { x: 11, y: 300 }, image)).toBe(null)
  })

  it('move faster the longer a key is held', () => {
    expect([0, 5, 6, 15, 16, 40].map(repeatStep)).toEqual([1, 1, 4, 4, 12, 12])
  })

  it('are the same to a tenth of a pixel', () => {
    expect(sameBox([1, 2, 3, 4], [1.05, 2, 3, 4])).toBe(true)
    expect(sameBox([1, 2, 3, 4], [1.2, 2, 3, 4])).toBe(false)
  })
})

describe('the viewport', () => {
  it('shows the whole picture between the insets', () => {
    const { zoom, x, y } = wholePicture(image, view, insets)
    expect(zoom).toBeCloseTo((712 - 92) / 800, 6)
    expect(x).toBeCloseTo(64, 6)
    expect(y).toBeGreaterThan(28)
    expect(y + 500 * zoom).toBeLessThan(724 - 124)
  })

  it('zooms around the point under the pointer', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0.1, max: 8, noNaN: true }),
        fc.double({ min: 0, max: 700, noNaN: true }),
        (zoom, at) => {
          const before = { zoom: 0.7, x: 31, y: -12 }
          const after = zoomAt(before, zoom, at, at / 2)
          expect((at - after.x) / after.zoom).toBeCloseTo((at - before.x) / before.zoom, 6)
          expect((at / 2 - after.y) / after.zoom).toBeCloseTo((at / 2 - before.y) / before.zoom, 6)
        },
      ),
    )
  })

  it('never loses the picture', () => {
    fc.assert(
      fc.property(number, number, (dx, dy) => {
        const { x, y, zoom } = pan({ zoom: 1, x: 0, y: 0 }, dx * 10, dy * 10, image, view)
        expect(x + image.width * zoom).toBeGreaterThanOrEqual(60)
        expect(x).toBeLessThanOrEqual(view.width - 60)
        expect(y + image.height * zoom).toBeGreaterThanOrEqual(60)
        expect(y).toBeLessThanOrEqual(view.height - 60)
      }),
    )
  })

  it('moves only as far as a box needs', () => {
    const start = { zoom: 1, x: 0, y: 0 }
    expect(reveal(start, [100, 100, 50, 50], view, insets)).toBe(start)
    const moved = reveal(start, [700, 100, 50, 50], view, insets)
    expect(moved.x).toBeLessThan(0)
    expect(moved.y).toBe(0)
    expect(750 + moved.x).toBeLessThanOrEqual(view.width - insets.right)
  })

  it('comes close to a small box but not too close', () => {
    expect(closeUp([400, 250, 4, 4], view, insets, image).zoom).toBe(8)
    expect(closeUp([0, 0, 800, 500], view, insets, image).zoom).toBeCloseTo(wholePicture(image, view, insets).zoom, 6)
  })
})
