/** How file names are ordered and searched, computed once when a row is written. PURE. */

/** A key that sorts as people count: `scene2` before `scene10`, folders' files together, case ignored. */
export function naturalSortKey(fileName: string): string {
  return fileName
    .normalize('NFC')
    .toLowerCase()
    .replaceAll('/', '\u0001')
    .replace(/[0-9]+/g, (digits) => {
      const number = digits.replace(/^0+(?=.)/, '')
      return `${String(number.length).padStart(3, '0')}${number}`
    })
}

/** What a filter is compared with: the same letters whatever their case or composition. */
export function searchKey(text: string): string {
  return text.normalize('NFC').toLowerCase()
}
