/** Colours of new categories: told apart by people with colour-blindness too, readable on photos and on both themes. */
const PALETTE = [
  '#e6772e',
  '#3b8ee0',
  '#2fa66a',
  '#d64e7f',
  '#8f63d9',
  '#c9a227',
  '#1fa5a8',
  '#d9483b',
  '#6f8f2f',
  '#5968d8',
  '#b8602b',
  '#4aa3c7',
  '#a348b5',
  '#7d7468',
] as const

/** The colour of the n-th category, from 0. */
export const colorAt = (index: number): string => PALETTE[index % PALETTE.length]!
