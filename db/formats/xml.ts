/** XML in and out: elements one by one, no document types, no entities but the five of XML. */
import { basename } from 'node:path'
import sax from 'sax'
import { DbError, toDbError } from '../errors.ts'
import { type OnBytes, readHead, readTextPieces } from './textFile.ts'

export interface XmlElement {
  name: string
  attributes: Readonly<Record<string, string>>
  children: XmlElement[]
  /** Of the element itself, without that of its children. */
  text: string
  line: number
}

const MAX_DEPTH = 32
const MAX_ROW_CHARACTERS = 64 * 1024 * 1024

/** The encoding that the first line names, where it is another than UTF-8 and one that is known here. */
function declaredEncoding(path: string): string | undefined {
  const named = /^\s*<\?xml[^>]*\sencoding=["']([\w.-]+)["']/.exec(readHead(path, 256))?.[1]
  if (named === undefined || /^utf-?(8|16)/i.test(named)) return undefined
  try {
    return new TextDecoder(named).encoding
  } catch {
    return undefined
  }
}

/**
 * Yields every element that `isRow` names (whole, with its children) and forgets the rest.
 * @throws INVALID_INPUT naming file, line and reason: not well-formed, a document type or entity, nested too deeply, too large
 */
export function* readXml(path: string, isRow: (name: string) => boolean, onBytes?: OnBytes): Generator<XmlElement> {
  const parser = sax.parser(true, { position: true })
  const refuse = (reason: string): never => {
    throw new DbError('INVALID_INPUT', `${basename(path)} line ${parser.line + 1}: ${reason}.`)
  }
  const ready: XmlElement[] = []
  const open: XmlElement[] = []
  let depth = 0
  let rowStart = 0
  parser.onerror = (error) =>
    refuse((error.message.split('\n')[0] ?? '').toLowerCase().replace(/\.+$/, '') || 'is no XML')
  parser.ondoctype = () => refuse('a document type (DTD) is not taken')
  parser.onopentag = ({ name, attributes }) => {
    if (++depth > MAX_DEPTH) refuse(`is nested deeper than ${MAX_DEPTH} levels`)
    if (open.length === 0 && !isRow(name)) return
    if (open.length === 0) rowStart = parser.position
    const own = Object.entries(attributes as Record<string, string>)
    const element: XmlElement = {
      name,
      attributes: Object.fromEntries(own),
      children: [],
      text: '',
      line: parser.line + 1,
    }
    open.at(-1)?.children.push(element)
    open.push(element)
  }
  const addText = (text: string): void => {
    const element = open.at(-1)
    if (element === undefined) return
    element.text += text
    if (parser.position - rowStart > MAX_ROW_CHARACTERS) refuse('holds an element of more than 64 MB')
  }
  parser.ontext = addText
  parser.oncdata = addText
  parser.onclosetag = () => {
    depth--
    const element = open.pop()
    if (element !== undefined && open.length === 0) ready.push(element)
  }
  let empty = true
  for (const piece of readTextPieces(path, onBytes, declaredEncoding(path))) {
    empty &&= piece.trim() === ''
    parser.write(piece)
    if (parser.position - rowStart > MAX_ROW_CHARACTERS && open.length > 0)
      refuse('holds an element of more than 64 MB')
    yield* ready.splice(0)
  }
  if (empty) refuse('the file is empty')
  parser.close()
  yield* ready.splice(0)
}

/** Why a file of several cannot be read, without its name, which the place says. */
export function reasonOf(error: unknown, file: string): string {
  const { message } = toDbError(error, file)
  const name = basename(file)
  return message.startsWith(`${name} `) || message.startsWith(`${name}: `)
    ? message.slice(name.length).replace(/^:? /, '')
    : message
}
/** The text of the first child of this name, trimmed; undefined when there is none. */
export function childText(element: XmlElement, name: string): string | undefined {
  return child(element, name)?.text.trim()
}

export const child = (element: XmlElement, name: string): XmlElement | undefined =>
  element.children.find((candidate) => candidate.name === name)

const ESCAPES: Record<string, string> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  '\n': '&#10;',
  '\r': '&#13;',
  '\t': '&#9;',
}

/** Text for an attribute or an element; what XML cannot say at all is replaced. */
export function escapeXml(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: XML has no words for them
  const sayable = text.toWellFormed().replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, '\ufffd')
  return sayable.replace(/[&<>"\n\r\t]/g, (letter) => ESCAPES[letter] ?? letter)
}

/** ` a="1" b="x"`, leaving out what is undefined. */
export function attributesXml(attributes: Record<string, string | number | undefined>): string {
  return Object.entries(attributes)
    .map(([name, value]) => (value === undefined ? '' : ` ${name}="${escapeXml(String(value))}"`))
    .join('')
}
