/** Folders that vanish, projects with images in them, and boxes with sensible defaults. */
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { onTestFinished } from 'vitest'
import { createProject, type ProjectStore } from '../../db/project.ts'
import { diffOf } from '../../db/records/diff.ts'
import type { Annotation } from '../../db/records/records.ts'
import { imageRow } from './drafts.ts'

export { annotationRow, categoryRow, imageRow, proposalRow } from './drafts.ts'

/** Where Linux keeps files in memory: for tests that make thousands of projects and have nothing to say about disks. */
const MEMORY = '/dev/shm'

/** A folder of this test's own (`inMemory`: where the system can); removed when the test ends. */
export function tempFolder(inMemory = false): string {
  const home = inMemory && existsSync(MEMORY) ? MEMORY : tmpdir()
  const folder = mkdtempSync(join(home, 'gromatic-db-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** A new project over `<folder>/images` with `count` image rows (no files). Closed when the test ends. */
export function projectWithImages(folder: string, count: number, path = join(folder, 'work.gromatic')): ProjectStore {
  mkdirSync(join(dirname(path), 'images'), { recursive: true })
  const store = createProject(path, join(dirname(path), 'images'))
  onTestFinished(() => store.close())
  const images = store.allocateIds('images', count).map((id) => ({ before: null, after: imageRow(id) }))
  if (count > 0) store.commit({ actor: 'scan', label: 'Read the folder', diff: diffOf({ images }) })
  return store
}

/** Stores new boxes in one revision and returns them. */
export function addAnnotations(
  store: ProjectStore,
  rows: Annotation[],
  actor: 'human' | 'model' = 'human',
): Annotation[] {
  const annotations = rows.map((after) => ({ before: null, after }))
  store.commit({ actor, label: `Add ${rows.length}`, diff: diffOf({ annotations }) })
  return rows
}
