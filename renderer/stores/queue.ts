/** The order in which regions are looked at, and what the slider would accept. Pure: the stores go in, ids come out. */
import type { Annotation, AnnotationStatus, Category } from '../../db/records/records.ts'

/** The slider works in hundredths; 0.35 must accept a score of 0.3499999 shown as 0.35. */
export const EPSILON = 1e-6

const scoreOf = (annotation: Annotation): number => annotation.modelScore ?? 1

/**
 * Regions as the list shows them: by class, then score, then id; without a class after the classes, rejected ones
 * last. Going by class means one keeps one question in mind; a decision moves nothing but rejections.
 */
export function inQueueOrder(
  annotations: Iterable<Annotation>,
  categories: ReadonlyMap<number, Category>,
): readonly Annotation[] {
  const nameOf = (annotation: Annotation) =>
    annotation.categoryId === null ? null : (categories.get(annotation.categoryId)?.name ?? null)
  return [...annotations].sort((a, b) => {
    const rejected = Number(a.status === 'rejected') - Number(b.status === 'rejected')
    if (rejected !== 0) return rejected
    const nameA = nameOf(a)
    const nameB = nameOf(b)
    if (nameA !== nameB) {
      if (nameA === null) return 1
      if (nameB === null) return -1
      return nameA < nameB ? -1 : 1
    }
    return scoreOf(b) - scoreOf(a) || a.id - b.id
  })
}

/** Whether the slider lets it through: only proposals are filtered, people's work never. */
export function isAbove(annotation: Annotation, threshold: number): boolean {
  return annotation.status !== 'proposed' || scoreOf(annotation) >= threshold - EPSILON
}

/** The proposals that "Accept N" would accept now. */
export function acceptable(annotations: Iterable<Annotation>, threshold: number): Annotation[] {
  return [...annotations].filter((annotation) => annotation.status === 'proposed' && isAbove(annotation, threshold))
}

/**
 * The next undecided proposal after `currentId`, going round. Null when none is left.
 * @param skip ids that are being decided right now
 */
export function nextUndecided(
  ordered: readonly Annotation[],
  currentId: number | null,
  threshold: number,
  skip: ReadonlySet<number>,
): number | null {
  const start = ordered.findIndex((annotation) => annotation.id === currentId)
  for (let step = 1; step <= ordered.length; step++) {
    const annotation = ordered[(start + step) % ordered.length]
    if (annotation === undefined || annotation.id === currentId || skip.has(annotation.id)) continue
    if (annotation.status === 'proposed' && isAbove(annotation, threshold)) return annotation.id
  }
  return null
}

/** The neighbour in list order, for the arrow keys; hidden and rejected regions are passed over. Null at the ends. */
export function neighbour(
  ordered: readonly Annotation[],
  currentId: number | null,
  direction: 1 | -1,
  threshold: number,
): number | null {
  const visible = ordered.filter(
    (annotation) => annotation.id === currentId || (annotation.status !== 'rejected' && isAbove(annotation, threshold)),
  )
  if (currentId === null) return (direction === 1 ? visible[0] : visible.at(-1))?.id ?? null
  const index = visible.findIndex((annotation) => annotation.id === currentId)
  return visible[index + direction]?.id ?? null
}

/** States that a person gave. */
export const isDecided = (status: AnnotationStatus): boolean => status !== 'proposed'
