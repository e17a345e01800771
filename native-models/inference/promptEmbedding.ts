import { GromaError } from '../errors.ts'
import type { SpecialTokens } from '../groma/specialTokens.ts'
import type { LanguageModel } from './languageModel.ts'
import type { PromptPiece } from './promptCache.ts'

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

/** What fills a question's places for boxes. */
export interface Fillings {
  /** per box that the question refers to: the region that stands for it */
  referRegions?: readonly number[]
  /** [B, H] the feature of each of these regions */
  referFeatures?: Float32Array
}

/** A piece of the prompt before the question, and what its embeddings are. */
export interface PrefixPiece extends PromptPiece {
  /** an id, the image's tokens, or the feature of the n-th region */
  part: number | 'image' | { region: number }
}

/**
 * The prompt up to the question with its placeholders filled in: `<image>` by the image tokens, `<region>` by `<rK>` and the
 * region's feature for each region.
 * @param filling.imageRows image tokens
 * @param filling.regionKeys name each region's box
 */
export function prefixPieces(
  { image, regions }: Pick<PromptStretches, 'image' | 'regions'>,
  tokens: SpecialTokens,
  filling: { imageKey: string; imageRows: number; regionKeys: readonly string[] },
): PrefixPiece[] {
  const token = (id: number): PrefixPiece => ({ ...tokenPiece(id), part: id })
  return [...image, ...regions].flatMap((id): PrefixPiece[] => {
    if (id === tokens.image) return [{ key: `image ${filling.imageKey}`, rows: filling.imageRows, part: 'image' }]
    if (id !== tokens.region) return [token(id)]
    return filling.regionKeys.flatMap((box, region): PrefixPiece[] => [
      token(tokens.regions[region]!),
      { key: `region ${filling.imageKey} ${box}`, rows: 1, part: { region } },
    ])
  })
}

/** A question's pieces, a row each: one that begins alike needs only the rest to be read. */
export function questionPieces(
  tokens: SpecialTokens,
  ids: readonly number[],
  filling: { imageKey: string; regionKeys: readonly string[]; referRegions: readonly number[] },
): PromptPiece[] {
  let boxes = 0
  let features = 0
  return ids.map((id) => {
    if (id === tokens.referBox) return tokenPiece(tokens.regions[filling.referRegions[boxes++]!]!)
    if (id !== tokens.referFeature) return tokenPiece(id)
    return { key: `region ${filling.imageKey} ${filling.regionKeys[filling.referRegions[features++]!]}`, rows: 1 }
  })
}

export const tokenPiece = (id: number): PromptPiece => ({ key: `token ${id}`, rows: 1 })

/**
 * Embeddings of a question: the i-th `<refer_box>` and `<refer_feat>` stand for the `<rK>` and the feature of the i-th box.
 * @returns [T, H]
 * @throws GromaError INPUT_INVALID when the question refers to more boxes than there are
 */
export function embedQuestion(
  model: Embedder,
  tokens: SpecialTokens,
  ids: readonly number[],
  { referRegions = [], referFeatures }: Fillings,
): Float32Array {
  const width = model.config.hiddenSize
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
  const parts = ids.map((id): number | Float32Array => {
    if (id === tokens.referBox) return tokens.regions[referred(boxes++)]!
    if (id !== tokens.referFeature) return id
    referred(features)
    return referFeatures!.subarray(features * width, ++features * width)
  })
  return embedParts(model, parts)
}

type Embedder = Pick<LanguageModel, 'config' | 'table'>

/** Ids and rows of embeddings, one after another: [T, H]. */
export function embedParts(model: Embedder, parts: readonly (number | Float32Array)[]): Float32Array {
  const width = model.config.hiddenSize
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
