import { spawnSync } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openProject } from '../../../db/project.ts'
import { diffOf } from '../../../db/records/diff.ts'
import { exportAs, importFrom, newProject } from '../../support/formats.ts'
import { type Figure, measured, type Row } from '../figure.ts'
import { seconds } from '../measure.ts'

const PYCOCOTOOLS = "pycocotools' load alone"
const row = (name: string, unit: string, limit: number | null, referenceName = ''): Row => ({
  case: name,
  unit,
  referenceName,
  ratio: 'value/reference',
  goal: limit === null ? null : { of: 'value', at: '<=', limit },
})
const rows = {
  import: row('import', 's', 30, PYCOCOTOOLS),
  memory: row('import, peak RSS', 'MB', 400, PYCOCOTOOLS),
  open: row('open', 's', 2),
  image: row('boxes of an image, p99', 'ms', 5),
  commit: row('commit, p99', 'ms', 10),
  rename: row('rename of a class', 's', 5),
  export: row('export', 's', 10),
  undo: row('undo of the import', 's', null),
}

export const data: Figure = {
  work: 'COCO of 1,000,000 boxes on 10,000 images into a project and out again, beside pycocotools',
  rows: Object.values(rows),
  async measure({ quick, log }) {
    const [annotations, images] = quick ? [100_000, 1_000] : [1_000_000, 10_000]
    const folder = mkdtempSync(join(tmpdir(), 'gromatic-bench-'))
    const note = `${annotations} boxes on ${images} images`
    try {
      const path = join(folder, 'instances.json')
      writeCocoFile(path, annotations, images)
      log(note)
      const made = newProject(folder, 'bench')
      const importing = await seconds(() => importFrom(made, 'coco', path, { missingImages: 'add' }))
      const peak = process.resourceUsage().maxRSS / 1e3
      made.close()
      let store = openProject(made.path)
      store.close()
      const opening = await seconds(() => {
        store = openProject(made.path)
      })
      const loads = await eachOf(1000, (index) => store.annotations.list(1 + ((index * 7919) % images)))
      const commits = await eachOf(1000, (index) => {
        const [before] = store.annotations.list(1 + ((index * 104_729) % images))
        if (before === undefined) return
        const after = { ...before, caption: `said ${index}` }
        store.commit({ actor: 'human', label: 'Caption', diff: diffOf({ annotations: [{ before, after }] }) })
      })
      const renaming = await seconds(() => {
        const before = store.categories.get(1)
        const after = { ...before, name: 'renamed' }
        store.commit({ actor: 'human', label: 'Rename', diff: diffOf({ categories: [{ before, after }] }) })
      })
      const exporting = await seconds(() => exportAs(store, 'coco', join(folder, 'out.json')))
      while (store.summary().undoLabel?.startsWith('Import') === false) store.undo()
      const undoing = await seconds(() => store.turn('undo'))
      store.close()
      log(PYCOCOTOOLS)
      const theirs = pycocotools(path)
      const beside = (reference: number | undefined) => (reference === undefined ? {} : { reference })
      return [
        measured('data', rows.import, { value: importing, ...beside(theirs?.seconds), note }),
        measured('data', rows.memory, { value: peak, ...beside(theirs?.megabytes), note }),
        measured('data', rows.open, { value: opening }),
        measured('data', rows.image, { value: percentile99(loads) }),
        measured('data', rows.commit, { value: percentile99(commits) }),
        measured('data', rows.rename, { value: renaming }),
        measured('data', rows.export, { value: exporting }),
        measured('data', rows.undo, { value: undoing }),
      ]
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  },
}

/** Milliseconds of each of `count` actions. */
async function eachOf(count: number, action: (index: number) => void): Promise<number[]> {
  const times: number[] = []
  for (let index = 0; index < count; index++) times.push(1000 * (await seconds(async () => action(index))))
  return times
}

const percentile99 = (values: number[]) => values.sort((a, b) => a - b)[Math.floor(values.length * 0.99)]!

const SCRIPT = `
import contextlib, io, json, resource, sys, time
from pycocotools.coco import COCO
start = time.time()
with contextlib.redirect_stdout(io.StringIO()):
    COCO(sys.argv[1])
print(json.dumps({"seconds": time.time() - start, "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3}))
`

/** What pycocotools needs for the same file; null where GROMATIC_PYTHON names no Python that has it. */
function pycocotools(path: string): { seconds: number; megabytes: number } | null {
  const python = process.env.GROMATIC_PYTHON
  if (python === undefined) return null
  const { status, stdout } = spawnSync(python, ['-c', SCRIPT, path], { encoding: 'utf8' })
  return status === 0 ? JSON.parse(stdout) : null
}

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
      segmentation: [],
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
