/**
 * Figures of a large import, on a disk of this machine: `node test/db/benchImport.ts [annotations] [images]`. The reference
 * is pycocotools' load of the same file in the same run, where GROMATIC_PYTHON names a Python that has it.
 */
import { spawnSync } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, rmSync, statSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openProject } from '../../db/project.ts'
import { diffOf } from '../../db/records/diff.ts'
import { exportAs, importFrom, newProject } from '../support/formats.ts'

/** COCO as its authors write it: images, annotations with a polygon, then categories. */
function writeCocoFile(path: string, annotations: number, images: number): void {
  const file = openSync(path, 'w')
  let pieces: string[] = []
  const write = (text: string): void => {
    pieces.push(text)
    if (pieces.length < 20_000) return
    writeSync(file, pieces.join(''))
    pieces = []
  }
  write('{"info":{},"licenses":[],"images":[')
  for (let id = 1; id <= images; id++) {
    const row = { id, file_name: `folder${id % 50}/scene${id}.png`, width: 1920, height: 1080 }
    write((id > 1 ? ',' : '') + JSON.stringify(row))
  }
  write('],"annotations":[')
  for (let id = 1; id <= annotations; id++) {
    const [x, y, w, h] = [id % 1700, id % 900, 10 + (id % 200) + 0.123, 20.5]
    const row = {
      id,
      image_id: 1 + (id % images),
      category_id: 1 + (id % 80),
      bbox: [x, y, w, h],
      area: w * h,
      iscrowd: 0,
      segmentation: process.env.POLYGONS === '1' ? [[x, y, x + w, y, x + w, y + h, x, y + h]] : [],
    }
    write((id > 1 ? ',' : '') + JSON.stringify(row))
  }
  const categories = Array.from({ length: 80 }, (_, index) => ({
    id: index + 1,
    name: `class ${index + 1}`,
    supercategory: '',
  }))
  write(`],"categories":${JSON.stringify(categories)}}`)
  writeSync(file, pieces.join(''))
  closeSync(file)
}

async function timed<T>(name: string, action: () => T | Promise<T>): Promise<T> {
  const startedAt = performance.now()
  const result = await action()
  const peak = process.resourceUsage().maxRSS / 1e3
  console.log(`${name}: ${(performance.now() - startedAt).toFixed(0)} ms (peak memory so far ${peak.toFixed(0)} MB)`)
  return result
}

function percentiles(name: string, milliseconds: number[]): void {
  milliseconds.sort((a, b) => a - b)
  const at = (share: number): string =>
    (milliseconds[Math.min(milliseconds.length - 1, Math.floor(milliseconds.length * share))] ?? 0).toFixed(2)
  console.log(`${name}: p50 ${at(0.5)}, p99 ${at(0.99)}, max ${at(1)} ms`)
}

function reference(path: string): void {
  const python = process.env.GROMATIC_PYTHON
  if (python === undefined) {
    console.log('pycocotools: no GROMATIC_PYTHON')
    return
  }
  const script =
    'import sys,time,resource,io,contextlib\nfrom pycocotools.coco import COCO\nt=time.time()\nwith contextlib.redirect_stdout(io.StringIO()): COCO(sys.argv[1])\nprint(f"{(time.time()-t)*1000:.0f} ms (peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1e3:.0f} MB)")'
  console.log(`pycocotools load: ${spawnSync(python, ['-c', script, path], { encoding: 'utf8' }).stdout.trim()}`)
}

const [annotations, images] = [Number(process.argv[2] ?? 100_000), Number(process.argv[3] ?? 1000)]
const folder = mkdtempSync(join(tmpdir(), 'gromatic-bench-'))
try {
  const path = join(folder, 'instances.json')
  writeCocoFile(path, annotations, images)
  console.log(`${annotations} annotations on ${images} images, ${(statSync(path).size / 1e6).toFixed(0)} MB of COCO`)
  const made = newProject(folder, 'bench')
  const { plan } = await timed('import', () => importFrom(made, 'coco', path, { missingImages: 'add' }))
  console.log(`imported ${plan.annotations.toAdd} boxes, ${plan.problems.count} problems`)
  await timed('close', () => made.close())
  console.log(`project file: ${(statSync(made.path).size / 1e6).toFixed(0)} MB`)
  const store = await timed('open', () => openProject(made.path))
  const measure = (count: number, action: (index: number) => void): number[] =>
    Array.from({ length: count }, (_, index) => {
      const startedAt = performance.now()
      action(index)
      return performance.now() - startedAt
    })
  percentiles(
    'boxes of an image',
    measure(1000, (index) => store.annotations.list(1 + ((index * 7919) % images))),
  )
  percentiles(
    'commit one',
    measure(1000, (index) => {
      const [before] = store.annotations.list(1 + ((index * 104_729) % images))
      if (before === undefined) return
      const after = { ...before, caption: `said ${index}` }
      store.commit({ actor: 'human', label: 'Caption', diff: diffOf({ annotations: [{ before, after }] }) })
    }),
  )
  await timed('rename a class everywhere', () => {
    const before = store.categories.get(1)
    store.commit({
      actor: 'human',
      label: 'Rename',
      diff: diffOf({ categories: [{ before, after: { ...before, name: 'renamed' } }] }),
    })
  })
  await timed('export to COCO', () => exportAs(store, 'coco', join(folder, 'out.json')))
  while (store.summary().undoLabel?.startsWith('Import') === false) store.undo()
  await timed('undo of the import', () => store.undo())
  store.close()
  reference(path)
} finally {
  rmSync(folder, { recursive: true, force: true })
}
