/**
 * Results of a model are numbers only: ids of images and classes of some COCO file. Whose numbers they are is found out
 * before they are read; where two files could be meant a person says so, since a wrong guess puts boxes on wrong pictures.
 */
import { readdirSync, statSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { DbError } from '../errors.ts'
import { type CocoNumbers, readCocoNumbers, readResultNumbers } from '../formats/cocoResults.ts'
import { isInstances, isOfKind } from '../formats/cocoSniff.ts'
import type { Key } from '../formats/items.ts'
import type { ProjectStore } from '../project.ts'
import { FileNames } from './imageMatcher.ts'

/** How many classes are numbered in our own COCO export: boxes without one are called "object" there, behind the others. */
const ownClass = (names: readonly string[], key: Key): string | null =>
  typeof key === 'number' ? (names[key - 1] ?? (key === names.length + 1 ? 'object' : null)) : null

interface Project {
  images: Map<number, string>
  classes: string[]
}

function readProject(store: ProjectStore): Project {
  const images = new Map<number, string>()
  for (let offset = 0; ; offset += 5000) {
    const { items } = store.images.list({ offset, limit: 5000 })
    for (const { id, fileName } of items) images.set(id, fileName)
    if (items.length < 5000) break
  }
  return { images, classes: store.categories.list().map(({ name }) => name) }
}

type Used = ReturnType<typeof readResultNumbers>

/** Whether a file gives these numbers the very meaning that the project gives them. */
function meansTheSame(used: Used, { images, classes }: Project, file: CocoNumbers): boolean {
  for (const key of used.images) {
    const [own, theirs] = [images.get(key as number), file.images.get(key)?.fileName]
    if (own === undefined || theirs === undefined || new FileNames([own]).find(theirs) === null) return false
  }
  return [...used.categories].every((key) => ownClass(classes, key) === file.categories.get(key))
}

/** Null for a file that only lies there and cannot be read: half of a download, say. */
function readableNumbers(file: string): ReturnType<typeof readCocoNumbers> | null {
  try {
    return readCocoNumbers(file)
  } catch {
    return null
  }
}

/** COCO files that results could belong to: beside them, and those imported before that are still there. */
function candidates(store: ProjectStore, path: string): string[] {
  const folder = dirname(path)
  const beside = readdirSync(folder)
    .filter((name) => name.toLowerCase().endsWith('.json') && name !== basename(path))
    .map((name) => join(folder, name))
  const known = store.importedFiles().filter((file) => file.toLowerCase().endsWith('.json'))
  const isFile = (file: string): boolean => statSync(file, { throwIfNoEntry: false })?.isFile() === true
  return [...new Set([...beside, ...known])].filter(isFile).filter(isOfKind(isInstances))
}

/**
 * Whose numbers results have: the path of a COCO file, or `project`. Where nothing fits it is the project, so that
 * each row is told.
 * @throws INVALID_INPUT where two would fit and mean different things
 */
export function findResultNumbers(store: ProjectStore, path: string): string {
  const used = readResultNumbers(path)
  const project = readProject(store)
  const fitsProject =
    [...used.images].every((key) => typeof key === 'number' && project.images.has(key)) &&
    [...used.categories].every((key) => ownClass(project.classes, key) !== null)
  const fitting = candidates(store, path).filter((file) => {
    const numbers = readableNumbers(file)
    if (numbers === null) return false
    const fits =
      [...used.images].every((key) => numbers.images.has(key)) &&
      [...used.categories].every((key) => numbers.categories.has(key))
    return fits && !(fitsProject && meansTheSame(used, project, numbers))
  })
  const [only] = fitting
  if (only === undefined) return 'project'
  if (fitting.length === 1 && !fitsProject) return only
  const meant = [...(fitsProject ? ['this project’s own COCO export'] : []), ...fitting.map((file) => basename(file))]
  throw new DbError(
    'INVALID_INPUT',
    `The numbers in ${basename(path)} could be those of ${meant.join(' or of ')}: say which file they were made for.`,
  )
}
