/** The small YAML files of data sets: plain data only. */
import { basename } from 'node:path'
import { parseDocument, stringify } from 'yaml'
import { DbError } from '../errors.ts'
import { isRow, type Row } from './items.ts'
import { readText } from './textFile.ts'

const MAX_BYTES = 4 * 1024 * 1024
const MAX_ALIASES = 50

/** @throws INVALID_INPUT for tags of other languages, too many aliases (or one that holds itself), or what is no mapping */
export function readYaml(path: string): Row {
  const file = basename(path)
  const document = parseDocument(readText(path, undefined, MAX_BYTES), { uniqueKeys: true, merge: false })
  const [first] = [...document.errors, ...document.warnings]
  if (first !== undefined) throw new DbError('INVALID_INPUT', `${file}: ${first.message.split('\n')[0]}`)
  let value: unknown
  try {
    value = document.toJS({ maxAliasCount: MAX_ALIASES })
    JSON.stringify(value) // a mapping that holds itself has no end
  } catch (error) {
    throw new DbError('INVALID_INPUT', `${file}: ${(error as Error).message.split('\n')[0]}`)
  }
  if (!isRow(value)) throw new DbError('INVALID_INPUT', `${file} is no mapping of names to values.`)
  return value
}

export const writeYaml = (value: object): string => stringify(value, { lineWidth: 0 })
