/** A category's name from a caption. PURE: words in, a word out. */

/** What ends the noun phrase that a caption begins with: "a cup | on a table", "a dog | that runs". */
const ENDERS = new Set(
  (
    'of on in with at by near from under over above below behind beside between against along around inside outside ' +
    'into onto through to for next and or that which who whose while wearing holding sitting standing lying riding ' +
    'looking facing walking running playing eating is are was has having'
  ).split(' '),
)

/** Words that never name a thing. */
const NOT_A_THING = new Set(
  (
    'a an the this that these those some any one two three four five several many few another other its his her their ' +
    'there it he she they something thing picture image photo region object view part piece side bunch group pair kind ' +
    'red green blue yellow purple pink brown black white gray grey dark bright large small big little tall ' +
    'short long old young'
  ).split(' '),
)

/** "a cup of coffee" is a cup, but "a group of people" is people: these hand their name on to what follows "of". */
const CONTAINERS = new Set(
  'group bunch pair piece part kind side picture image photo view close-up closeup set lot row couple number'.split(
    ' ',
  ),
)

const wordsOf = (text: string): string[] =>
  text
    .toLowerCase()
    .normalize('NFC')
    .match(/[\p{L}\p{N}][\p{L}\p{N}'’-]*/gu) ?? []

/** Of a word, the forms that count as the same: "circles" is a "circle". */
function sameWord(left: string, right: string): boolean {
  return (
    left === right || left === `${right}s` || right === `${left}s` || left === `${right}es` || right === `${left}es`
  )
}

/** Where `name`'s words stand in `words`; the last place, or -1. */
function lastOccurrence(words: string[], name: string[]): number {
  for (let start = words.length - name.length; start >= 0; start--) {
    if (name.every((word, i) => sameWord(words[start + i]!, word))) return start
  }
  return -1
}

/** The words of the caption's first noun phrase: "a large red circle". */
function headPhrase(words: string[]): string[] {
  let from = 0
  while (true) {
    let end = from
    while (end < words.length && !(ENDERS.has(words[end]!) && end > from)) end++
    const phrase = words.slice(from, end)
    const last = phrase.at(-1)
    const handsOn = words[end] === 'of' && last !== undefined && CONTAINERS.has(last)
    if (!handsOn || end + 1 >= words.length) return phrase
    from = end + 1
  }
}

/**
 * The category that a caption names. One of `known` (the project's names) when the caption says it, in its head phrase
 * rather than elsewhere; else the head noun: the last noun before "of", "on", "with" and the like. Null when there is none.
 */
export function categoryFromCaption(caption: string, known: readonly string[]): string | null {
  const words = wordsOf(caption)
  const phrase = headPhrase(words)
  // The longest name that ends the head phrase wins: "traffic light" over "light".
  const inHead = bestKnown(phrase, known)
  if (inHead !== null && inHead.end === phrase.length) return inHead.name
  const head = headNoun(phrase)
  if (head !== null) return inHead?.name ?? bestKnown(words, known, head)?.name ?? head
  return bestKnown(words, known)?.name ?? null
}

/** The known name that stands furthest right in `words`, the longer one of two; with `only`, one that says that word. */
function bestKnown(words: string[], known: readonly string[], only?: string): { name: string; end: number } | null {
  let best: { name: string; end: number; length: number } | null = null
  for (const name of known) {
    const parts = wordsOf(name)
    if (parts.length === 0 || (only !== undefined && !parts.some((part) => sameWord(part, only)))) continue
    const start = lastOccurrence(words, parts)
    if (start < 0) continue
    const end = start + parts.length
    if (best === null || end > best.end || (end === best.end && parts.length > best.length)) {
      best = { name, end, length: parts.length }
    }
  }
  return best
}

/** The last word that can name a thing: letters, digits and hyphens. */
function headNoun(phrase: string[]): string | null {
  for (let i = phrase.length - 1; i >= 0; i--) {
    const word = phrase[i]!.replace(/['’]s?$/u, '')
      .replace(/['’]/gu, '')
      .replace(/-+$/u, '')
    if (word !== '' && !NOT_A_THING.has(word) && !ENDERS.has(word) && !/^\p{N}+$/u.test(word)) return word.slice(0, 200)
  }
  return null
}
