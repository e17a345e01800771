/** A project with every kind of box, its export, and what a COCO file looks like. */
import { readFileSync } from 'node:fs'
import type { CocoAnnotation } from '../../db/formats/cocoRecords.ts'
import type { ExportOptions } from '../../db/formats/format.ts'
import { formats } from '../../db/formats/registry.ts'
import type { ProjectStore } from '../../db/project.ts'
import { diffOf } from '../../db/records/diff.ts'
import { addAnnotations, annotationRow, categoryRow, projectWithImages, proposalRow } from './support.ts'

export interface CocoFile {
  info: Record<string, unknown>
  licenses: unknown[]
  images: { id: number; file_name: string; width: number; height: number }[]
  annotations: CocoAnnotation[]
  categories?: { id: number; name: string }[]
}
export const read = (path: string): CocoFile => JSON.parse(readFileSync(path, 'utf8'))

/** Four images of 640 x 480 and every kind of box. */
export function decidedProject(folder: string): ProjectStore {
  const store = projectWithImages(folder, 4)
  const categories = [categoryRow(2, 'dog'), categoryRow(5, '车'), categoryRow(7, 'unused')].map((after) => ({
    before: null,
    after,
  }))
  store.commit({ actor: 'human', label: 'x', diff: diffOf({ categories }) })
  addAnnotations(store, [
    annotationRow(1, 1, { categoryId: 5, caption: 'a "red"\ncar 😀' }),
    proposalRow(2, 1, { categoryId: 2, status: 'accepted', modelScore: 0.75, decidedAt: 9, decisionMs: 1200 }),
    proposalRow(3, 1, { categoryId: 2, status: 'rejected' }),
    proposalRow(4, 1, { categoryId: 2, status: 'proposed' }),
    proposalRow(5, 3, { categoryId: null, status: 'edited', bboxXywh: [-5.5, 470.25, 20, 30] }),
    annotationRow(6, 3, { bboxXywh: [700, 10, 5, 5] }),
    annotationRow(7, 4, { categoryId: 5, bboxXywh: [0, 0, 640, 480] }),
  ])
  return store
}

export async function exportTo(store: ProjectStore, path: string, options: Partial<ExportOptions> = {}) {
  const source = store.exportSource()
  try {
    return await formats.coco.export(source, {
      path,
      status: 'accepted',
      copyImages: false,
      overwrite: false,
      ...options,
    })
  } finally {
    source.close()
  }
}
