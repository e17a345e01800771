/** The palette as the style sheet states it: every text pair is at least 4.5:1 in both themes. */
/// <reference types="node" />
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'

const css = readFileSync(join(import.meta.dirname, '../../renderer/styles/tokens.css'), 'utf8')

function palette(theme: 'dark' | 'light'): Map<string, string> {
  const block = css.slice(css.indexOf(`:root[data-theme="${theme}"]`)).split('}')[0] ?? ''
  return new Map([...block.matchAll(/--([\w-]+):\s*(#[0-9a-f]{6})/g)].map((match) => [match[1]!, match[2]!]))
}

const luminance = (hex: string) => {
  const [r, g, b] = [1, 3, 5].map((at) => {
    const value = Number.parseInt(hex.slice(at, at + 2), 16) / 255
    return value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4
  }) as [number, number, number]
  return 0.2126 * r + 0.7152 * g + 0.0722 * b
}
const contrast = (a: string, b: string) => {
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y) as [number, number]
  return (high + 0.05) / (low + 0.05)
}

describe.each(['dark', 'light'] as const)('the %s theme', (theme) => {
  const colours = palette(theme)
  const pairs = [
    ...['text', 'dim', 'ok', 'edited', 'proposed-text', 'no-text'].flatMap((text) => [
      [text, 'panel'],
      [text, 'ground'],
    ]),
    ['text', 'raised'],
    ['dim', 'raised'],
    ['text', 'hover'],
    ['text', 'canvas'],
    ['on-accent', 'accent'],
    ['on-accent', 'accent-hover'],
    ...['ok', 'edited', 'proposed-text', 'accent', 'lit'].map((fill) => ['on-state', fill]),
    // states of the selected row
    ...['ok', 'edited', 'proposed-text', 'no-text'].map((text) => [text, 'raised']),
  ] as [string, string][]
  it.each(pairs)('%s on %s', (text, ground) => {
    expect(contrast(colours.get(text)!, colours.get(ground)!)).toBeGreaterThanOrEqual(4.5)
  })
})
