import { describe, expect, it } from 'vitest'
import type { GroundedSpan, ImageSummary, Message } from '../../db/records/records.ts'
import { en } from '../../renderer/i18n/en.ts'
import i18n from '../../renderer/i18n/index.ts'
import { zh } from '../../renderer/i18n/zh.ts'
import { commands } from '../../renderer/keys/commands.ts'
import { keyCaps, keymap, shownKey } from '../../renderer/keys/keymap.ts'
import { answerParts, regionCount } from '../../renderer/panels/answerParts.ts'
import { captionColour } from '../../renderer/panels/colourWords.ts'
import { imageState } from '../../renderer/panels/imageState.ts'

const span = (start: number, end: number, text: string, regions: number[] = [1]): GroundedSpan => ({
  text,
  start,
  end,
  boxes: regions.map((region) => ({ region, bboxXywh: [0, 0, 1, 1], score: 1 })),
  unresolved: [],
})

describe('answerParts', () => {
  it('counts code points, not UTF-16 units', () => {
    const text = '🐈 and 🐕🐕.'
    expect(answerParts(text, [span(6, 8, '🐕🐕'), span(0, 1, '🐈')])).toEqual([
      { text: '🐈', spanIndex: 1 },
      { text: ' and ', spanIndex: null },
      { text: '🐕🐕', spanIndex: 0 },
      { text: '.', spanIndex: null },
    ])
  })
  it('keeps every character once, whatever the spans say', () => {
    const text = 'a red car and a dog'
    for (const spans of [
      [],
      [span(2, 9, 'x'), span(4, 12, 'y')],
      [span(5, 99, 'z')],
      [span(7, 3, 'w')],
      [span(4, 4, '')],
    ]) {
      expect(
        answerParts(text, spans)
          .map((part) => part.text)
          .join(''),
      ).toBe(text)
    }
  })
  it('keeps a place for boxes without words', () => {
    expect(answerParts('', [span(0, 0, '')])).toEqual([{ text: '', spanIndex: 0 }])
  })
  it('counts regions once', () => {
    expect(regionCount({ spans: [span(0, 1, 'a', [3, 7]), span(2, 3, 'b', [7])] } as Message)).toBe(2)
  })
})

describe('imageState', () => {
  const t = i18n.t.bind(i18n) as unknown as (key: string, values?: Record<string, unknown>) => string
  const image = (counts: Partial<ImageSummary['counts']>, change: Partial<ImageSummary> = {}) =>
    ({
      status: 'ready',
      done: false,
      proposedAt: 1,
      counts: { proposed: 0, accepted: 0, edited: 0, rejected: 0, ...counts },
      ...change,
    }) as ImageSummary
  it.each([
    ['6 ✓', image({ accepted: 5, edited: 1 })],
    ['8 ✓ 1 ×', image({ accepted: 8, rejected: 1 })],
    ['1 ×', image({ rejected: 1 })],
    ['3 of 8', image({ accepted: 2, edited: 1, proposed: 5 })],
    ['7 proposed', image({ proposed: 7 })],
    ['new', image({}, { proposedAt: null })],
    ['nothing found', image({})],
    ['done', image({}, { done: true })],
    ['2 ✓', image({ accepted: 2, proposed: 3 }, { done: true })],
    ['missing', image({ accepted: 2 }, { status: 'missing' })],
  ])('%s', (words, summary) => {
    expect(imageState(summary, undefined, t).words).toBe(words)
  })
  it('says what is being computed', () => {
    expect(imageState(image({}), { imageId: 1, state: 'computing', note: '' }, t).words).toBe('computing')
    expect(imageState(image({}, { proposedAt: null }), { imageId: 1, state: 'queued', note: '' }, t).words).toBe(
      'waiting',
    )
  })
})

describe('captionColour', () => {
  it('takes the first colour word, and no part of a word', () => {
    expect(captionColour('a large Red circle on green')).toBe('#d62828')
    expect(captionColour('a bored dog')).toBe(null)
    expect(captionColour('constructor')).toBe(null)
    expect(captionColour(null)).toBe(null)
  })
})

describe('the languages', () => {
  const paths = (value: object, prefix = ''): string[] =>
    Object.entries(value).flatMap(([key, inner]) =>
      typeof inner === 'string' ? [`${prefix}${key}`] : paths(inner as object, `${prefix}${key}.`),
    )
  const read = (words: object, path: string) =>
    path
      .split('.')
      .reduce((value, key) => (value as Record<string, unknown>)[key] as object, words) as unknown as string
  it('say the same things with the same values', () => {
    expect(paths(zh)).toEqual(paths(en))
    for (const path of paths(en)) {
      const names = (text: string) => [...text.matchAll(/\{\{(\w+)\}\}/g)].map((match) => match[1]).sort()
      expect(names(read(zh, path)), path).toEqual(names(read(en, path)))
    }
  })
  it('keep the names that stay', () => {
    expect([en.images.title, en.canvas.title, en.regions.title, en.bar.confidence, en.talk.ask, en.talk.log]).toEqual([
      'Images',
      'Canvas',
      'Regions',
      'Confidence',
      'Ask about the image',
      'Conversation',
    ])
    expect([en.top.propose, en.bar.accept, en.bar.reject, en.top.undo, en.top.redo, en.top.export]).toEqual([
      'Propose',
      'Accept',
      'Reject',
      'Undo',
      'Redo',
      'Export',
    ])
    expect(i18n.t('bar.acceptCount', { count: 4 })).toBe('Accept 4')
    expect([en.status.saved, en.status.saving]).toEqual(['Saved', 'Saving'])
  })
})

describe('the keymap', () => {
  it('gives no key twice', () => {
    const keys = keymap.flatMap((binding) => [...binding.keys] as string[])
    expect(new Set(keys).size).toBe(keys.length)
    for (let digit = 1; digit <= 9; digit++) expect(keys).not.toContain(String(digit)) // classes
  })
  it('knows what every command does and is called', () => {
    expect(Object.keys(commands).sort()).toEqual(keymap.map(({ command }) => command as string).sort())
    for (const { command } of keymap) expect(en.commands).toHaveProperty(command)
  })
  it('prints keys as they are on the keyboard', () => {
    expect(keyCaps('$mod+Shift+z')).toEqual(['Ctrl', '⇧', 'Z'])
    expect(keyCaps('[Shift]+?')).toEqual(['?'])
    expect(keyCaps('[Shift]++')).toEqual(['+'])
    expect(shownKey('acceptAbove')).toEqual(['⇧', '↵'])
    expect(shownKey('rescan')).toEqual([])
  })
})
