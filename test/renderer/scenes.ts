/** Scenes of coloured shapes, drawn as SVG: the same for the same number. */
import type { BboxXywh } from '../../db/records/records.ts'

export interface Scene {
  readonly width: number
  readonly height: number
  readonly ground: readonly [string, string]
  readonly objects: readonly {
    bboxXywh: BboxXywh
    caption: string
    score: number
    shape: string
    fill: string
    angle: number
  }[]
}

const SHAPES = ['circle', 'square', 'triangle', 'star', 'cross', 'hexagon', 'ring', 'heart'] as const
const FILLS: Readonly<Record<string, string>> = {
  red: '#d62828',
  green: '#2ea043',
  blue: '#2f5fd0',
  yellow: '#f4d03f',
  purple: '#8e44ad',
  orange: '#f08828',
  black: '#181818',
  white: '#f6f6f6',
}
const GROUNDS = [
  ['#57756d', '#5b5654'],
  ['#6d7f8f', '#8d8a98'],
  ['#8a7566', '#6b6258'],
  ['#7f9180', '#a5b39a'],
  ['#9a8d9c', '#b3a6b5'],
] as const

/** A small seeded generator (mulberry32). */
function random(seed: number): () => number {
  let state = seed + 0x6d2b79f5
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

/** Scene number `seed`; `count` objects, or 4 to 9. */
export function makeScene(seed: number, count: number): Scene {
  const next = random(seed * 7919 + 13)
  const [width, height] = (
    [
      [800, 500],
      [640, 640],
      [900, 600],
      [500, 760],
    ] as const
  )[seed % 4 === 3 ? 0 : seed % 3]!
  const wanted = count > 0 ? count : 4 + Math.floor(next() * 6)
  const crowded = wanted > 40
  const objects: Scene['objects'][number][] = []
  const colours = Object.keys(FILLS)
  for (let tries = 0; objects.length < wanted && tries < wanted * 60; tries++) {
    const large = next() < 0.35
    const side = crowded
      ? 6 + next() * 14
      : Math.min(width, height) * (large ? 0.24 + next() * 0.1 : 0.1 + next() * 0.05)
    const x = 4 + next() * (width - side - 8)
    const y = 4 + next() * (height - side - 8)
    const colour = colours[Math.floor(next() * colours.length)]!
    const shape = SHAPES[Math.floor(next() * SHAPES.length)]!
    const angle = shape === 'square' ? 0 : Math.floor(next() * 4) * 90
    const score = Math.round((0.18 + 0.81 * Math.sqrt(next())) * 1000) / 1000
    const overlaps = objects.some(
      ({ bboxXywh: b }) => x < b[0] + b[2] && b[0] < x + side && y < b[1] + b[3] && b[1] < y + side,
    )
    if (overlaps && !crowded) continue
    objects.push({
      bboxXywh: [x, y, side, side],
      caption: `a ${large ? 'large' : 'small'} ${colour} ${shape}`,
      score,
      shape,
      fill: FILLS[colour]!,
      angle,
    })
  }
  return { width, height, ground: GROUNDS[seed % GROUNDS.length]!, objects }
}

const POINTS: Readonly<Record<string, string>> = {
  square: '0,0 100,0 100,100 0,100',
  triangle: '50,4 100,96 0,96',
  star: '50,0 62,36 100,38 70,60 81,97 50,75 19,97 30,60 0,38 38,36',
  cross: '33,0 67,0 67,33 100,33 100,67 67,67 67,100 33,100 33,67 0,67 0,33 33,33',
  hexagon: '25,6 75,6 100,50 75,94 25,94 0,50',
}

/** The scene as an address. */
export function sceneUrl(scene: Scene): string {
  // an SVG is drawn anew every frame; a crowd of shapes would measure that instead of the boxes
  const drawn = scene.objects.slice(0, 200).map(({ bboxXywh: [x, y, w], shape, fill, angle }) => {
    const points = POINTS[shape]
    const body =
      points !== undefined
        ? `<polygon points="${points}" fill="${fill}"/>`
        : shape === 'heart'
          ? `<path d="M50 98 C-30 40 8 -14 50 22 C92 -14 130 40 50 98Z" fill="${fill}"/>`
          : shape === 'ring'
            ? `<circle cx="50" cy="50" r="38" fill="none" stroke="${fill}" stroke-width="24"/>`
            : `<circle cx="50" cy="50" r="50" fill="${fill}"/>`
    return `<g transform="translate(${x} ${y}) scale(${w / 100}) rotate(${angle} 50 50)">${body}</g>`
  })
  const [from, to] = scene.ground
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${scene.width}" height="${scene.height}" viewBox="0 0 ${scene.width} ${scene.height}"><defs><linearGradient id="g" x2="1" y2="1"><stop stop-color="${from}"/><stop offset="1" stop-color="${to}"/></linearGradient></defs><rect width="100%" height="100%" fill="url(#g)"/>${drawn.join('')}</svg>`
  return `data:image/svg+xml,${encodeURIComponent(svg)}`
}
