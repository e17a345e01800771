import { type BoxCxcywh, cxcywhToXyxy } from '../../native-models/geometry/boxes.ts'
import { iouXyxy } from '../../native-models/geometry/overlap.ts'
import type { GromaEngine } from '../../native-models/inference/engine.ts'
import { decodeImage } from '../../native-models/preprocess/image.ts'
import { drawScene, type Scene } from '../support/syntheticScenes.ts'
import { Share } from './share.ts'

/** How often an engine whose vision is rounded sees what an exact one sees. */
export interface RegionAgreement {
  scenes: number
  /** selected boxes, those of either side, that the other side has at IoU >= 0.9 */
  boxes: Share
  /** captions of the exact side's boxes */
  captions: Share
  /** of these captions, those that are true of the object at the box's centre */
  right: { exact: Share; rounded: Share }
}

/** Captions take most of the time: they are asked for in every third scene. */
const CAPTION_EVERY = 3

/** Shows two engines scenes `firstSeed`, `firstSeed + 1`, ...; yields after each the sum of all so far. */
export async function* regionAgreement(
  exact: GromaEngine,
  rounded: GromaEngine,
  { scenes, firstSeed }: { scenes: number; firstSeed: number },
): AsyncGenerator<RegionAgreement> {
  const agreement: RegionAgreement = {
    scenes: 0,
    boxes: new Share(),
    captions: new Share(),
    right: { exact: new Share(), rounded: new Share() },
  }
  for (let seed = firstSeed; seed < firstSeed + scenes; seed++) {
    const scene = await drawScene(seed)
    const image = await decodeImage(scene.bytes)
    const look = async (engine: GromaEngine) => {
      const perception = await engine.perceive(image, { key: `scene ${seed}` })
      return { engine, perception, boxes: engine.propose(perception).map(({ boxCxcywh }) => boxCxcywh) }
    }
    const [one, two] = [await look(exact), await look(rounded)]
    const found = matched(one.boxes, two.boxes) + matched(two.boxes, one.boxes)
    agreement.boxes.add(found, one.boxes.length + two.boxes.length)
    if (agreement.scenes % CAPTION_EVERY === 0) {
      const caption = async ({ engine, perception }: typeof one) =>
        (await engine.caption(perception, one.boxes, { detail: 'brief' })).map(({ text }) => text)
      const [said, repeated] = [await caption(one), await caption(two)]
      for (const [i, box] of one.boxes.entries()) {
        const truth = captionAt(scene, box)
        agreement.captions.add(Number(said[i] === repeated[i]), 1)
        agreement.right.exact.add(Number(said[i] === truth), 1)
        agreement.right.rounded.add(Number(repeated[i] === truth), 1)
      }
    }
    agreement.scenes++
    yield agreement
  }
}

/** How many of `boxes` have one of `others` at IoU >= 0.9. */
const matched = (boxes: readonly BoxCxcywh[], others: readonly BoxCxcywh[]): number =>
  boxes.filter((box) => others.some((other) => iouXyxy(cxcywhToXyxy(box), cxcywhToXyxy(other)) >= 0.9)).length

/** The caption of the object that a box's centre lies on. */
function captionAt({ objects, width, height }: Scene, [cx, cy]: BoxCxcywh): string | undefined {
  const [x, y] = [cx * width, cy * height]
  return objects.find(({ bboxXywh: [left, top, w, h] }) => x > left && x < left + w && y > top && y < top + h)?.caption
}
