/** `stats` and `evaluate work`: numbers of a project that was worked on by hand here, so that they can be counted. */
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { diffOf } from '../../db/records/diff.ts'
import { projectStats, statsText } from '../../electron/services/evaluation/stats.ts'
import { workReport, workText } from '../../electron/services/evaluation/work.ts'
import {
  addAnnotations,
  annotationRow,
  categoryRow,
  imageRow,
  projectWithImages,
  proposalRow,
  tempFolder,
} from '../db/support.ts'

const DAY = Date.UTC(2026, 0, 5, 12)

/** Image 1 is done: one accepted, one moved by half its width, one rejected, one drawn. Image 2 is not. */
function workedOn(): string {
  const folder = tempFolder()
  const path = join(folder, 'work.gromatic')
  const store = projectWithImages(folder, 3, path)
  store.commit({
    actor: 'human',
    label: 'Add classes',
    diff: diffOf({
      categories: [1, 2].map((id) => ({ before: null, after: categoryRow(id, ['circle', 'star'][id - 1]!) })),
    }),
  })
  const box = [100, 100, 40, 40] as [number, number, number, number]
  const decided = (ms: number) => ({ decidedAt: DAY, decisionMs: ms })
  const model = { modelBboxXywh: box, modelCaption: 'a large red circle' }
  addAnnotations(store, [
    proposalRow(1, 1, {
      ...model,
      bboxXywh: box,
      caption: 'a large red circle',
      status: 'accepted',
      categoryId: 1,
      modelScore: 0.9,
      ...decided(1000),
    }),
    proposalRow(2, 1, {
      ...model,
      bboxXywh: [120, 100, 40, 40],
      caption: 'a large red ring',
      status: 'edited',
      categoryId: 1,
      modelScore: 0.6,
      ...decided(3000),
    }),
    proposalRow(3, 1, {
      bboxXywh: [300, 300, 50, 50],
      modelBboxXywh: [300, 300, 50, 50],
      status: 'rejected',
      categoryId: 2,
      modelScore: 0.3,
      ...decided(8000),
    }),
    annotationRow(4, 1, { bboxXywh: [500, 20, 60, 60], provenance: 'human', status: 'accepted' }),
    proposalRow(5, 2, { modelScore: 0.2 }),
  ])
  store.commit({
    actor: 'human',
    label: 'Done',
    diff: diffOf({ images: [{ before: imageRow(1), after: imageRow(1, 'scene1.png', { done: true }) }] }),
  })
  store.close()
  return path
}

describe('statistics of the work', () => {
  it('counts decisions, their time and how far the work is', () => {
    const stats = projectStats(workedOn())
    expect(stats).toMatchObject({
      images: { total: 3, missing: 0, done: 1 },
      model: { proposed: 1, accepted: 1, edited: 1, rejected: 1, acceptance: 2 / 3 },
      drawn: 1,
      imported: 0,
      secondsPerDecision: { count: 3, median: 3, mean: 4, p90: 8 },
      days: [{ day: '2026-01-05', decisions: 3 }],
    })
    expect(stats.categories).toEqual([
      expect.objectContaining({ category: 'circle', acceptance: 1 }),
      expect.objectContaining({ category: 'star', acceptance: 0 }),
      expect.objectContaining({ category: null, acceptance: null }),
    ])
    expect(statsText(stats)).toContain('66.7%')
  })

  it('measures the model against what people made of its boxes', () => {
    const report = workReport(workedOn())
    expect(report).toMatchObject({
      images: 1,
      decided: 3,
      truth: 3,
      precision: 2 / 3,
      recall: 2 / 3,
      unchanged: 1 / 2,
      captions: { count: 2, exact: 1 / 2 },
      confidence: { auroc: 1 },
    })
    // IoU 1 and, moved by half a width, 1/3
    expect(report.boxes.meanIou).toBeCloseTo((1 + 1 / 3) / 2, 12)
    expect(report.boxes.ap50).toBeGreaterThan(0.3)
    expect(report.confidence.tenths[9]).toEqual({ from: 0.9, decided: 1, kept: 1 })
    expect(report.confidence.tenths[3]).toEqual({ from: 0.3, decided: 1, kept: 0 })
    expect(workText(report)).toContain('66.7% of the model')
  })

  it('has no shares of nothing', () => {
    const folder = tempFolder()
    const path = join(folder, 'work.gromatic')
    projectWithImages(folder, 0, path).close()
    expect(projectStats(path)).toMatchObject({
      model: { acceptance: null },
      secondsPerDecision: { count: 0, median: null, mean: null },
    })
    expect(workReport(path)).toMatchObject({
      precision: null,
      recall: null,
      boxes: { meanIou: null, ap: null },
      captions: { ciderD: null },
    })
    expect(statsText(projectStats(path))).toContain('acceptance  -')
  })

  it('reads a project that another window holds open', () => {
    const folder = tempFolder()
    const path = join(folder, 'work.gromatic')
    projectWithImages(folder, 2, path) // stays open for writing until the test ends
    expect(projectStats(path).images.total).toBe(2)
  })
})
