/** The theme's colours for the canvas, read from the style sheet so that they are stated once. */
export interface Palette {
  readonly accent: string
  readonly ok: string
  readonly edited: string
  readonly proposed: string
  readonly no: string
  /** Of a proposal's label: its words must be read on it. */
  readonly proposedText: string
  readonly onState: string
  readonly lit: string
  readonly veil: string
  /** Under every line, so that it is seen on any picture. */
  readonly halo: string
  readonly text: string
  readonly font: string
}

/** The colours as they are now; read again when the theme changes. */
export function readPalette(element: Element): Palette {
  const style = getComputedStyle(element)
  const get = (name: string) => style.getPropertyValue(name).trim()
  return {
    accent: get('--accent'),
    ok: get('--ok'),
    edited: get('--edited'),
    proposed: get('--proposed'),
    no: get('--no'),
    proposedText: get('--proposed-text'),
    onState: get('--on-state'),
    lit: get('--lit'),
    veil: get('--veil'),
    halo: get('--line-halo'),
    text: get('--text'),
    font: get('--font'),
  }
}
