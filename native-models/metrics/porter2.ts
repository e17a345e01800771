/** The Snowball stemmer for English, "Porter2" (https://snowballstem.org/algorithms/english/stemmer.html). */

const irregular: Record<string, string> = {
  skis: 'ski',
  skies: 'sky',
  dying: 'die',
  lying: 'lie',
  tying: 'tie',
  idly: 'idl',
  gently: 'gentl',
  ugly: 'ugli',
  early: 'earli',
  only: 'onli',
  singly: 'singl',
  sky: 'sky',
  news: 'news',
  howe: 'howe',
  atlas: 'atlas',
  cosmos: 'cosmos',
  bias: 'bias',
  andes: 'andes',
}
/** Left alone once plural endings are off. */
const finished = new Set(['inning', 'outing', 'canning', 'herring', 'earring', 'proceed', 'exceed', 'succeed'])

const V = '[aeiouy]'
const C = '[^aeiouy]'
const hasVowel = new RegExp(V)
/** Ends in a short syllable: consonant, vowel, consonant other than w, x, Y; or vowel, consonant and nothing before. */
const shortSyllable = new RegExp(`(?:${C}${V}[^aeiouywxY]|^${V}${C})$`)
const double = /(?:bb|dd|ff|gg|mm|nn|pp|rr|tt)$/

/** Endings of steps 2 and 3 and what becomes of them; the longest that fits is the one that counts. */
const step2: Record<string, string> = {
  tional: 'tion',
  enci: 'ence',
  anci: 'ance',
  abli: 'able',
  entli: 'ent',
  izer: 'ize',
  ization: 'ize',
  ational: 'ate',
  ation: 'ate',
  ator: 'ate',
  alism: 'al',
  aliti: 'al',
  alli: 'al',
  fulness: 'ful',
  ousli: 'ous',
  ousness: 'ous',
  iveness: 'ive',
  iviti: 'ive',
  biliti: 'ble',
  bli: 'ble',
  ogi: 'og',
  fulli: 'ful',
  lessli: 'less',
  li: '',
}
const step3: Record<string, string> = {
  tional: 'tion',
  ational: 'ate',
  alize: 'al',
  icate: 'ic',
  iciti: 'ic',
  ical: 'ic',
  ful: '',
  ness: '',
  ative: '',
}
const step4 = 'al ance ence er ic able ible ant ement ment ent ism ate iti ous ive ize ion'.split(' ')

/** Start of the stretch behind the first consonant that follows a vowel. */
function regionAfter(word: string, from: number): number {
  const match = new RegExp(`${V}${C}`).exec(word.slice(from))
  return match ? from + match.index + 2 : word.length
}

const longest = (word: string, endings: readonly string[]) =>
  endings.filter((ending) => word.endsWith(ending)).sort((a, b) => b.length - a.length)[0]

/** The stem of a lower-case English word. */
export function porter2(input: string): string {
  if (input.length <= 2) return input
  if (Object.hasOwn(irregular, input)) return irregular[input]!
  let word = input
    .replace(/^'/, '')
    .replace(/^y/, 'Y')
    .replace(/([aeiouy])y/g, '$1Y')
  const start = /^(?:gener|commun|arsen)/.exec(word)
  const r1 = start ? start[0].length : regionAfter(word, 0)
  const r2 = regionAfter(word, r1)
  const cut = (ending: string) => word.slice(0, word.length - ending.length)
  const inside = (ending: string, region: number) => word.length - ending.length >= region

  word = word.replace(/(?:'s'|'s|')$/, '')
  if (/sses$/.test(word)) word = cut('es')
  else if (/ie[ds]$/.test(word)) word = word.length > 4 ? cut('es') : cut('s')
  else if (/[^us]s$/.test(word) && hasVowel.test(word.slice(0, -2))) word = cut('s')
  if (finished.has(word)) return word

  const eed = longest(word, ['eed', 'eedly'])
  const past = longest(word, ['ed', 'edly', 'ing', 'ingly'])
  if (eed !== undefined) {
    if (inside(eed, r1)) word = `${cut(eed)}ee`
  } else if (past !== undefined && hasVowel.test(cut(past))) {
    word = cut(past)
    if (/(?:at|bl|iz)$/.test(word)) word += 'e'
    else if (double.test(word)) word = cut('x')
    else if (r1 >= word.length && shortSyllable.test(word)) word += 'e'
  }
  if (/.[^aeiouy][yY]$/.test(word)) word = `${cut('y')}i`

  const second = longest(word, Object.keys(step2))
  if (second !== undefined && inside(second, r1)) {
    const allowed = second === 'li' ? /[cdeghkmnrt]li$/ : second === 'ogi' ? /logi$/ : null
    if (allowed === null || allowed.test(word)) word = cut(second) + step2[second]
  }
  const third = longest(word, Object.keys(step3))
  if (third !== undefined && inside(third, third === 'ative' ? Math.max(r1, r2) : r1)) word = cut(third) + step3[third]
  const fourth = longest(word, step4)
  if (fourth !== undefined && inside(fourth, r2) && (fourth !== 'ion' || /[st]ion$/.test(word))) word = cut(fourth)
  if (/e$/.test(word)) {
    if (inside('e', r2) || (inside('e', r1) && !shortSyllable.test(cut('e')))) word = cut('e')
  } else if (/ll$/.test(word) && inside('l', r2)) word = cut('l')
  return word.replaceAll('Y', 'y')
}
