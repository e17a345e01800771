/** What an import would do, and what people choose about it. PURE shapes; the contract's are checked against these. */
import type { FormatName } from '../records/formatNames.ts'

export interface CategoryChoice {
  /** merge: into a class of the project; create: a new one; skip: the boxes of this class are left out. */
  action: 'merge' | 'create' | 'skip'
  /** The class to merge into, or the new one's name; the file's own name when left out. */
  into?: string | undefined
}

export interface ImportChoices {
  /** How images of the file find those of the project; auto: by hash where the file has one, else by name, else by id. */
  match: 'auto' | 'name' | 'hash' | 'id'
  /** Images that the project lacks: refuse the import, leave them and their boxes out, or add them as missing files. */
  missingImages: 'refuse' | 'skip' | 'add'
  /**
   * Images that have boxes already. ask: refuse, so that a person chooses; add: the new boxes come beside them (those that
   * are there already are not doubled); skip: leave these images alone; replace: boxes of earlier imports that nobody
   * touched make room. What people did, and what the model proposed, is never replaced.
   */
  conflicts: 'ask' | 'add' | 'skip' | 'replace'
  /** By the file's class name; classes left out are merged with one of the same name (whatever its case) or created. */
  categories: Readonly<Record<string, CategoryChoice>>
  /** Leave bad rows out instead of refusing the whole file. */
  skipBad: boolean
  /** Instead of what the format says: how the boxes come in. */
  status?: 'accepted' | 'proposed' | undefined
  /**
   * Of COCO results: absolute path of the COCO file whose images and classes they number, or `project` for this project's
   * own numbers. Left out: whichever the numbers fit, and refused where both do.
   */
  instances?: string | undefined
}

export const DEFAULT_CHOICES: ImportChoices = {
  match: 'auto',
  missingImages: 'refuse',
  conflicts: 'ask',
  categories: {},
  skipBad: false,
}

export interface ImportRequest {
  /** Absolute path of a file or folder. */
  path: string
  /** What it is called where its path says nothing to people: the zip that it was unpacked from. */
  name?: string
  format: FormatName
  choices: ImportChoices
}

export interface PlannedCategory {
  name: string
  annotations: number
  action: CategoryChoice['action']
  /** The class's name in the project after the import; null when skipped. */
  into: string | null
}

export interface ImportPlan {
  format: FormatName
  images: {
    inFile: number
    /** Found in the project. */
    matched: number
    /** Not in the project yet: their pictures will be copied first. */
    coming: number
    /** Not in the project, and left out (or the reason for refusing). */
    missing: number
    /** Not in the project, and added as missing files. */
    added: number
    /** Of the missing ones, the first. */
    missingExamples: string[]
  }
  categories: PlannedCategory[]
  annotations: {
    inFile: number
    toAdd: number
    /** The very same box is there. */
    alreadyThere: number
    /** Left out because their image or class is. */
    leftOut: number
    /** Boxes of earlier imports that make room. */
    toReplace: number
  }
  messages: { inFile: number; toAdd: number }
  conflicts: {
    /** Images that have boxes already, and boxes of the file on them. */
    images: number
    annotations: number
    /** Boxes that people made, decided or edited on them: these stay whatever is chosen. */
    humanAnnotations: number
    examples: string[]
  }
  problems: { count: number; first: { where: string; reason: string }[] }
  notes: string[]
  /** Why the import would be refused as things stand; null when it can go ahead. */
  refusal: string | null
}

/** How many problems, examples and the like are told one by one. */
export const TOLD = 200

/** A few of many, in the order met. */
export class Examples<T> {
  readonly first: T[] = []
  count = 0
  readonly #limit: number
  constructor(limit: number) {
    this.#limit = limit
  }
  add(value: T): void {
    this.count++
    if (this.first.length < this.#limit) this.first.push(value)
  }
}
