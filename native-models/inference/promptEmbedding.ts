import { GromaError } from '../errors.ts'
import type { SpecialTokens } from '../groma/specialTokens.ts'
import type { LanguageModel } from './languageModel.ts'

/** A prompt's ids in the three stretches that are cached apart. */
export interface PromptStretches {
  /** up to `<region>`: depends on the image alone */
  image: readonly number[]
  /** from `<region>` to `</s>`: depends on the regions as well */
  regions: readonly number[]
  /** the question */
  tail: readonly number[]
}

/** @throws GromaError INPUT_INVALID when the prompt is not Groma's */
export function splitPrompt(ids: readonly number[], tokens: SpecialTokens): PromptStretches {
  const region = ids.indexOf(tokens.region)
  const end = ids.indexOf(tokens.eos, region)
  if (region < 0 || end < 0 || ids.indexOf(tokens.image) > region) {
    throw new GromaError('INPUT_INVALID', 'the prompt has no place for the image and its regions')
  }
  return { image: ids.slice(0, region), regions: ids.slice(region, end + 1), tail: ids.slice(end + 1) }
}

export interface Fillings {
  /** [M, H] */
  imageTokens?: Float32Array
  /** [R, H] */
  regionTokens?: Float32Array
  /** per box that the question refers to: the region that stands for it */
  referRegions?: readonly number[]
}

/**
 * Embeddings of a stretch with its placeholders filled in: `<image>` by the image tokens, `<region>` by `<rK>` and the
 * region's feature for each region, the i-th `<refer_box>` and `<refer_feat>` by `<rK>` and the feature of the i-th box.
 * @returns [T, H]
 * @throws GromaError INPUT_INVALID when a question refers to more boxes than there are
 */
export function embedStretch(
  model: LanguageModel,
  tokens: SpecialTokens,
  ids: readonly number[],
  { imageTokens, regionTokens, referRegions = [] }: Fillings,
): Float32Array {
  const width = model.config.hiddenSize
  const parts: (number | Float32Array)[] = []
  let boxes = 0
  let features = 0
  const referred = (index: number): number => {
    const region = referRegions[index]
    if (region !== undefined) return region
    throw new GromaError(
      'INPUT_INVALID',
      `the question refers to ${index + 1} boxes, ${referRegions.length} were given`,
    )
  }
  const feature = (region: number) => regionTokens!.subarray(region * width, (region + 1) * width)
  for (const id of ids) {
    if (id === tokens.image && imageTokens) parts.push(imageTokens)
    else if (id === tokens.region && regionTokens) {
      for (let region = 0; region < regionTokens.length / width; region++) {
        parts.push(tokens.regions[region]!, feature(region))
      }
    } else if (id === tokens.referBox) parts.push(tokens.regions[referred(boxes++)]!)
    else if (id === tokens.referFeature && regionTokens) parts.push(feature(referred(features++)))
    else parts.push(id)
  }
  const rows = parts.reduce<number>((sum, part) => sum + (typeof part === 'number' ? 1 : part.length / width), 0)
  const embeds = new Float32Array(rows * width)
  let row = 0
  for (const part of parts) {
    if (typeof part === 'number') {
      model.table.copyInto(embeds, row++, [part])
      continue
    }
    embeds.set(part, row * width)
    row += part.length / width
  }
  return embeds
}
