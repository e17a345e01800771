/**
 * Captions as pycocoevalcap sees them: the tokens of Stanford's PTBTokenizer (3.4.1, -lowerCase), without punctuation.
 * Covers the English of captions; not its markup, its long lists of abbreviations, or smileys beyond the plain ones.
 */

/** What pycocoevalcap drops. Brackets come lower-cased from the tokenizer, so they stay; so does "?!". */
const DROPPED = new Set(["''", "'", '``', '`', '.', '?', '!', ',', ':', '-', '--', '...', ';'])

const TITLES =
  'mr|mrs|ms|dr|prof|rev|gen|sen|rep|gov|sgt|capt|lt|col|st|ave|blvd|rd|dept|ft|mt|inc|co|corp|ltd|bros|vs|jr|sr|etc|jan|feb|mar|apr|jun|jul|aug|sep|sept|oct|nov|dec|al'
const SUFFIX = "'(?:s|re|ve|ll|d|m)(?![\\p{L}\\p{N}])"
const ALNUM = '[\\p{L}\\p{N}_]'

/** Tried in order at each place; `before` must match what stands in front of it. */
const rules: { pattern: RegExp; before?: RegExp; tokens?: (match: string) => string[] }[] = [
  { pattern: /https?:\/\/[^\s<>"|]+/uy },
  { pattern: /[\w.%+-]+@[\w-]+(?:\.[\w-]+)+/uy },
  { pattern: /[@#][\p{L}_][\p{L}\p{N}_]*/uy },
  { pattern: /'n'|ol'(?![\p{L}\p{N}])/uy },
  { pattern: /'\d\ds?(?![\p{L}\p{N}])/uy, before: /(?:^|\s)$/u },
  { pattern: /'(?:em|til|till|cause)(?![\p{L}\p{N}])/uy, before: /(?:^|\s)$/u },
  { pattern: /'t(?=is|was)/uy, before: /(?:^|\s)$/u },
  { pattern: /y'(?=all(?![\p{L}\p{N}]))/uy, before: /(?:^|\s)$/u },
  { pattern: new RegExp(`n't(?![\\p{L}\\p{N}])|${SUFFIX}`, 'uy'), before: /[\p{L}\p{N}]$/u },
  { pattern: /[:;]-?[()]/uy, tokens: (match) => [match.replace('(', '-lrb-').replace(')', '-rrb-')] },
  { pattern: /\.{3,}|\u2026/uy, tokens: () => ['...'] },
  { pattern: /-{2,}|[\u2013\u2014]/uy, tokens: () => ['--'] },
  { pattern: /[?!]+/uy },
  {
    pattern: /(?:cannot|gonna|gotta|gimme|lemme|wanna)(?![\p{L}\p{N}])/uy,
    tokens: (match) => [match.slice(0, 3), match.slice(3)],
  },
  { pattern: /(?:\p{L}\.){2,}/uy },
  { pattern: /\p{L}\.(?=\s|$)/uy },
  { pattern: new RegExp(`(?:${TITLES}|no(?=\\.\\s*\\d))\\.(?=[\\s,;:)\\]]|$)`, 'uy') },
  { pattern: /\d+ \d+\/\d+/uy, tokens: (match) => [match.replace(' ', '\u00a0')] }, // 5 1/2 is one number
  { pattern: /[-+]?\.\d+|[-+]\d+(?:[.,]\d+)*/uy, before: /(?:^|\s)$/u },
  { pattern: new RegExp(ALNUM, 'uy') }, // a word: see wordEnd
]

const brackets: Record<string, string> = {
  '(': '-lrb-',
  ')': '-rrb-',
  '[': '-lsb-',
  ']': '-rsb-',
  '{': '-lcb-',
  '}': '-rcb-',
}

/** A caption's tokens with single spaces between them, lower case, without punctuation. */
export function ptbTokenize(caption: string): string {
  const text = caption
    .replace(/[\u2018\u2019]/gu, "'")
    .replace(/[\u201c\u201d]/gu, '"')
    .toLowerCase()
  const tokens: string[] = []
  for (let at = 0; at < text.length; ) {
    if (/\s/u.test(text[at]!)) {
      at++
      continue
    }
    const [found, end] = tokenAt(text, at)
    tokens.push(...found)
    at = end
  }
  return tokens.filter((token) => !DROPPED.has(token)).join(' ')
}

function tokenAt(text: string, at: number): [tokens: string[], end: number] {
  for (const { pattern, before, tokens } of rules) {
    if (before && !before.test(text.slice(Math.max(0, at - 2), at))) continue
    pattern.lastIndex = at
    const match = pattern.exec(text)?.[0]
    if (match === undefined) continue
    if (pattern === rules.at(-1)!.pattern) {
      const end = wordEnd(text, at)
      return [[text.slice(at, end)], end]
    }
    return [tokens ? tokens(match) : [match], at + match.length]
  }
  const point = String.fromCodePoint(text.codePointAt(at)!)
  const end = at + point.length
  const opens = at === 0 || /[\s([{]/u.test(text[at - 1]!)
  if (point === '"') return [[opens ? '``' : "''"], end]
  if (point === "'") return [[opens && /[\p{L}\p{N}]/u.test(text[end] ?? '') ? '`' : "'"], end]
  return [[brackets[point] ?? point], end]
}

const run = new RegExp(`${ALNUM}+`, 'uy')
const suffix = new RegExp(SUFFIX, 'uy')
/** What joins two runs of letters and digits into one word: "mid-swing", "o'clock", "and/or", "12:30", "1,000". */
const joiner = /(?<=\p{L})'(?=\p{L})|[-./&](?=[\p{L}\p{N}_])|(?<=\p{L})[!?](?=\p{L})|(?<=\p{N})[:,](?=\p{N})/uy

function wordEnd(text: string, start: number): number {
  for (let at = start; ; ) {
    run.lastIndex = at
    run.test(text)
    const end = run.lastIndex
    if (
      end - start > 1 &&
      /n$/u.test(text.slice(start, end)) &&
      /^'t(?![\p{L}\p{N}])/u.test(text.slice(end, end + 3))
    ) {
      return end - 1
    }
    suffix.lastIndex = end
    joiner.lastIndex = end
    if (suffix.test(text) || !joiner.test(text)) return end
    at = end + 1
  }
}
