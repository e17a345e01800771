/** `import`, `export` and `formats` as a script sees them. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it, vi } from 'vitest'
import { createProject } from '../../db/project.ts'
import { connect } from '../../db/sqlite.ts'
import { writePicture } from './support.ts'

const main = new URL('../../electron/cli/main.ts', import.meta.url).pathname
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 })

let root: string
const at = (...parts: string[]) => join(root, ...parts)
const cli = (...args: string[]) => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], {
    cwd: root,
    encoding: 'utf8',
    env: { ...process.env, GROMATIC_HOME: at('home') },
  })
  return { code: status, out: stdout, err: stderr }
}
const json = (...args: string[]) => {
  const { code, out, err } = cli(...args, '--json')
  expect(code, err).toBe(0)
  return JSON.parse(out)
}

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'gromatic-cli-'))
  mkdirSync(at('set', 'images', 'train'), { recursive: true })
  mkdirSync(at('set', 'labels', 'train'), { recursive: true })
  await writePicture(at('set', 'images', 'train', 'a b.png'), 200, 100)
  await writePicture(at('set', 'images', 'train', 'turned.jpg'), 90, 60, 6)
  writeFileSync(at('set', 'data.yaml'), 'train: images/train\nnames:\n  0: cup\n  1: traffic light\n')
  writeFileSync(at('set', 'labels', 'train', 'a b.txt'), '0 0.5 0.5 0.5 0.5\n1 0.25 0.25 0.1 0.1\n')
  writeFileSync(at('set', 'labels', 'train', 'turned.txt'), '0 0.5 0.5 1 1\n')
})
afterAll(() => rmSync(root, { recursive: true, force: true }))

it('takes a data set into a new project, twice the same, and says what it would do first', () => {
  expect(cli('import', 'set', '--project', 'p.gromatic').err).toMatch(/NOT_FOUND: There is no project .* Give --images/)
  writeFileSync(at('nothing.json'), '{')
  expect(
    cli('import', 'nothing.json', '--format', 'coco', '--project', 'p.gromatic', '--images', at('set', 'images')).code,
  ).toBe(1)
  expect(existsSync(at('p.gromatic'))).toBe(false)
  const first = json('import', 'set', '--project', 'p.gromatic', '--images', at('set', 'images'))
  expect(first).toMatchObject({
    copied: 0,
    plan: { format: 'yolo', annotations: { toAdd: 3 }, images: { matched: 2 } },
  })
  // the picture is upright: 60 x 90
  const rows = json('call', 'annotations.list', '{"imageId":2}', '--project', 'p.gromatic')
  expect(rows).toMatchObject([{ bboxXywh: [0, 0, 60, 90], provenance: 'import', status: 'accepted' }])
  expect(json('import', 'set', '--project', 'p.gromatic')).toMatchObject({
    seq: null,
    plan: { annotations: { alreadyThere: 3 } },
  })

  writeFileSync(at('set', 'labels', 'train', 'a b.txt'), '0 0.5 0.5 0.25 0.25\n0 9 9 1 1\n')
  const dry = cli('import', 'set', '--project', 'p.gromatic', '--dry-run')
  expect(dry.code, dry.err).toBe(0)
  expect(dry.err).toContain('labels/train/a b.txt line 2: the box')
  expect(dry.out).toMatch(/yolo: 1 of 3 regions.*\nIt would be refused: 1 row/)
  const refused = cli('import', 'set', '--project', 'p.gromatic', '--conflicts', 'add')
  expect(refused.code).toBe(1)
  expect(refused.err).toMatch(
    /a b.txt line 2: .*\n(.*\n)*gromatic: INVALID_INPUT: 1 row of set cannot be taken[^\n]*\n$/,
  )
  const classes = ['--class', 'cup=mug', '--class', 'traffic light=']
  expect(
    json('import', 'set', '--project', 'p.gromatic', '--conflicts', 'replace', '--skip-bad', ...classes),
  ).toMatchObject({
    plan: {
      annotations: { toAdd: 2 },
      categories: [
        { name: 'cup', into: 'mug' },
        { name: 'traffic light', action: 'skip' },
      ],
    },
  })
})

it('helps, with examples', () => {
  for (const name of ['import', 'export', 'formats'])
    expect(cli(name, '--help').out).toMatch(/Usage: gromatic(.|\n)*Example/)
})

it('writes formats, in parts and zipped, and writes its own exports again', () => {
  expect(json('formats')).toHaveLength(16)
  for (const format of ['voc', 'csv', 'groma-instruct']) {
    expect(json('export', '--project', 'p.gromatic', '--format', format, '--out', `out-${format}`)).toMatchObject({
      path: at(`out-${format}`),
    })
  }
  expect(cli('formats').out).toMatch(/voc {2}\(Pascal VOC; a folder\)\n {2}keeps: .*\n {2}loses: /)
  expect(cli('export', '--project', 'p.gromatic', '--format', 'voc', '--out', 'out-voc').code).toBe(0)
  expect(cli('export', '--project', 'p.gromatic', '--format', 'csv', '--out', 'out-csv').err).toContain(
    'ALREADY_EXISTS',
  )
  const split = json(
    'export',
    '--project',
    'p.gromatic',
    '--format',
    'coco',
    '--out',
    'c.json',
    '--split',
    'train=1,val=0',
    '--class',
    'mug',
    '--proposals',
  )
  expect(split.files).toEqual(['c_train.json', 'c_val.json', 'c.proposals.json'].map((name) => at(name)))
  expect(JSON.parse(readFileSync(at('c_val.json'), 'utf8')).images).toEqual([])
  expect(cli('export', '--project', 'p.gromatic', '--out', 'c.json', '--split', 'train=1,val=0').code).toBe(0)
  expect(cli('export', '--project', 'p.gromatic', '--out', 'x.json', '--split', 'train').code).toBe(2)
  json('export', '--project', 'p.gromatic', '--format', 'everything', '--out', 'all.zip', '--copy-images')
  const zip = readFileSync(at('all.zip'))
  json('export', '--project', 'p.gromatic', '--format', 'everything', '--out', 'all.zip', '--copy-images')
  expect(readFileSync(at('all.zip')).equals(zip)).toBe(true)
  expect(json('import', 'all.zip', '--project', 'p.gromatic', '--format', 'everything')).toMatchObject({ seq: null })
})

it('says why a project cannot be written, and that it is damaged', () => {
  const held = createProject(at('held.gromatic'), at('set', 'images'))
  const inAnotherWindow = /READ_ONLY: This project is open in another window/
  expect(cli('import', 'set', '--project', 'held.gromatic').err).toMatch(inAnotherWindow)
  const { code, err } = cli('export', '--project', 'held.gromatic', '--out', 'held.json')
  expect([code, err]).toEqual([0, expect.stringContaining('open in another window')])
  held.close()

  const db = connect(held.path)
  const { page } = db.prepare("SELECT max(pageno) AS page FROM dbstat WHERE name = 'counters'").get() as {
    page: number
  }
  db.close()
  const file = readFileSync(held.path)
  file.fill(0xee, (page - 1) * 4096, page * 4096)
  writeFileSync(held.path, file)
  expect(cli('export', '--project', 'held.gromatic', '--out', 'held.json').err).toMatch(
    /PROJECT_INVALID: The project file is damaged/,
  )
})
