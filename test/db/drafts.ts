/** Records with sensible defaults, for tests and for the processes they kill. */
import type { Annotation, Category, ImageRecord } from '../../db/records/records.ts'

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
