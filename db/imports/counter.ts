/** The first reading's count of boxes and sentences: what would be added, what is there, what is wrong. */
import type { ImportAnnotation, ImportMessage, Key } from '../formats/items.ts'
import type { CategoryMapper } from './categoryMapper.ts'
import { FileIds } from './ids.ts'
import type { Judge } from './judge.ts'
import { Examples, TOLD } from './plan.ts'

export class Counter {
  readonly annotations = { inFile: 0, toAdd: 0, alreadyThere: 0, leftOut: 0 }
  readonly messages = { inFile: 0, toAdd: 0 }
  readonly problems = new Examples<{ where: string; reason: string }>(TOLD)
  readonly annotationIds = new FileIds()
  readonly messageIds = new FileIds()
  /** By image id: images that have boxes already and get more. */
  readonly conflicts = new Map<number, { fileName: string; annotations: number }>()
  /** Ids of boxes of the project that the file has too. */
  readonly confirmed = new Set<number>()
  cut = 0
  readonly #judge: Judge
  readonly #perCategory = new Map<Key, { rows: number; where: string }>()

  constructor(judge: Judge) {
    this.#judge = judge
  }

  /** False when what this box is about comes only later in the file: count again then, with everything known. */
  box(item: ImportAnnotation): boolean {
    const outcome = this.#judge.box(item)
    if (outcome.kind === 'later') return false
    this.annotations.inFile++
    if (outcome.kind === 'bad') {
      this.problems.add({ where: item.where, reason: outcome.reason })
      return true
    }
    const twice = this.annotationIds.add(item.id)
    if (twice !== null) this.problems.add({ where: item.where, reason: twice })
    else if (outcome.kind === 'leftOut') this.annotations.leftOut++
    else if (outcome.kind === 'there') {
      this.annotations.alreadyThere++
      this.confirmed.add(outcome.id)
    } else this.#row(item, outcome)
    return true
  }

  #row(
    item: ImportAnnotation,
    { image, cut }: { image: { imageId: number | null; fileName: string; worked: boolean }; cut: boolean },
  ) {
    this.annotations.toAdd++
    if (cut) this.cut++
    if (item.categoryKey !== null) {
      const known = this.#perCategory.get(item.categoryKey)
      if (known === undefined) this.#perCategory.set(item.categoryKey, { rows: 1, where: item.where })
      else known.rows++
    }
    if (!image.worked || image.imageId === null) return
    const conflict = this.conflicts.get(image.imageId)
    if (conflict === undefined) this.conflicts.set(image.imageId, { fileName: image.fileName, annotations: 1 })
    else conflict.annotations++
  }

  message(item: ImportMessage): void {
    this.messages.inFile++
    const outcome = this.#judge.message(item)
    if (outcome === null) return
    if ('reason' in outcome) return void this.problems.add({ where: item.where, reason: outcome.reason })
    const twice = this.messageIds.add(item.id)
    if (twice !== null) return void this.problems.add({ where: item.where, reason: twice })
    this.messages.toAdd++
  }

  /** Settles what only the file's whole list of classes tells. Call once, at the end. */
  finish(categories: CategoryMapper): void {
    for (const [key, { rows, where }] of this.#perCategory) {
      const name = categories.nameFor(key)
      if (name === undefined) {
        this.annotations.toAdd -= rows
        const others = rows === 1 ? '' : ` (and ${rows - 1} more of its boxes)`
        this.problems.add({ where, reason: `names class ${key}, which is not in the file${others}` })
      } else if (name === null) {
        this.annotations.toAdd -= rows
        this.annotations.leftOut += rows
      } else categories.count(key, rows)
    }
  }
}
