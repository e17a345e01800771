import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { convertCheckpoint } from '../../native-models/builders/buildModel.ts'
import { boxCxcywh } from '../../native-models/geometry/boxes.ts'
import { GromaEngine } from '../../native-models/inference/engine.ts'
import { decodeImage, type RgbImage } from '../../native-models/preprocess/image.ts'
import { makeReferenceCheckpoint, type ReferenceName, referenceDir } from '../support/makeCheckpoint.ts'
import {
  type ReferenceCase,
  type ReferenceImage,
  referenceExpectation,
  referenceImagePath,
  referenceTensors,
} from '../support/referenceCases.ts'

/** max |a - b| <= tolerance * max |b|, as the reference asks. */
export const TOLERANCE = 1e-3
export const LOGITS_TOLERANCE = 3e-3
/** Where the best two logits are closer than this, the texts may part. */
const MARGIN = 0.01

/** max |a - b| / max |b|; infinite where lengths differ or numbers are missing. */
export function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return Number.POSITIVE_INFINITY
  let error = 0
  let largest = 0
  for (let i = 0; i < expected.length; i++) {
    const difference = Math.abs(actual[i]! - expected[i]!)
    if (!(difference <= error)) error = difference // NaN passes here too
    largest = Math.max(largest, Math.abs(expected[i]!))
  }
  return Number.isNaN(error) ? Number.POSITIVE_INFINITY : error / largest
}

/** An engine folder made from a reference model's formula, in a folder of its own. */
export async function convertReference(name: ReferenceName): Promise<{ dir: string; remove: () => Promise<void> }> {
  const root = await mkdtemp(join(tmpdir(), `gromatic-parity-${name}-`))
  await makeReferenceCheckpoint(name, join(root, 'checkpoint'))
  const dir = join(root, 'engine')
  await convertCheckpoint(join(root, 'checkpoint'), dir)
  return { dir, remove: () => rm(root, { recursive: true, force: true }) }
}

/** Every case of one reference model, through the whole engine. */
export function describeParity(name: ReferenceName): void {
  describe(`parity with the authors' code: ${name}`, () => {
    const worst = new Map<string, number>()
    const compare = (what: string, actual: ArrayLike<number>, expected: ArrayLike<number>, tolerance = TOLERANCE) => {
      const error = relativeError(actual, expected)
      worst.set(what, Math.max(worst.get(what) ?? 0, error))
      expect(error, what).toBeLessThanOrEqual(tolerance)
    }
    let engine: GromaEngine
    let remove = async () => {}
    beforeAll(async () => {
      const converted = await convertReference(name)
      remove = converted.remove
      engine = await GromaEngine.open(converted.dir)
    })
    afterAll(async () => {
      await engine?.close()
      await remove()
      if (process.env.PARITY_FIGURES) {
        console.log(name, Object.fromEntries([...worst].map(([what, error]) => [what, error.toExponential(1)])))
      }
    })
    for (const image of referenceExpectation(name).images) describeImage(image)

    function describeImage(image: ReferenceImage): void {
      describe(image.image, () => {
        let picture: RgbImage
        let expected: Awaited<ReturnType<typeof referenceTensors>>
        beforeAll(async () => {
          picture = await decodeImage(referenceImagePath(image.image))
          expected = await referenceTensors(name, image.expected)
        })

        it('reads and resizes the picture byte for byte', async () => {
          expect([picture.width, picture.height]).toEqual([image.width, image.height])
          expect(createHash('sha256').update(picture.data).digest('hex')).toBe(image.sha256)
          const { squareRgb } = await engine.perceive(picture, { key: image.image })
          const hashes = JSON.parse(readFileSync(join(referenceDir, 'images/resized448.sha256.json'), 'utf8'))
          expect(createHash('sha256').update(squareRgb).digest('hex')).toBe(hashes[image.image])
        })

        it.each(image.cases)('$case', async (wanted: ReferenceCase) => {
          const boxes = (wanted.refer_boxes_cxcywh ?? []).map((box) =>
            boxCxcywh(...(box as [number, number, number, number])),
          )
          const trace = await engine.trace(picture, {
            query: wanted.query,
            boxesCxcywh: boxes,
            order: wanted.order,
            maxNewTokens: wanted.max_new_tokens,
            allTensors: expected.has('pixels') && wanted === image.cases[0],
          })
          const found = trace.case
          const tensor = (key: string) => expected.get(key)!.data
          expect([found.width, found.height]).toEqual([image.width, image.height])
          expect(found.prompt).toBe(wanted.prompt)
          expect(found.input_ids).toEqual(wanted.input_ids)
          compare('boxes', found.proposals.boxes_cxcywh.flat(), tensor('proposals.boxes_cxcywh'))
          compare('scores', found.proposals.score, tensor('proposals.score'))
          compare('selected boxes', found.selected_cxcywh.flat(), tensor(`${wanted.case}.selected_cxcywh`))
          compare(
            'first logits',
            trace.tensors.first_logits!.data,
            tensor(`${wanted.case}.first_logits`),
            LOGITS_TOLERANCE,
          )
          for (const [key, { data }] of Object.entries(trace.tensors)) {
            const reference = expected.get(key) ?? expected.get(`${wanted.case}.${key}`)
            if (reference && key !== 'first_logits') compare(key.replace(/\.\d+$/, ''), data, reference.data)
          }
          compareText(found, wanted)
        })
      })
    }

    function compareText(
      found: { output_ids: number[]; output_text: string; top5: [number, number][][] },
      wanted: ReferenceCase,
    ) {
      const parting = wanted.top5.findIndex(([best, second]) => best![1] - second![1] < MARGIN)
      const sure = parting < 0 ? wanted.output_ids.length : parting
      expect(found.output_ids.slice(0, sure)).toEqual(wanted.output_ids.slice(0, sure))
      if (found.output_ids.join() === wanted.output_ids.join()) expect(found.output_text).toBe(wanted.output_text)
      const logits = (top: readonly [number, number][][]) =>
        top.slice(0, sure).flatMap((step) => step.map(([, logit]) => logit))
      if (sure > 0) compare('best logits', logits(found.top5), logits(wanted.top5), LOGITS_TOLERANCE)
    }
  })
}

/** Checkpoint folders as the authors' tools save them, where this machine has them. */
export function releasedCheckpoint(path: string): string | undefined {
  const roots = [process.env.GROMA_REFERENCE, join(import.meta.dirname, '../../../shared/reference')]
  return roots
    .filter((root) => root !== undefined)
    .map((root) => join(root, path))
    .find((dir) => existsSync(dir))
}
