/** Views of the stores that several parts share; sorted lists are made once per change, not once per reader. */
import type { Annotation, Category } from '../../db/records/records.ts'
import { acceptable, inQueueOrder } from './queue.ts'
import { type AnnotationsOfImage, type RecordsState, useRecords } from './records.ts'
import { useView } from './view.ts'

const none: AnnotationsOfImage = new Map()

let memo: {
  annotations: AnnotationsOfImage
  categories: ReadonlyMap<number, Category>
  ordered: readonly Annotation[]
} | null = null

/** The regions of the open image in list order; the same array until one of them changes. */
export function orderedRegions(records: RecordsState, imageId: number | null): readonly Annotation[] {
  const annotations = (imageId === null ? undefined : records.annotations.get(imageId)) ?? none
  if (memo === null || memo.annotations !== annotations || memo.categories !== records.categories) {
    memo = {
      annotations,
      categories: records.categories,
      ordered: inQueueOrder(annotations.values(), records.categories),
    }
  }
  return memo.ordered
}

/** {@link orderedRegions} of the open image, as a hook. */
export function useRegions(): readonly Annotation[] {
  const imageId = useView((view) => view.imageId)
  return useRecords((records) => orderedRegions(records, imageId))
}

/** Regions of the open image, now. */
export const currentRegions = (): readonly Annotation[] =>
  orderedRegions(useRecords.getState(), useView.getState().imageId)

/** The region in question, or null. */
export function useCurrentRegion(): Annotation | null {
  const imageId = useView((view) => view.imageId)
  const regionId = useView((view) => view.regionId)
  return useRecords((records) =>
    imageId === null || regionId === null ? null : (records.annotations.get(imageId)?.get(regionId) ?? null),
  )
}

/** The region in question, now. */
export function currentRegion(): Annotation | null {
  const { imageId, regionId } = useView.getState()
  if (imageId === null || regionId === null) return null
  return useRecords.getState().annotations.get(imageId)?.get(regionId) ?? null
}

/**
 * The images that the filter lets through, in order.
 * @param filter what stands in its field
 * @param besides an image that is listed whatever its name is: moving on starts from the open one
 */
export function imagesShown(
  order: readonly number[],
  images: RecordsState['images'],
  filter: string,
  besides: number | null = null,
): readonly number[] {
  const wanted = filter.trim().toLowerCase()
  if (wanted === '') return order
  return order.filter((id) => id === besides || images.get(id)?.fileName.toLowerCase().includes(wanted))
}

/** N of "Accept N". */
export function useAcceptCount(): number {
  const regions = useRegions()
  const threshold = useView((view) => view.threshold)
  return acceptable(regions, threshold).length
}

/** The categories in the order of their number keys: as they were made. */
export function categoriesByKey(categories: ReadonlyMap<number, Category>): Category[] {
  return [...categories.values()].sort((a, b) => a.id - b.id)
}
