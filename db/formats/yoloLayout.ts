/** How a YOLO data set lies in its folder: which files are labels, which picture each is about, what the classes are called. */
import { existsSync, statSync } from 'node:fs'
import { basename, dirname, extname, join, posix, relative, resolve } from 'node:path'
import { toDbError } from '../errors.ts'
import { type ImportItem, problem } from './items.ts'
import { PICTURE } from './probe.ts'
import { listFilesBelow, type OnBytes, readHead, readLines } from './textFile.ts'
import { readYaml } from './yamlFile.ts'

export const NOT_LABELS =
  /^(classes|obj|_darknet|readme.*|train|val|valid|test|labels|requirements|licen[cs]e.*)\.(txt|labels|names|data)$/i
const IN_LABELS = /(^|\/)labels\//i
const LAYOUT = new Set(['images', 'labels', 'obj_train_data', 'jpegimages'])

/** `train/labels/a.txt` and `train/images/a.jpg` are about the same picture: their common key. */
export const keyOf = (name: string): string =>
  name
    .slice(0, name.length - extname(name).length)
    .split('/')
    .filter((part) => !LAYOUT.has(part.toLowerCase()))
    .join('/')

export interface Names {
  classes: Map<number, string>
  /** A pose model's points follow each box. */
  points: boolean
  problems: ImportItem[]
}

export function readNames(root: string, names: readonly string[], onBytes: OnBytes): Names {
  const found: Names = { classes: new Map(), points: false, problems: [] }
  const take = (entries: Iterable<[unknown, unknown]>): void => {
    for (const [key, name] of entries) {
      const number = Number(key)
      if (Number.isSafeInteger(number) && number >= 0 && (typeof name === 'string' || typeof name === 'number')) {
        found.classes.set(number, String(name))
      }
    }
  }
  for (const name of names.filter((candidate) => /\.ya?ml$/i.test(candidate))) {
    try {
      const data = readYaml(join(root, name))
      if (Array.isArray(data.names)) take(data.names.entries())
      else if (typeof data.names === 'object' && data.names !== null) take(Object.entries(data.names))
      found.points ||= data.kpt_shape !== undefined
    } catch (error) {
      found.problems.push(problem(name, toDbError(error, name).message))
    }
    if (found.classes.size > 0) return found
  }
  const list = names.find((name) => /^(classes\.txt|.*\.names|_darknet\.labels)$/i.test(basename(name)))
  if (list !== undefined) {
    const lines = [...readLines(join(root, list), onBytes)].map(({ line }) => line.trim())
    while (lines.at(-1) === '') lines.pop()
    take(lines.entries())
  }
  return found
}

/** Where a data.yaml says that its pictures are, when that is outside of its own folder: the folder above them all. */
export function rootElsewhere(yaml: string): string | null {
  const home = dirname(yaml)
  const data = readYaml(yaml)
  const base = resolve(home, typeof data.path === 'string' ? data.path : '.')
  const named = [data.train, data.val, data.test].flat().filter((part) => typeof part === 'string')
  const folders = named
    .map((part) => resolve(base, part))
    .filter((path) => existsSync(path))
    .map((path) => path.replace(/[\\/]images([\\/].*)?$/i, ''))
  const [first, ...others] = folders.map((path) => (statSync(path).isDirectory() ? path : dirname(path)))
  if (first === undefined) return null
  const above = others.reduce((common, path) => {
    let shared = common
    while (relative(shared, path).startsWith('..') && dirname(shared) !== shared) shared = dirname(shared)
    return shared
  }, first)
  return above === dirname(above) || !relative(home, above).startsWith('..') ? null : above
}

/** The files of a data set: labels, pictures by their keys (those that lists name too), and what names its classes. */
export interface Layout {
  root: string
  names: string[]
  labels: string[]
  pictures: Map<string, string>
}

const firstLine = (path: string): string => readHead(path, 4096).trimStart().split(/\r?\n/, 1)[0] ?? ''

export function layoutOf(root: string): Layout {
  const names = listFilesBelow(root)
  const pictures = new Map(names.filter((name) => PICTURE.test(name)).map((name) => [keyOf(name), name]))
  const inLabels = names.some((name) => IN_LABELS.test(name))
  const texts = names.filter((name) => name.toLowerCase().endsWith('.txt'))
  const isLabel = (name: string): boolean => (inLabels ? IN_LABELS.test(name) : !NOT_LABELS.test(basename(name)))
  const lists = texts.filter((name) => !IN_LABELS.test(name) && PICTURE.test(firstLine(join(root, name)).trim()))
  const labels = texts.filter((name) => isLabel(name) && !NOT_LABELS.test(basename(name)) && !lists.includes(name))
  const keys = new Map<string, string[]>()
  for (const key of [...labels.map(keyOf), ...pictures.keys()])
    keys.set(posix.basename(key), [...(keys.get(posix.basename(key)) ?? []), key])
  for (const list of lists) {
    for (const { line } of readLines(join(root, list))) {
      const name = line.trim().replaceAll('\\', '/').replace(/^\.\//, '')
      if (!PICTURE.test(name)) continue
      const listed = keyOf(name)
      // lists often have paths of another machine
      const known = keys.get(posix.basename(listed))?.find((key) => `/${listed}`.endsWith(`/${key}`))
      if (!pictures.has(known ?? listed)) pictures.set(known ?? listed, name)
    }
  }
  return { root, names, labels, pictures }
}
