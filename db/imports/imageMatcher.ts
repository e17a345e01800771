/** Finds the project's image for an image of a file: by hash, by name (also where folders, case or ending differ), by id. */

import type { ImportImage } from '../formats/items.ts'
import { PICTURE } from '../formats/probe.ts'
import type { ImageSummary } from '../records/records.ts'
import type { ImagesRepository } from '../repositories/images.ts'
import type { ImportChoices } from './plan.ts'

export type Match = { image: ImageSummary } | { reason: string } | null

/** `.\a\B.PNG` -> `a/b.png`: what two programs' names for one file have in common. */
const comparable = (name: string): string =>
  name
    .replaceAll('\\', '/')
    .replace(/^(?:[a-z]:)?(?:\.{0,2}\/)+/i, '')
    .normalize('NFC')
    .toLowerCase()

const stemOf = (name: string): string => name.replace(/\.[a-z0-9]{1,5}$/, '')
const depthOf = (name: string): number => name.split('/').length
const lastPart = (name: string): string => name.slice(name.lastIndexOf('/') + 1)
/** Whether one path ends with the other, folder by folder. */
const endsWithPath = (a: string, b: string): boolean => a === b || a.endsWith(`/${b}`) || b.endsWith(`/${a}`)

/** Names of files, found also where folders, case or ending differ. */
export class FileNames {
  readonly #exact: Set<string>
  /** By the last part of the path without its ending. */
  readonly #byStem = new Map<string, string[]>()

  constructor(names: readonly string[]) {
    this.#exact = new Set(names)
    for (const name of names) {
      const stem = stemOf(lastPart(comparable(name)))
      const known = this.#byStem.get(stem)
      if (known === undefined) this.#byStem.set(stem, [name])
      else known.push(name)
    }
  }

  /** All that the name could mean, the likeliest alone where there is one. */
  candidates(fileName: string): string[] {
    if (fileName === '') return []
    if (this.#exact.has(fileName)) return [fileName]
    const wanted = comparable(fileName)
    const bare = !PICTURE.test(wanted) // some formats leave the ending out
    const stem = lastPart(bare ? wanted : stemOf(wanted))
    const found = (this.#byStem.get(stem) ?? []).filter((name) => {
      const other = comparable(name)
      return endsWithPath(bare ? stemOf(other) : other, wanted)
    })
    const same = found.filter((name) => (bare ? stemOf(comparable(name)) : comparable(name)) === wanted)
    if (same.length === 1) return same
    // train/a/1.jpg is a/1.jpg rather than 1.jpg
    const shared = (name: string): number => Math.min(depthOf(comparable(name)), depthOf(wanted))
    const most = found.reduce((depth, name) => Math.max(depth, shared(name)), 0) // many folders may hold a 1.jpg
    return found.filter((name) => shared(name) === most)
  }

  /** The one file it means; null when there is none, or several. */
  find(fileName: string): string | null {
    const found = this.candidates(fileName)
    return found.length === 1 ? (found[0] as string) : null
  }
}

const PAGE = 5000

export class ImageMatcher {
  readonly #byName = new Map<string, ImageSummary>()
  readonly #byHash = new Map<string, ImageSummary[]>()
  readonly #byId = new Map<number, ImageSummary>()
  readonly #names: FileNames
  readonly #match: ImportChoices['match']

  constructor(images: Pick<ImagesRepository, 'list'>, match: ImportChoices['match']) {
    this.#match = match
    for (let offset = 0; ; offset += PAGE) {
      const { items } = images.list({ offset, limit: PAGE })
      for (const image of items) this.#add(image)
      if (items.length < PAGE) break
    }
    this.#names = new FileNames([...this.#byName.keys()])
  }

  #add(image: ImageSummary): void {
    this.#byName.set(image.fileName, image)
    this.#byId.set(image.id, image)
    const known = this.#byHash.get(image.contentSha256)
    if (known === undefined) this.#byHash.set(image.contentSha256, [image])
    else known.push(image)
  }

  /** Null when the project has none; the reason when it has several. */
  find(item: ImportImage): Match {
    const { id, contentSha256: hash } = item
    const byId = (): Match => {
      const image = id === undefined ? undefined : this.#byId.get(id)
      return image === undefined ? null : { image }
    }
    switch (this.#match) {
      case 'id':
        return byId()
      case 'hash':
        return hash === undefined ? null : this.#findHash(item, hash)
      case 'name':
        return this.#findNames(item)
      case 'auto':
        if (item.fileName === '') return byId()
        return (hash === undefined ? null : this.#findHash(item, hash)) ?? this.#findNames(item)
    }
  }

  #findHash({ fileName }: ImportImage, hash: string): Match {
    const found = /^0+$/.test(hash) ? [] : (this.#byHash.get(hash) ?? [])
    const image = found.find((candidate) => candidate.fileName === fileName) ?? found[0]
    return image === undefined ? null : { image }
  }

  #findNames({ fileName, copyName, otherNames = [] }: ImportImage): Match {
    const names = [fileName, ...(copyName === undefined ? [] : [copyName]), ...otherNames]
    const exact = names.map((name) => this.#byName.get(name)).find((image) => image !== undefined)
    if (exact !== undefined) return { image: exact }
    // over the copies, what is like its own name may be the copy of another
    const copy = copyName === undefined ? null : this.#findName(copyName)
    if (copy !== null && 'image' in copy) return copy
    for (const name of names) {
      const found = this.#findName(name)
      if (found !== null) return found
    }
    return null
  }

  #findName(fileName: string): Match {
    const found = this.#names.candidates(fileName)
    const [first] = found
    if (first === undefined) return null
    if (found.length > 1) return { reason: `${fileName} could be ${found.slice(0, 3).join(' or ')}` }
    return { image: this.#byName.get(first) as ImageSummary }
  }
}
