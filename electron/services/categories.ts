/** Categories: found by name, made when missing, in the same revision as what needs them. */

import { diffOf } from '../../db/records/diff.ts'
import type { Category, RecordsDiff } from '../../db/records/records.ts'
import { AppError } from '../contract/errors.ts'
import type { Handlers } from './handlers.ts'
import { colorAt } from './palette.ts'
import type { ProjectSession } from './projectSession.ts'

const sameName = (a: string, b: string) => a.trim().toLowerCase() === b.trim().toLowerCase()

/** Collects the categories that a revision makes, so that fourteen circles make one. */
export class CategoryFinder {
  readonly #session: ProjectSession
  readonly #known: Category[]
  readonly #made: Category[] = []

  constructor(session: ProjectSession) {
    this.#session = session
    this.#known = session.store().categories.list()
  }

  names(): string[] {
    return [...this.#known, ...this.#made].map((category) => category.name)
  }

  /** The category of this name, made if there is none. */
  findOrMake(name: string): Category {
    const trimmed = name.trim().normalize('NFC')
    if (trimmed === '') throw new AppError('INVALID_INPUT', 'A category needs a name.')
    const all = [...this.#known, ...this.#made]
    const found =
      all.find((category) => category.name === trimmed) ?? all.find((category) => sameName(category.name, trimmed))
    if (found !== undefined) return found
    const [id] = this.#session.allocateIds('categories', 1)
    const category: Category = { id: id!, name: trimmed, color: colorAt(all.length) }
    this.#made.push(category)
    return category
  }

  /** The part of the diff that makes them. */
  changes(): RecordsDiff['categories'] {
    return this.#made.map((category) => ({ before: null, after: category }))
  }
}

export function categoryHandlers(session: ProjectSession) {
  const get = (id: number): Category => session.store().categories.get(id)
  const change = (label: string, before: Category, after: Category) =>
    session.commit('human', label, diffOf({ categories: [{ before, after }] }))

  return {
    'categories.list': () => session.store().categories.list(),
    'categories.create': ({ name }) => {
      const finder = new CategoryFinder(session)
      const category = finder.findOrMake(name)
      const made = finder.changes()
      const revision =
        made.length === 0 ? null : session.commit('human', `New class ${category.name}`, diffOf({ categories: made }))
      return { revision, category }
    },
    'categories.rename': ({ id, name }) => {
      const before = get(id)
      const after = { ...before, name: name.trim().normalize('NFC') }
      if (after.name === '') throw new AppError('INVALID_INPUT', 'A category needs a name.')
      const other = session
        .store()
        .categories.list()
        .find((category) => category.id !== id && sameName(category.name, after.name))
      if (other !== undefined) throw new AppError('ALREADY_EXISTS', `There is a class "${other.name}" already.`)
      return change(`Rename ${before.name} to ${after.name}`, before, after)
    },
    'categories.setColor': ({ id, color }) => {
      const before = get(id)
      return change(`Recolour ${before.name}`, before, { ...before, color })
    },
    'categories.delete': ({ id, moveTo }) => {
      const category = get(id)
      if (moveTo === id) throw new AppError('INVALID_INPUT', 'A class cannot be moved to itself.')
      if (moveTo !== null) get(moveTo)
      const { categories, annotations: rows } = session.store()
      const annotations = rows
        .getMany(categories.annotationIds(id))
        .map((before) => ({ before, after: { ...before, categoryId: moveTo } }))
      const diff = diffOf({ categories: [{ before: category, after: null }], annotations })
      return session.commit('human', `Delete class ${category.name}`, diff)
    },
  } satisfies Partial<Handlers>
}
