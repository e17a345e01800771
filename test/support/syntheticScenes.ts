/**
 * Scenes of the demo model's world (its vocabulary: native-models/demo/README.md), drawn as SVG and rasterised by librsvg:
 * a second program beside the one that drew the training scenes, so that a good figure here is not memory.
 */
import sharp from 'sharp'

export const shapes = ['circle', 'square', 'triangle', 'star', 'ring', 'cross', 'hexagon', 'heart'] as const
export const colours = {
  red: [214, 40, 40],
  green: [46, 160, 67],
  blue: [47, 95, 208],
  yellow: [244, 208, 63],
  purple: [142, 68, 173],
  orange: [240, 136, 40],
  black: [24, 24, 24],
  white: [246, 246, 246],
} as const
type Shape = (typeof shapes)[number]
type Colour = keyof typeof colours
type Point = [number, number]

export interface SceneObject {
  shape: Shape
  colour: Colour
  size: 'small' | 'large'
  /** Tight box, pixels. */
  bboxXywh: [number, number, number, number]
  /** `a large red circle` */
  caption: string
}
export interface Scene {
  width: number
  height: number
  objects: SceneObject[]
  /** An encoded PNG or JPEG. */
  bytes: Buffer
}

/** mulberry32: a small seeded generator, uniform in [0, 1). */
function random(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

const regular = (corners: number, radiusAt: (corner: number) => number): Point[] =>
  Array.from({ length: corners }, (_, k) => {
    const angle = (2 * Math.PI * k) / corners - Math.PI / 2
    return [radiusAt(k) * Math.cos(angle), radiusAt(k) * Math.sin(angle)]
  })

/** Outline of a shape around the origin; a ring has its hole as a second outline. */
function outlines(shape: Shape, next: () => number): Point[][] {
  switch (shape) {
    case 'circle':
      return [regular(96, () => 1)]
    case 'ring': {
      const hole = 0.5 + 0.1 * next()
      return [regular(96, () => 1), regular(96, () => hole)]
    }
    case 'square':
      return [regular(4, () => 1)]
    case 'triangle':
      return [regular(3, () => 1)]
    case 'hexagon':
      return [regular(6, () => 1)]
    case 'star': {
      const inner = 0.38 + 0.08 * next()
      return [regular(10, (k) => (k % 2 === 0 ? 1 : inner))]
    }
    case 'cross': {
      const t = 0.3 + 0.08 * next()
      return [
        [
          [-t, -1],
          [t, -1],
          [t, -t],
          [1, -t],
          [1, t],
          [t, t],
          [t, 1],
          [-t, 1],
          [-t, t],
          [-1, t],
          [-1, -t],
          [-t, -t],
        ],
      ]
    }
    case 'heart':
      return [
        Array.from({ length: 120 }, (_, k) => {
          const a = (2 * Math.PI * k) / 120
          return [
            16 * Math.sin(a) ** 3,
            -(13 * Math.cos(a) - 5 * Math.cos(2 * a) - 2 * Math.cos(3 * a) - Math.cos(4 * a)),
          ] satisfies Point
        }),
      ]
  }
}

const overlapOfSmaller = (a: number[], b: number[]) => {
  const w = Math.min(a[0]! + a[2]!, b[0]! + b[2]!) - Math.max(a[0]!, b[0]!)
  const h = Math.min(a[1]! + a[3]!, b[1]! + b[3]!) - Math.max(a[1]!, b[1]!)
  return w <= 0 || h <= 0 ? 0 : (w * h) / Math.min(a[2]! * a[3]!, b[2]! * b[3]!)
}

/** What training scenes never have behind their things: stripes, dots, rings, strong blotches, lines as of print. */
function unseenBackground(next: () => number, width: number, height: number): string {
  const muted = () =>
    `hsl(${Math.round(360 * next())},${Math.round(8 + 14 * next())}%,${Math.round(38 + 30 * next())}%)`
  const [one, two] = [muted(), muted()]
  const all = `width="${width}" height="${height}"`
  const cell = Math.round(Math.min(width, height) * (0.05 + 0.08 * next()))
  const tiled = (drawn: string, turn = 0) =>
    `<pattern id="u" width="${cell}" height="${cell}" patternUnits="userSpaceOnUse" patternTransform="rotate(${turn})">${drawn}</pattern><rect ${all} fill="${one}"/><rect ${all} fill="url(#u)"/>`
  switch (Math.floor(next() * 5)) {
    case 0:
      return tiled(`<rect width="${cell / 2}" height="${cell}" fill="${two}"/>`, 20 + Math.round(50 * next()))
    case 1:
      return tiled(`<circle cx="${cell / 2}" cy="${cell / 2}" r="${cell / 5}" fill="${two}"/>`)
    case 2: {
      const rings = Array.from(
        { length: 30 },
        (_, k) => `<circle cx="${width * 0.4}" cy="${height * 0.6}" r="${k * cell}"/>`,
      )
      return `<rect ${all} fill="${one}"/><g fill="none" stroke="${two}" stroke-width="${cell / 3}">${rings.join('')}</g>`
    }
    case 3:
      return `<filter id="b"><feTurbulence type="turbulence" baseFrequency="${(0.004 + 0.01 * next()).toFixed(4)}" numOctaves="5" seed="${Math.floor(next() * 1000)}"/><feColorMatrix values="0.5 0.2 0 0 0.2  0.2 0.5 0 0 0.2  0.2 0.2 0.3 0 0.2  0 0 0 0 1"/></filter><rect ${all} filter="url(#b)"/>`
    default: {
      const rows = Array.from({ length: Math.ceil(height / cell) }, (_, row) =>
        Array.from({ length: Math.ceil(width / cell) }, (_, column) =>
          next() < 0.7
            ? `<rect x="${column * cell}" y="${row * cell}" width="${(cell * (0.3 + 0.6 * next())).toFixed(1)}" height="${(cell / 6).toFixed(1)}"/>`
            : '',
        ).join(''),
      )
      return `<rect ${all} fill="${one}"/><g fill="${two}">${rows.join('')}</g>`
    }
  }
}

function background(next: () => number, width: number, height: number): string {
  const grey = (low = 80, span = 90) => {
    const base = low + span * next()
    return `rgb(${[0, 1, 2].map(() => Math.round(base + 30 * (next() - 0.5))).join(',')})`
  }
  const [one, two] = [grey(), grey()]
  const kind = Math.floor(next() * 4)
  if (kind === 0) return `<rect width="${width}" height="${height}" fill="${one}"/>`
  if (kind === 1)
    return `<linearGradient id="g" x2="${next().toFixed(2)}" y2="1"><stop stop-color="${one}"/><stop offset="1" stop-color="${two}"/></linearGradient><rect width="${width}" height="${height}" fill="url(#g)"/>`
  if (kind === 2) {
    const cell = 16 + Math.round(40 * next())
    return `<pattern id="c" width="${2 * cell}" height="${2 * cell}" patternUnits="userSpaceOnUse"><rect width="${2 * cell}" height="${2 * cell}" fill="${one}"/><rect width="${cell}" height="${cell}" fill="${two}" fill-opacity="0.35"/><rect x="${cell}" y="${cell}" width="${cell}" height="${cell}" fill="${two}" fill-opacity="0.35"/></pattern><rect width="${width}" height="${height}" fill="url(#c)"/>`
  }
  return `<filter id="n"><feTurbulence type="fractalNoise" baseFrequency="${(0.01 + 0.03 * next()).toFixed(3)}" numOctaves="3" seed="${Math.floor(next() * 1000)}"/><feColorMatrix values="0.2 0.1 0 0 0.3  0.1 0.2 0 0 0.3  0 0.1 0.2 0 0.3  0 0 0 0 1"/></filter><rect width="${width}" height="${height}" filter="url(#n)"/>`
}

/** The pairs that `groma_training.vocabulary.HELD_OUT` names: each colour and each shape once. */
export const isHeldOut = (colour: string, shape: string): boolean =>
  Object.keys(colours).indexOf(colour) === (shapes as readonly string[]).indexOf(shape)

export interface SceneOptions {
  /** only things of held-out pairs, or only others; all of them by default */
  pairs?: 'held-out' | 'others'
  backgrounds?: 'unseen'
}

/** Draws scene `seed`: 3 to 9 objects, boxes overlapping at most 15% of the smaller one. */
export async function drawScene(seed: number, options: SceneOptions = {}): Promise<Scene> {
  const next = random(seed)
  const shorter = 320 + Math.round(600 * next())
  const longer = Math.round(shorter * (1 + 0.7 * next()))
  const [width, height] = next() < 0.6 ? [longer, shorter] : [shorter, longer]
  const objects: SceneObject[] = []
  const paths: string[] = []
  const wanted = 3 + Math.floor(next() * 7)
  for (let tries = 0; objects.length < wanted && tries < 3000; tries++) {
    const shape = shapes[Math.floor(next() * shapes.length)]!
    const colour = (Object.keys(colours) as Colour[])[Math.floor(next() * 8)]!
    if (options.pairs && (options.pairs === 'held-out') !== isHeldOut(colour, shape)) continue
    const size = next() < 0.5 ? 'small' : 'large'
    const side = Math.min(width, height) * (size === 'small' ? 0.09 + 0.07 * next() : 0.24 + 0.16 * next())
    // A cross turned by 45 degrees or a square on its corner keep their names; a heart on its head does not help anyone.
    const turn = (shape === 'heart' ? 0.5 * (next() - 0.5) : 2 * Math.PI * next()) as number
    const turned = outlines(shape, next).map((outline) =>
      outline.map(
        ([x, y]): Point => [x * Math.cos(turn) - y * Math.sin(turn), x * Math.sin(turn) + y * Math.cos(turn)],
      ),
    )
    const xs = turned.flat().map(([x]) => x)
    const ys = turned.flat().map(([, y]) => y)
    const [left, top] = [Math.min(...xs), Math.min(...ys)]
    const scale = side / Math.max(Math.max(...xs) - left, Math.max(...ys) - top)
    const [w, h] = [(Math.max(...xs) - left) * scale, (Math.max(...ys) - top) * scale]
    const [x, y] = [1 + next() * (width - w - 2), 1 + next() * (height - h - 2)]
    const bboxXywh: SceneObject['bboxXywh'] = [x, y, w, h]
    if (objects.some((other) => overlapOfSmaller(other.bboxXywh, bboxXywh) > 0.15)) continue
    const fill = `rgb(${colours[colour].map((channel) => Math.round(Math.min(255, Math.max(0, channel + 30 * (next() - 0.5))))).join(',')})`
    const d = turned
      .map(
        (outline) =>
          `M${outline.map(([px, py]) => `${((px - left) * scale + x).toFixed(2)} ${((py - top) * scale + y).toFixed(2)}`).join('L')}Z`,
      )
      .join('')
    paths.push(`<path fill="${fill}" fill-rule="evenodd" d="${d}"/>`)
    objects.push({ shape, colour, size, bboxXywh, caption: `a ${size} ${colour} ${shape}` })
  }
  const behind = options.backgrounds === 'unseen' ? unseenBackground : background
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}">${behind(next, width, height)}${paths.join('')}</svg>`
  const picture = sharp(Buffer.from(svg)).flatten()
  const bytes = await (next() < 0.5
    ? picture.png()
    : picture.jpeg({ quality: 80 + Math.round(15 * next()) })
  ).toBuffer()
  return { width, height, objects, bytes }
}

/**
 * Words that name exactly one object of the scene: `the large red circle`, with a place where the words alone fit several
 * (outermost of its kind by centre); null where no place tells it apart either.
 */
export function referringExpression(scene: Scene, object: SceneObject): string | null {
  const words = `the ${object.size} ${object.colour} ${object.shape}`
  const alike = scene.objects.filter((other) => other.caption === object.caption)
  if (alike.length === 1) return words
  const centre = ({ bboxXywh: [x, y, w, h] }: SceneObject): Point => [x + w / 2, y + h / 2]
  const places = [
    ['on the left', (o: SceneObject) => centre(o)[0]],
    ['on the right', (o: SceneObject) => -centre(o)[0]],
    ['at the top', (o: SceneObject) => centre(o)[1]],
    ['at the bottom', (o: SceneObject) => -centre(o)[1]],
  ] as const
  const place = places.find(([, key]) =>
    alike.every((other) => other === object || key(object) < key(other) - 0.05 * Math.min(scene.width, scene.height)),
  )
  return place ? `${words} ${place[0]}` : null
}

/**
 * Phrases of what is not in the scene, at most one an object: half of them a word away from something that is there.
 */
export function absentExpressions(scene: Scene, seed: number): string[] {
  const next = random(seed ^ 0x5eed)
  const pick = <T>(from: readonly T[]) => from[Math.floor(next() * from.length)]!
  const colourNames = Object.keys(colours) as Colour[]
  const there = new Set(scene.objects.map(({ caption }) => caption))
  const found = new Set<string>()
  for (const object of scene.objects) {
    const words = { size: object.size, colour: object.colour, shape: object.shape }
    if (next() < 0.5) {
      const other = Math.floor(next() * 3)
      if (other === 0) words.size = object.size === 'small' ? 'large' : 'small'
      else if (other === 1) words.colour = pick(colourNames)
      else words.shape = pick(shapes)
    } else Object.assign(words, { size: pick(['small', 'large']), colour: pick(colourNames), shape: pick(shapes) })
    const name = `${words.size} ${words.colour} ${words.shape}`
    if (!there.has(`a ${name}`)) found.add(`the ${name}`)
  }
  return [...found]
}
