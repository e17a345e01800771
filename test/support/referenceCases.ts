import { readFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { readSafetensorsHeader } from '../../native-models/checkpoint/safetensors.ts'
import { readTensor } from '../../native-models/checkpoint/tensorData.ts'
import { type ReferenceName, referenceDir, tokenizerFolders } from './makeCheckpoint.ts'

export interface ReferenceCase {
  case: string
  query: string
  prompt: string
  input_ids: number[]
  refer_boxes_cxcywh: number[][] | null
  order: 'score' | 'reverse'
  max_new_tokens: number
  output_ids: number[]
  output_text: string
  top5: [id: number, logit: number][][]
  min_margin: number
}

export interface ReferenceImage {
  image: string
  sha256: string
  width: number
  height: number
  expected: string
  cases: ReferenceCase[]
}

export interface ReferenceExpectation {
  legacy_tokenizer: boolean
  images: ReferenceImage[]
  tokenizer?: { text: string; ids: number[]; ids_no_bos: number[]; decoded: string }[]
}

export const referenceNames: readonly ReferenceName[] = ['one-level', 'four-level', 'three-level', 'no-region-passes']

/** `expected.json` of a reference folder. */
export function referenceExpectation(name: ReferenceName): ReferenceExpectation {
  return JSON.parse(readFileSync(join(referenceDir, name, 'expected.json'), 'utf8'))
}

/** Folder with the tokenizer files of a reference model. */
export const referenceTokenizerDir = (name: ReferenceName): string => join(referenceDir, tokenizerFolders[name])

/** Path of an input picture. */
export const referenceImagePath = (image: string): string => join(referenceDir, 'images', image)

/** The expected tensors of one picture, by name. */
export async function referenceTensors(
  name: ReferenceName,
  file: string,
): Promise<Map<string, { shape: readonly number[]; data: Float32Array }>> {
  const handle = await open(join(referenceDir, name, file))
  try {
    const { tensors } = await readSafetensorsHeader(handle, file)
    const found = new Map<string, { shape: readonly number[]; data: Float32Array }>()
    for (const tensor of tensors)
      found.set(tensor.name, { shape: tensor.shape, data: await readTensor(handle, tensor) })
    return found
  } finally {
    await handle.close()
  }
}
