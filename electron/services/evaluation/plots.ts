/** Small SVG charts that are legible on light and dark paper. PURE. */

export interface Plot {
  /** Part of the file's name. */
  name: string
  title: string
  svg: string
}

const WIDTH = 480
const HEIGHT = 300
const LEFT = 52
const RIGHT = 16
const TOP = 36
const BOTTOM = 44
const INK = '#3c4043'
const GRID = '#dadce0'
const FILL = '#2f5fd0'

const escaped = (text: string) => text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;')
const at = (value: number) => Math.round(value * 100) / 100

function frame(
  title: string,
  axes: { x: string; y: string; yMax: number; xTicks: readonly number[] },
  body: string,
): string {
  const plotHeight = HEIGHT - TOP - BOTTOM
  const plotWidth = WIDTH - LEFT - RIGHT
  const yTicks = [0, 0.25, 0.5, 0.75, 1]
  const lines = yTicks.map((share) => {
    const y = at(HEIGHT - BOTTOM - share * plotHeight)
    const label = share * axes.yMax
    return `<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${y}" y2="${y}" stroke="${GRID}"/><text x="${LEFT - 6}" y="${y + 4}" text-anchor="end">${Number.isInteger(label) ? label : at(label)}</text>`
  })
  const ticks = axes.xTicks.map(
    (x) => `<text x="${at(LEFT + x * plotWidth)}" y="${HEIGHT - BOTTOM + 16}" text-anchor="middle">${at(x)}</text>`,
  )
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${HEIGHT}" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="11" fill="${INK}" role="img" aria-label="${escaped(title)}">
<rect width="${WIDTH}" height="${HEIGHT}" fill="#ffffff"/>
<text x="${LEFT}" y="20" font-size="13" font-weight="600">${escaped(title)}</text>
${lines.join('')}${ticks.join('')}
<text x="${LEFT + plotWidth / 2}" y="${HEIGHT - 8}" text-anchor="middle">${escaped(axes.x)}</text>
<text transform="translate(12 ${TOP + plotHeight / 2}) rotate(-90)" text-anchor="middle">${escaped(axes.y)}</text>
${body}
</svg>
`
}

const TICKS = [0, 0.2, 0.4, 0.6, 0.8, 1]

/** A curve of y in 0..1 over x in 0..1, evenly spaced. */
export function linePlot(name: string, title: string, axes: { x: string; y: string }, values: readonly number[]): Plot {
  const points = values.map((value, i) => {
    const x = LEFT + (i / Math.max(1, values.length - 1)) * (WIDTH - LEFT - RIGHT)
    return `${at(x)},${at(HEIGHT - BOTTOM - value * (HEIGHT - TOP - BOTTOM))}`
  })
  const body = `<polyline fill="none" stroke="${FILL}" stroke-width="2" points="${points.join(' ')}"/>`
  return { name, title, svg: frame(title, { ...axes, yMax: 1, xTicks: TICKS }, body) }
}

/** Bars over equal parts of 0..1; a second row of counts is drawn in outline. */
export function barPlot(
  name: string,
  title: string,
  axes: { x: string; y: string },
  counts: readonly number[],
  outlined?: readonly number[],
): Plot {
  const most = Math.max(4, ...counts, ...(outlined ?? []))
  const yMax = Math.ceil(most / 4) * 4
  const step = (WIDTH - LEFT - RIGHT) / counts.length
  const bar = (count: number, i: number, style: string) => {
    const height = (count / yMax) * (HEIGHT - TOP - BOTTOM)
    return `<rect x="${at(LEFT + i * step + 1)}" y="${at(HEIGHT - BOTTOM - height)}" width="${at(step - 2)}" height="${at(height)}" ${style}/>`
  }
  const body = [
    ...counts.map((count, i) => bar(count, i, `fill="${FILL}" fill-opacity="0.85"`)),
    ...(outlined ?? []).map((count, i) => bar(count, i, 'fill="none" stroke="#c5221f" stroke-width="1.5"')),
  ].join('')
  return { name, title, svg: frame(title, { ...axes, yMax, xTicks: TICKS }, body) }
}
