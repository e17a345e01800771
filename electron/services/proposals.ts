/** How the model's regions and captions become rows: people's work is never touched, and nothing is proposed twice. */
import { diffOf } from '../../db/records/diff.ts'
import type { Annotation, BboxXywh, RecordsDiff, Revision } from '../../db/records/records.ts'
import { overlap, SAME_REGION_IOU, toPixels, unitScore } from './boxes.ts'
import { CategoryFinder } from './categories.ts'
import { categoryFromCaption } from './categoryFromCaption.ts'
import type { ProjectSession } from './projectSession.ts'

type Four = readonly [number, number, number, number]

/** A proposal that nobody decided, and that the next Propose may replace. */
const isOpenProposal = (row: Annotation) => row.provenance === 'model' && row.status === 'proposed'

/** The regions of one Propose: first the boxes, then caption by caption. */
export class ProposalRun {
  readonly #session: ProjectSession
  readonly #imageId: number
  readonly #modelHash: string | null
  /** By region index; null where the region was not stored. */
  #ids: (number | null)[] | null = null
  readonly #waiting = new Map<number, string>()
  readonly #captioned = new Set<number>()

  constructor(session: ProjectSession, imageId: number, modelHash: string | null) {
    this.#session = session
    this.#imageId = imageId
    this.#modelHash = modelHash
  }

  /** How many regions were stored; 0 before that. */
  get stored(): number {
    return this.#ids?.filter((id) => id !== null).length ?? 0
  }

  get captioned(): number {
    return this.#captioned.size
  }

  /** Stores the boxes, once: a run that starts again after an interruption brings the same ones. */
  storeRegions(regions: readonly { boxCxcywh: Four; score: number }[]): Revision | null {
    if (this.#ids !== null) return null
    const session = this.#session
    const image = session.imageRecord(this.#imageId)
    const existing = session.store().annotations.list(this.#imageId)
    const kept = existing.filter((row) => !isOpenProposal(row))
    const boxes = regions.map(({ boxCxcywh, score }) => {
      const bboxXywh = toPixels(boxCxcywh, image)
      const taken = bboxXywh !== null && kept.some((row) => overlap(row.bboxXywh, bboxXywh) > SAME_REGION_IOU)
      return bboxXywh === null || taken ? null : { bboxXywh, score: unitScore(score) }
    })
    const ids = session.allocateIds('annotations', boxes.filter((box) => box !== null).length)
    const added: Annotation[] = []
    const byIndex = boxes.map((box) => {
      if (box === null) return null
      const id = ids[added.length]!
      added.push(newProposal({ id, imageId: this.#imageId, ...box, modelHash: this.#modelHash }))
      return id
    })
    const revision = session.commit(
      'model',
      `Propose ${added.length}`,
      diffOf({
        images: [
          { before: image, after: { ...image, proposedAt: Date.now(), done: image.done && added.length === 0 } },
        ],
        annotations: [
          ...existing.filter(isOpenProposal).map((before) => ({ before, after: null })),
          ...added.map((after) => ({ before: null, after })),
        ],
      }),
    )
    this.#ids = byIndex
    return revision
  }

  /** Takes a caption; it is stored by the next {@link flush}. */
  addCaption(index: number, caption: string): void {
    const id = this.#ids?.[index] ?? null
    const text = caption.trim()
    if (id === null || text === '' || this.#captioned.has(id)) return
    this.#waiting.set(id, text)
  }

  /** Stores the captions that came since the last time. Null when there is nothing new. */
  flush(): Revision | null {
    if (this.#waiting.size === 0) return null
    const { annotations } = this.#session.store()
    const finder = new CategoryFinder(this.#session)
    const changes: RecordsDiff['annotations'] = []
    for (const [id, caption] of this.#waiting) {
      this.#captioned.add(id)
      const before = annotations.find(id) // a person may have deleted it meanwhile
      if (before === null) continue
      changes.push({
        before,
        after: withModelCaption(before, caption, finder, { modelHash: this.#modelHash, fill: before.caption === null }),
      })
    }
    this.#waiting.clear()
    if (changes.length === 0) return null
    const label = changes.length === 1 ? 'Caption' : `Caption ${changes.length}`
    return this.#session.commit('model', label, diffOf({ categories: finder.changes(), annotations: changes }))
  }
}

/** A row with the model's caption: what the model said is kept once and for ever, the visible caption only where it may be filled. */
export function withModelCaption(
  row: Annotation,
  caption: string,
  finder: CategoryFinder,
  options: { modelHash: string | null; fill: boolean },
): Annotation {
  const after: Annotation = {
    ...row,
    modelCaption: row.modelCaption ?? caption,
    modelHash: row.modelHash ?? options.modelHash,
    caption: options.fill ? caption : row.caption,
  }
  if (row.categoryId === null) {
    const name = categoryFromCaption(caption, finder.names())
    if (name !== null) after.categoryId = finder.findOrMake(name).id
  }
  return after
}

/** A region as the model proposes it, before anyone has looked. */
function newProposal(input: {
  id: number
  imageId: number
  bboxXywh: BboxXywh
  score: number
  modelHash: string | null
  caption?: string | null
  categoryId?: number | null
}): Annotation {
  return {
    id: input.id,
    imageId: input.imageId,
    categoryId: input.categoryId ?? null,
    bboxXywh: input.bboxXywh,
    caption: input.caption ?? null,
    provenance: 'model',
    status: 'proposed',
    modelBboxXywh: input.bboxXywh,
    modelCaption: null,
    modelScore: input.score,
    modelHash: input.modelHash,
    decidedAt: null,
    decisionMs: null,
  }
}

/**
 * The rows that boxes of an answer become: new proposals with the phrase as their caption; an undecided proposal of the
 * same region takes the phrase instead; where people have decided already, nothing.
 */
export function phraseProposals(
  session: ProjectSession,
  imageId: number,
  found: readonly { bboxXywh: BboxXywh; score: number; phrase: string }[],
  modelHash: string | null,
): { categories: RecordsDiff['categories']; annotations: RecordsDiff['annotations'] } {
  const finder = new CategoryFinder(session)
  const existing = session.store().annotations.list(imageId)
  const added: Annotation[] = []
  const renamed = new Map<number, { before: Annotation; after: Annotation }>()
  for (const { bboxXywh, score, phrase } of found) {
    const caption = phrase.trim() === '' ? null : phrase.trim()
    const category = caption === null ? null : categoryFromCaption(caption, finder.names())
    const same = (row: Annotation) => overlap(row.bboxXywh, bboxXywh) > SAME_REGION_IOU
    if (added.some(same)) continue
    const rows = existing.filter(same)
    if (rows.some((row) => !isOpenProposal(row))) continue
    const categoryId = category === null ? null : finder.findOrMake(category).id
    const [before] = rows
    if (before !== undefined) {
      renamed.set(before.id, {
        before,
        after: { ...before, caption: caption ?? before.caption, categoryId: categoryId ?? before.categoryId },
      })
      continue
    }
    const [id] = session.allocateIds('annotations', 1)
    added.push(newProposal({ id: id!, imageId, bboxXywh, score: unitScore(score), modelHash, caption, categoryId }))
  }
  return {
    categories: finder.changes(),
    annotations: [...renamed.values(), ...added.map((after) => ({ before: null, after }))],
  }
}
