/** RFC 4180 records out of text in pieces. Quotes, line breaks in quotes, and `,` `;` `|` or tab between fields. */
import { DbError } from '../errors.ts'

export interface CsvRecord {
  fields: string[]
  /** Line on which the record begins, from 1. */
  line: number
}

const MAX_RECORD = 16 * 1024 * 1024

/** The line by which Excel is told the separator. */
export const isSeparatorLine = (line: string): boolean => /^sep=[,;|\t]$/i.test(line.trim())

/** The first line that says something. */
export const headerLine = (head: string): string =>
  head.split(/[\r\n]+/).find((line) => line.trim() !== '' && !isSeparatorLine(line)) ?? ''

/** The separator that the header uses most. */
export function separatorOf(head: string): string {
  const line = headerLine(head)
  const count = (letter: string): number => line.split(letter).length
  return [',', ';', '\t', '|'].reduce((best, letter) => (count(letter) > count(best) ? letter : best), ',')
}

/** @throws INVALID_INPUT for a quote that never closes, or a record of more than 16 MB */
export function* readCsv(pieces: Iterable<string>, separator: string, file: string): Generator<CsvRecord> {
  let fields: string[] = []
  let field = ''
  let line = 1
  let start = 1
  let state: 'plain' | 'quoted' | 'quoteInQuotes' = 'plain'
  let carriage = false
  for (const piece of pieces) {
    for (const letter of piece) {
      if (letter === '\n') line++
      if (state === 'quoted') {
        if (letter === '"') state = 'quoteInQuotes'
        else field += letter
        if (field.length > MAX_RECORD)
          throw new DbError('INVALID_INPUT', `${file} line ${start}: a quote is never closed.`)
        continue
      }
      if (state === 'quoteInQuotes' && letter === '"') {
        field += '"'
        state = 'quoted'
        continue
      }
      if (carriage && letter === '\n') {
        carriage = false
        start = line
        continue
      }
      carriage = letter === '\r'
      if (letter === '"' && field === '' && state === 'plain') state = 'quoted'
      else if (letter === separator) {
        fields.push(field)
        field = ''
        state = 'plain'
      } else if (letter === '\n' || letter === '\r') {
        fields.push(field)
        if (fields.length > 1 || field !== '') yield { fields, line: start }
        fields = []
        field = ''
        state = 'plain'
        start = line
      } else field += letter
    }
  }
  if (state === 'quoted') throw new DbError('INVALID_INPUT', `${file} line ${start}: a quote is never closed.`)
  fields.push(field)
  if (fields.length > 1 || field !== '') yield { fields, line: start }
}

/** One record, quoted where it must be. */
export function csvLine(fields: readonly (string | number | null)[]): string {
  const text = fields.map((value) => {
    const plain = value === null ? '' : String(value)
    return /[",\r\n;\t]|^\s|\s$/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain
  })
  return `${text.join(',')}\r\n`
}
