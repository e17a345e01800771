import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { parseGromaConfig } from '../../../native-models/groma/config.ts'
import { bestRegionForEach, selectRegions } from '../../../native-models/groma/regionSelection.ts'
import { referenceDir } from '../../support/makeCheckpoint.ts'
import { referenceExpectation, referenceNames, referenceTensors } from '../../support/referenceCases.ts'

describe.each(referenceNames)('%s: the same boxes in the same order', (name) => {
  const config = parseGromaConfig(JSON.parse(readFileSync(join(referenceDir, name, 'config.json'), 'utf8')))
  it.each(referenceExpectation(name).images)('$image', async ({ expected, cases }) => {
    const tensors = await referenceTensors(name, expected)
    for (const { case: label, refer_boxes_cxcywh: referBoxes, order } of cases) {
      const boxesCxcywh = tensors.get('proposals.boxes_cxcywh')!.data
      const scores = tensors.get('proposals.score')!.data
      const selected = selectRegions({ boxesCxcywh, scores, referBoxes: referBoxes?.flat() ?? null, config, order })
      expect(selected.boxesCxcywh, label).toEqual(tensors.get(`${label}.selected_cxcywh`)!.data)
      selected.sourceIndex.forEach((source, region) => {
        const box =
          source < scores.length ? boxesCxcywh.slice(source * 4, source * 4 + 4) : referBoxes![source - scores.length]!
        expect(Float32Array.from(box)).toEqual(selected.boxesCxcywh.slice(region * 4, region * 4 + 4))
      })
    }
  })
})

describe('selection', () => {
  const config = { scoreThreshold: 0.15, nmsThreshold: 0.6, maxRegions: 2 }
  const boxesCxcywh = Float32Array.of(0.2, 0.2, 0.1, 0.1, 0.5, 0.5, 0.1, 0.1, 0.8, 0.8, 0.1, 0.1)

  it('falls back on the single best candidate', () => {
    const { sourceIndex } = selectRegions({
      boxesCxcywh,
      scores: Float32Array.of(0.1, 0.14, 0.12),
      config,
      order: 'score',
    })
    expect(sourceIndex).toEqual([1])
  })

  it('compares the threshold in float32, as torch does', () => {
    const { sourceIndex } = selectRegions({
      boxesCxcywh,
      scores: Float32Array.of(0.15, 0.2, 0.1),
      config,
      order: 'score',
    })
    expect(sourceIndex).toEqual([1])
  })

  it('cuts at the maximum before reversing', () => {
    const scores = Float32Array.of(0.3, 0.5, 0.4)
    expect(selectRegions({ boxesCxcywh, scores, config, order: 'score' }).sourceIndex).toEqual([1, 2])
    expect(selectRegions({ boxesCxcywh, scores, config, order: 'reverse' }).sourceIndex).toEqual([2, 1])
  })

  it("finds the region for each of the user's boxes", () => {
    expect(bestRegionForEach(boxesCxcywh, [0.79, 0.8, 0.1, 0.1, 0.2, 0.21, 0.2, 0.2])).toEqual([2, 0])
    expect(bestRegionForEach(boxesCxcywh, [0.35, 0.35, 0.01, 0.01])).toEqual([0])
  })
})
