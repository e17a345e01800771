/**
 * Figures for a large project, on a disk of this machine: `node test/db/bench.ts [annotations] [images]`. Prints milliseconds
 * and megabytes; nothing is asserted here.
 */
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { formats } from '../../db/formats/registry.ts'
import { createProject, openProject, type ProjectStore } from '../../db/project.ts'
import { diffOf } from '../../db/records/diff.ts'
import type { Annotation, ImageRecord } from '../../db/records/records.ts'

const image = (id: number): ImageRecord => ({
  id,
  fileName: `folder${id % 50}/scene${id}.png`,
  width: 1920,
  height: 1080,
  fileBytes: 1_000_000,
  contentSha256: id.toString(16).padStart(64, '0'),
  status: 'ready',
  done: false,
  proposedAt: null,
})

function proposal(id: number, imageId: number): Annotation {
  const bboxXywh: Annotation['bboxXywh'] = [id % 1700, id % 900, 10 + (id % 200) + 0.123, 20.5]
  return {
    id,
    imageId,
    categoryId: null,
    bboxXywh,
    caption: `a red circle number ${id}`,
    provenance: 'model',
    status: 'proposed',
    modelBboxXywh: bboxXywh,
    modelCaption: `a red circle number ${id}`,
    modelScore: (id % 100) / 100,
    modelHash: 'f'.repeat(64),
    decidedAt: null,
    decisionMs: null,
  }
}

function timed<T>(name: string, action: () => T): T {
  const startedAt = performance.now()
  const result = action()
  console.log(`${name}: ${(performance.now() - startedAt).toFixed(1)} ms`)
  return result
}

function percentiles(name: string, milliseconds: number[]): void {
  milliseconds.sort((a, b) => a - b)
  const at = (share: number): string =>
    (milliseconds[Math.min(milliseconds.length - 1, Math.floor(milliseconds.length * share))] ?? 0).toFixed(2)
  console.log(`${name}: p50 ${at(0.5)}, p99 ${at(0.99)}, max ${at(1)} ms (${milliseconds.length})`)
}

function measure(count: number, action: (index: number) => void): number[] {
  return Array.from({ length: count }, (_, index) => {
    const startedAt = performance.now()
    action(index)
    return performance.now() - startedAt
  })
}

function fill(store: ProjectStore, annotations: number, images: number): void {
  for (let first = 1; first <= images; first += 1000) {
    const rows = Array.from({ length: Math.min(1000, images - first + 1) }, (_, index) => ({
      before: null,
      after: image(first + index),
    }))
    store.commit({ actor: 'scan', label: 'Read the folder', diff: diffOf({ images: rows }) })
  }
  const each = Math.ceil(annotations / images)
  for (let imageId = 1, id = 1; imageId <= images; imageId++) {
    const rows = Array.from({ length: each }, () => ({ before: null, after: proposal(id++, imageId) }))
    store.commit({ actor: 'model', label: 'Propose', diff: diffOf({ annotations: rows }) })
  }
}

async function main(annotations: number, images: number): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'gromatic-bench-'))
  const path = join(folder, 'bench.gromatic')
  try {
    console.log(`${annotations} annotations on ${images} images`)
    const first = createProject(path, folder)
    timed('fill', () => fill(first, annotations, images))
    timed('close', () => first.close())
    console.log(`file: ${(statSync(path).size / 1e6).toFixed(0)} MB`)
    const store = timed('open', () => openProject(path))
    percentiles(
      'summary',
      measure(500, () => store.summary()),
    )
    percentiles(
      'first page of images',
      measure(50, () => store.images.list({ limit: 500 })),
    )
    percentiles(
      'last page of images',
      measure(50, () => store.images.list({ offset: images - 500, limit: 500 })),
    )
    percentiles(
      'filtered page',
      measure(50, () => store.images.list({ filter: 'scene77' })),
    )
    percentiles(
      'boxes of an image',
      measure(1000, (index) => store.annotations.list(1 + ((index * 7919) % images))),
    )
    const accept = (index: number): void => {
      const before = store.annotations
        .list(1 + ((index * 104_729) % images))
        .find(({ status }) => status === 'proposed')
      if (before === undefined) return
      const after: Annotation = { ...before, status: 'accepted', decidedAt: 1, decisionMs: 900 }
      store.commit({ actor: 'human', label: 'Accept', diff: diffOf({ annotations: [{ before, after }] }) })
    }
    percentiles('accept one (with its read)', measure(3000, accept))
    percentiles(
      'undo',
      measure(300, () => store.undo()),
    )
    percentiles(
      'redo',
      measure(300, () => store.redo()),
    )
    const startedAt = performance.now()
    const source = store.exportSource()
    await formats.coco.export(source, {
      path: join(folder, 'coco.json'),
      status: 'all',
      copyImages: false,
      overwrite: false,
    })
    source.close()
    console.log(
      `export to COCO: ${(performance.now() - startedAt).toFixed(0)} ms, ${(statSync(join(folder, 'coco.json')).size / 1e6).toFixed(0)} MB`,
    )
    console.log(`memory: ${(process.memoryUsage().rss / 1e6).toFixed(0)} MB`)
    timed('close', () => store.close())
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

await main(Number(process.argv[2] ?? 100_000), Number(process.argv[3] ?? 1000))
