/** Folders that vanish, projects with images in them, and boxes with sensible defaults. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { onTestFinished } from 'vitest'
import { createProject, type ProjectStore } from '../../db/project.ts'
import { diffOf } from '../../db/records/diff.ts'
import type { Annotation, Category, ImageRecord } from '../../db/records/records.ts'

/** A folder of this test's own; removed when the test ends. */
export function tempFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'gromatic-db-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

export function imageRow(id: number, fileName = `scene${id}.png`, change: Partial<ImageRecord> = {}): ImageRecord {
  const contentSha256 = id.toString(16).padStart(64, '0')
  return {
    id,
    fileName,
    width: 640,
    height: 480,
    fileBytes: 1000 + id,
    contentSha256,
    status: 'ready',
    done: false,
    proposedAt: null,
    ...change,
  }
}

export function annotationRow(id: number, imageId: number, change: Partial<Annotation> = {}): Annotation {
  return {
    id,
    imageId,
    categoryId: null,
    bboxXywh: [10 + id, 20, 30.5, 40.25],
    caption: null,
    provenance: 'human',
    status: 'accepted',
    modelBboxXywh: null,
    modelCaption: null,
    modelScore: null,
    modelHash: null,
    decidedAt: null,
    decisionMs: null,
    ...change,
  }
}

/** A box as the model proposes it. */
export function proposalRow(id: number, imageId: number, change: Partial<Annotation> = {}): Annotation {
  const bboxXywh: Annotation['bboxXywh'] = [10 + id, 20, 30.5, 40.25]
  return annotationRow(id, imageId, {
    bboxXywh,
    caption: 'a red circle',
    provenance: 'model',
    status: 'proposed',
    modelBboxXywh: bboxXywh,
    modelCaption: 'a red circle',
    modelScore: 0.5,
    modelHash: 'abc',
    ...change,
  })
}

export const categoryRow = (id: number, name: string): Category => ({ id, name, color: '#ff8800' })

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
