/** Which class of the project each class of a file becomes. */
import type { ImportCategory, Key } from '../formats/items.ts'
import type { Category } from '../records/records.ts'
import type { CategoryChoice, ImportChoices, PlannedCategory } from './plan.ts'

/** Told apart by people with colour-blindness too, readable on photos and on both themes. */
type Palette = (index: number) => string

interface Target {
  name: string
  action: CategoryChoice['action']
  into: string | null
  annotations: number
}

const same = (name: string): string => name.trim().normalize('NFC').toLowerCase()

export class CategoryMapper {
  readonly #existing: readonly Category[]
  readonly #choices: ImportChoices['categories']
  readonly #palette: Palette
  readonly #targets = new Map<string, Target>()
  readonly #byKey = new Map<Key, Target>()
  readonly #made = new Map<string, { id?: number; color?: string }>()

  constructor(existing: readonly Category[], choices: ImportChoices['categories'], palette: Palette) {
    this.#existing = existing
    this.#choices = choices
    this.#palette = palette
  }

  /** Takes a class of the file. Returns why it cannot be taken, or null. */
  add(item: ImportCategory): string | null {
    if (this.#byKey.has(item.key)) return `class ${item.key} is in the file twice`
    let name = item.name.trim().normalize('NFC').toWellFormed()
    if (name === '' && typeof item.key === 'number') {
      // results name classes by the number that our own export gave them, boxes without one by the number behind these
      name = this.#existing[item.key - 1]?.name ?? (item.key === this.#existing.length + 1 ? 'object' : '')
      if (name === '')
        return `class ${item.key} is not in the project: give the COCO file that these results were made for`
    }
    if (name === '') return `class ${item.key} has no name`
    if (name.length > 200) return `the name of class ${item.key} has more than 200 letters`
    const known = this.#targets.get(name) ?? this.#target(name)
    this.#targets.set(name, known)
    this.#byKey.set(item.key, known)
    if (known.action === 'create' && known.into !== null && !this.#made.has(known.into)) {
      this.#made.set(known.into, {
        ...(item.id === undefined ? {} : { id: item.id }),
        ...(item.color === undefined ? {} : { color: item.color }),
      })
    }
    return null
  }

  #target(name: string): Target {
    const choice: CategoryChoice | undefined = Object.hasOwn(this.#choices, name) ? this.#choices[name] : undefined
    if (choice?.action === 'skip') return { name, action: 'skip', into: null, annotations: 0 }
    const wanted = (choice?.into ?? name).trim().normalize('NFC')
    const exact = this.#existing.find((category) => category.name === wanted)
    const alike = choice?.action === 'create' ? undefined : this.#existing.find((c) => same(c.name) === same(wanted))
    const found = exact ?? alike
    if (found !== undefined) return { name, action: 'merge', into: found.name, annotations: 0 }
    const made =
      choice?.action === 'create' ? undefined : [...this.#made.keys()].find((other) => same(other) === same(wanted))
    return { name, action: 'create', into: made ?? wanted, annotations: 0 }
  }

  /** The project's name for a box's class: undefined when the file lacks the class, null when its boxes are left out. */
  nameFor(key: Key): string | null | undefined {
    const target = this.#byKey.get(key)
    return target === undefined ? undefined : target.into
  }

  /** Counts boxes that come in with this class. */
  count(key: Key, rows: number): void {
    const target = this.#byKey.get(key)
    if (target !== undefined) target.annotations += rows
  }

  planned(): PlannedCategory[] {
    return [...this.#targets.values()].map(({ name, annotations, action, into }) => ({
      name,
      annotations,
      action,
      into,
    }))
  }

  /** The classes to make, with ids: the file's own where they are free, else from `allocate`. */
  made(lastId: number, allocate: (count: number) => number[]): Category[] {
    const wanted = [...this.#made.entries()]
    const ids = wanted.map(([, { id }]) => id ?? 0)
    const free = ids.every((id) => id > lastId && id < 2 ** 31) && new Set(ids).size === ids.length
    const given = free ? ids : allocate(wanted.length)
    return wanted.map(([name, { color }], index) => ({
      id: given[index] as number,
      name,
      color: color ?? this.#palette(this.#existing.length + index),
    }))
  }
}
