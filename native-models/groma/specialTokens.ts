import { GromaError } from '../errors.ts'

/** Ids of the tokens that mean something to Groma, read from the tokenizer's files. */
export interface SpecialTokens {
  bos: number
  eos: number
  unk: number
  pad: number | null
  /** `<p>` and `</p>` around a phrase */
  phraseStart: number
  phraseEnd: number
  /** `<roi>` and `</roi>` around a list of regions */
  roiStart: number
  roiEnd: number
  /** placeholders that the engine replaces: `<image>`, `<region>`, `<refer_box>`, `<refer_feat>` */
  image: number
  region: number
  referBox: number
  referFeature: number
  groundBox: number
  /** `[grounding]` */
  grounding: number
  /** id of `<r0>`, `<r1>`, ... by region index */
  regions: readonly number[]
  /** region index by id: the inverse of `regions` */
  regionOfId: ReadonlyMap<number, number>
  /** every id that never belongs to plain text: added tokens, bos, eos, unk */
  all: ReadonlySet<number>
}

/**
 * Finds Groma's tokens among a tokenizer's added tokens.
 * @param addedTokens token text to id, as in `added_tokens.json`
 * @param base ids of `<s>`, `</s>`, `<unk>` in the base vocabulary
 * @throws TOKENIZER_INVALID when one is missing, doubled, or the regions have a gap
 */
export function readSpecialTokens(
  addedTokens: ReadonlyMap<string, number>,
  base: { bos: number; eos: number; unk: number } = { bos: 1, eos: 2, unk: 0 },
  path = 'added_tokens.json',
): SpecialTokens {
  const idOf = (token: string): number => {
    const id = addedTokens.get(token)
    if (id === undefined) throw new GromaError('TOKENIZER_INVALID', `${path}: ${token} is missing`)
    return id
  }
  const regions: number[] = []
  for (let id = addedTokens.get('<r0>'); id !== undefined; id = addedTokens.get(`<r${regions.length}>`))
    regions.push(id)
  const named = [...addedTokens.keys()].filter((token) => /^<r\d+>$/.test(token)).length
  if (regions.length === 0) throw new GromaError('TOKENIZER_INVALID', `${path}: <r0> is missing`)
  if (named !== regions.length) throw new GromaError('TOKENIZER_INVALID', `${path}: <r${regions.length}> is missing`)

  const all = new Set([...addedTokens.values(), base.bos, base.eos, base.unk])
  if (new Set(addedTokens.values()).size !== addedTokens.size) {
    throw new GromaError('TOKENIZER_INVALID', `${path}: two tokens share one id`)
  }
  return {
    ...base,
    pad: addedTokens.get('[PAD]') ?? null,
    phraseStart: idOf('<p>'),
    phraseEnd: idOf('</p>'),
    roiStart: idOf('<roi>'),
    roiEnd: idOf('</roi>'),
    image: idOf('<image>'),
    region: idOf('<region>'),
    referBox: idOf('<refer_box>'),
    referFeature: idOf('<refer_feat>'),
    groundBox: idOf('<ground_box>'),
    grounding: idOf('[grounding]'),
    regions,
    regionOfId: new Map(regions.map((id, region) => [id, region])),
    all,
  }
}
