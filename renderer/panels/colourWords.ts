/** The colour a caption names, for the swatch beside it. Pure. */
const COLOURS: Readonly<Record<string, string>> = {
  red: '#d62828',
  green: '#2ea043',
  blue: '#2f5fd0',
  yellow: '#f4d03f',
  purple: '#8e44ad',
  violet: '#7f4fc9',
  orange: '#f08828',
  black: '#181818',
  white: '#f6f6f6',
  grey: '#8a8f96',
  gray: '#8a8f96',
  brown: '#8b5a2b',
  pink: '#f29cb7',
  beige: '#e3d5b8',
  silver: '#c0c5cb',
  gold: '#d4a62a',
  teal: '#1f8a8a',
  turquoise: '#40c4bb',
}

/** `#rrggbb` of the first colour word, or null. */
export function captionColour(caption: string | null): string | null {
  for (const word of caption?.toLowerCase().match(/[a-z]+/g) ?? []) {
    const colour = Object.hasOwn(COLOURS, word) ? COLOURS[word] : undefined
    if (colour !== undefined) return colour
  }
  return null
}
