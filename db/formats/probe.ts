/** A look at a dropped file or folder that is cheap however large it is, for guessing its format. */
import { statSync } from 'node:fs'
import { basename, join } from 'node:path'
import { codeOf, DbError, toDbError } from '../errors.ts'
import { readJson } from './jsonStream.ts'
import { listFilesBelow, readBytes, readHead, readTail } from './textFile.ts'

const NAMES = 20_000
export const PICTURE = /\.(jpe?g|png|webp|gif|tiff?|avif|bmp)$/i
/** How far a JSON file is read, and how much of all files of a folder. */
const JSON_BYTES = 64 * 1024 * 1024
const JSON_BYTES_OF_ALL = 256 * 1024 * 1024
/** Classes come last in large files; LVIS has a thousand, with their definitions. */
const TAIL_BYTES = 2 * 1024 * 1024

export interface Probe {
  path: string
  isFolder: boolean
  /** Files below the folder that are no pictures, relative with `/` (20,000 at most); of a file its own name. */
  names: readonly string[]
  /** The first 64 KB of one of `names`, as text. */
  head(name: string): string
  /** Of a JSON file: its outermost keys ('' for a list) with the first entry of each list, as far as its first 64 MB and its end show; null when it is none. */
  json(name: string): ReadonlyMap<string, unknown> | null
}

class Enough extends Error {}

/** Of a file whose middle was not read: the first entries of the lists that begin near its end. */
function peekTail(path: string, seen: Map<string, unknown>): void {
  const tail = readTail(path, TAIL_BYTES)
  for (const { 1: list = '', index } of tail.matchAll(/"(images|annotations|categories)"\s*:\s*\[\s*\{/g)) {
    if (seen.has(list)) continue
    try {
      const [first] = readJson([Buffer.from(`{${tail.slice(index)}`)], path)
      if (first?.index === 0 && first.error === undefined) seen.set(list, first.value)
    } catch {
      // it was only text that looked like a list
    }
  }
}

function peekJson(path: string, limit: number): { seen: Map<string, unknown> | null; bytes: number } {
  const seen = new Map<string, unknown>()
  let bytes = 0
  try {
    const chunks = readBytes(path, (count) => {
      bytes += count
      if (bytes > limit) throw new Enough()
    })
    for (const { list, value, error } of readJson(chunks, path)) {
      if (!seen.has(list) && error === undefined) seen.set(list, value)
      if (list === '' || (seen.has('images') && seen.has('annotations'))) break
    }
  } catch {
    // what was seen up to here is what there is to go by
  }
  if (bytes > limit && seen.size > 0) peekTail(path, seen)
  return { seen: seen.size === 0 ? null : seen, bytes }
}

/** @throws NOT_FOUND, READ_ONLY */
export function probePath(path: string): Probe {
  let isFolder: boolean
  try {
    isFolder = statSync(path).isDirectory()
  } catch (error) {
    if (codeOf(error) === 'ENOENT') throw new DbError('NOT_FOUND', `There is no file or folder ${path}.`)
    throw toDbError(error, `${path} cannot be read`)
  }
  const full = (name: string): string => (isFolder ? join(path, name) : path)
  const heads = new Map<string, string>()
  const jsons = new Map<string, Map<string, unknown> | null>()
  let left = JSON_BYTES_OF_ALL
  return {
    path,
    isFolder,
    names: isFolder ? listFilesBelow(path, NAMES, (name) => !PICTURE.test(name)) : [basename(path)],
    head(name) {
      const known = heads.get(name) ?? readHead(full(name))
      heads.set(name, known)
      return known
    },
    json(name) {
      if (!jsons.has(name)) {
        const isJson = /^\s*[[{]/.test(this.head(name))
        const { seen, bytes } = isJson ? peekJson(full(name), Math.min(JSON_BYTES, left)) : { seen: null, bytes: 0 }
        left = Math.max(0, left - bytes)
        jsons.set(name, seen)
      }
      return jsons.get(name) ?? null
    },
  }
}

/** The largest answer that any file with one of these endings gives; the first forty are asked. A file that was named is asked whatever its ending. */
export function bestOf(probe: Probe, endings: readonly string[], judge: (name: string) => number): number {
  let best = 0
  const named = probe.isFolder
    ? probe.names.filter((name) => endings.some((ending) => name.toLowerCase().endsWith(ending)))
    : probe.names
  for (const name of named.slice(0, 40)) {
    best = Math.max(best, judge(name))
    if (best >= 0.9) break
  }
  return best
}
