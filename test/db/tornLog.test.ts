import { copyFileSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openProject } from '../../db/project.ts'
import { times } from '../support/stress.ts'
import { addAnnotations, annotationRow, projectWithImages, tempFolder } from './support.ts'

const STATES = times(60, 2000)

test(`${STATES} torn logs: every commit that was in the log when it was acknowledged is there, and no half of any other`, {
  timeout: times(120_000, 1_800_000),
}, () => {
  const folder = tempFolder()
  const store = projectWithImages(folder, 1)
  const log = `${store.path}-wal`
  /** Length of the log, bytes, when each commit had returned. */
  const acknowledgedAt: number[] = []
  for (let pair = 0; pair < 25; pair++) {
    addAnnotations(store, [annotationRow(2 * pair + 1, 1), annotationRow(2 * pair + 2, 1)])
    acknowledgedAt.push(statSync(log).size)
  }
  const whole = readFileSync(log)
  let lost = 0
  for (let state = 0; state < STATES; state++) {
    const cut = Math.floor((whole.length * (state + 1)) / STATES)
    const path = join(folder, `torn${state}.gromatic`)
    copyFileSync(store.path, path)
    // what a power cut leaves: the synced part, and now and then a tail that was never written
    const tail = state % 3 === 0 ? Buffer.alloc(Math.min(5000, whole.length - cut), 0xa5) : Buffer.alloc(0)
    writeFileSync(`${path}-wal`, Buffer.concat([whole.subarray(0, cut), tail]))
    let boxes = 0
    try {
      const torn = openProject(path)
      boxes = torn.annotations.list(1).length
      expect(torn.summary().decidedCount).toBe(boxes)
      torn.close()
    } catch (error) {
      // the very first commits of the log made the project what it is: before them there is none
      expect(cut).toBeLessThan(acknowledgedAt[0] ?? 0)
      expect(error).toMatchObject({ code: expect.stringMatching(/PROJECT_INVALID|IO_FAILED/) })
    }
    expect(boxes % 2).toBe(0)
    const promised = 2 * acknowledgedAt.filter((size) => size <= cut).length
    if (boxes < promised) lost++
  }
  expect(lost).toBe(0)
})
