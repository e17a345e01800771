/** `evaluate` as a script sees it: fresh scenes, the demo model in its own process, reports, stops and what is taken over. */
import { execFileSync, spawn } from 'node:child_process'
import {
  appendFileSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { sniffImageFormat } from '../../native-models/preprocess/image.ts'
import { writeSceneFolder } from '../support/sceneFolder.ts'
import { times } from '../support/stress.ts'

const main = new URL('../../electron/cli/main.ts', import.meta.url).pathname
vi.setConfig({ testTimeout: 600_000, hookTimeout: 600_000 })

/** Far from any seed that training used. */
const FIRST_SEED = 9_100_000
let root: string
const at = (...parts: string[]) => join(root, ...parts)

interface Run {
  code: number | null
  out: string
  err: string
}
function cli(args: string[], onChild: (child: ReturnType<typeof spawn>) => void = () => {}): Promise<Run> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [main, 'evaluate', ...args], {
      cwd: root,
      env: { ...process.env, GROMATIC_HOME: at('home') },
    })
    let out = ''
    let err = ''
    child.stdout.on('data', (text) => {
      out += text
    })
    child.stderr.on('data', (text) => {
      err += text
    })
    onChild(child)
    child.on('close', (code) => resolve({ code, out, err }))
  })
}
async function measured(args: string[]) {
  const { code, out, err } = await cli([...args, '--json'])
  expect(code, err).toBe(0)
  expect(out.trimEnd().split('\n')).toHaveLength(1)
  return JSON.parse(out) as {
    images: number
    questions: number
    resumed: number
    measures: Record<string, number | null>
    worst: { text: string }[]
    skipped: { fileName: string; reason: string }[]
  }
}
const lines = (path: string) => (existsSync(path) ? readFileSync(path, 'utf8').split('\n').filter(Boolean) : [])
/** What was answered; probabilities depend in their eighth place on what the engine was asked before. */
const rows = (dir: string) =>
  lines(keptFile(dir)).map((line) => JSON.parse(line.replace(/"confidence":[^,}]*/g, '"confidence":0')))
const keptFile = (dir: string) => join(dir, readdirSync(dir).find((name) => name.endsWith('.jsonl'))!)

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'gromatic-evaluate-'))
  await writeSceneFolder(at('scenes'), times(4, 100), FIRST_SEED)
})
afterAll(() => rmSync(root, { recursive: true, force: true }))

describe('evaluate, the demo model on fresh scenes', () => {
  it('measures proposals', async () => {
    const { measures } = await measured(['proposals', '--data', 'scenes', '--out', 'report'])
    expect(measures.recall50).toBeGreaterThanOrEqual(0.95)
    expect(measures.ar100).toBeGreaterThanOrEqual(0.7)
    expect(measures.shownAr100).toBeLessThanOrEqual(measures.ar100!)
    expect(measures.proposalsPerObject).toBeLessThanOrEqual(3)
    expect(measures.apSmall).not.toBeUndefined()
  })

  it('measures referring expressions, and what the confidence says of things that are not there', async () => {
    const { measures, questions } = await measured(['refer', '--data', 'scenes'])
    expect(questions).toBe(measures.phrases)
    expect(measures.accuracy).toBeGreaterThanOrEqual(0.8)
    expect(measures.meanIou).toBeGreaterThanOrEqual(0.7)
    expect(measures.absentPhrases).toBeGreaterThan(0)
    expect(measures.aurocAbsent).toBeGreaterThan(0.5)
  })

  it('measures all instances of a class', async () => {
    const { measures } = await measured(['ground-all', '--data', 'scenes'])
    expect(measures.recall50).toBeGreaterThanOrEqual(0.7)
    expect(measures.precision50).toBeGreaterThanOrEqual(0.5)
    expect(measures.ar50).toBeGreaterThanOrEqual(0.6)
  })

  it.each(['truth', 'drawn', 'proposed'])('measures captions of %s boxes', async (boxes) => {
    const { measures } = await measured(['captions', '--data', 'scenes', '--boxes', boxes])
    expect(measures.exact).toBeGreaterThanOrEqual(0.7)
    expect(measures.meteorLike).toBeGreaterThanOrEqual(0.5)
    expect(measures.ciderD).toBeGreaterThanOrEqual(6)
    expect(measures['names.colour']).toBeGreaterThanOrEqual(0.8)
  })

  it('measures grounded descriptions', async () => {
    const { measures } = await measured(['descriptions', '--data', 'scenes'])
    expect(measures.mentioned).toBeGreaterThanOrEqual(0.5)
    expect(measures.wrongPairs).toBeLessThanOrEqual(0.5)
  })
})

describe('evaluate', () => {
  it('writes a report for people and one for programs', async () => {
    const written = await measured(['proposals', '--data', 'scenes', '--out', 'report'])
    const report = JSON.parse(readFileSync(at('report', 'proposals.json'), 'utf8'))
    expect(report.measures).toEqual(written.measures)
    expect(report.model).toMatchObject({ name: 'Demo model', hash: expect.stringMatching(/^[0-9a-f]{64}$/) })
    const markdown = readFileSync(at('report', 'proposals.md'), 'utf8')
    expect(markdown).toContain('| recall at IoU 0.5 of the shown proposals |')
    const pictures = [...markdown.matchAll(/!\[[^\]]*\]\(([^)]+)\)/g)].map(([, path]) => path!)
    expect(pictures.filter((path) => path.includes('worst-'))).toHaveLength(Math.min(20, written.measures.objects!))
    for (const path of pictures) {
      const bytes = readFileSync(at('report', path))
      if (path.endsWith('.svg')) expect(bytes.toString()).toMatch(/^<svg .*<\/svg>\n$/s)
      else expect(sniffImageFormat(bytes)).toBe('jpeg')
    }
  })

  it('goes on where a kill left it, and comes to the same numbers', async () => {
    const whole = await measured(['refer', '--data', 'scenes', '--out', 'whole'])
    const killed = at('killed')
    await cli(['refer', '--data', 'scenes', '--out', killed], (child) => {
      const look = setInterval(() => {
        if (!existsSync(killed) || readdirSync(killed).length === 0 || lines(keptFile(killed)).length < 1) return
        clearInterval(look)
        child.kill('SIGKILL')
      }, 5)
    })
    const before = lines(keptFile(killed)).length
    expect(before).toBeGreaterThanOrEqual(1)
    expect(before).toBeLessThan(whole.images)
    expect(existsSync(join(killed, 'refer.json'))).toBe(false)
    appendFileSync(keptFile(killed), '{"image":9,"asked":"torn') // as a kill in the middle of a write leaves it
    const resumed = await measured(['refer', '--data', 'scenes', '--out', killed])
    expect(resumed.resumed).toBe(before)
    expect(rows(killed)).toEqual(rows(at('whole')))
    const { accuracy, meanIou, unanswered } = whole.measures
    expect(resumed.measures).toMatchObject({ accuracy, meanIou, unanswered })
  })

  it('asks anew where the picture or the truth changed, and where options differ', async () => {
    const folder = at('changing')
    await writeSceneFolder(folder, 2, FIRST_SEED)
    const args = ['proposals', '--data', folder, '--out', 'changed']
    expect((await measured(args)).resumed).toBe(0)
    const path = join(folder, 'annotations.json')
    const truth = JSON.parse(readFileSync(path, 'utf8'))
    truth.annotations[0].bbox[0] += 1
    writeFileSync(path, JSON.stringify(truth))
    expect((await measured(args)).resumed).toBe(1)
    expect((await measured([...args, '--resize', 'opencv'])).resumed).toBe(0)
    expect((await measured(args)).resumed).toBe(2)
  })

  it('stops when it is asked to, and says how to go on', async () => {
    const { code, err } = await cli(['captions', '--data', 'scenes', '--out', 'stopped'], (child) => {
      const look = setInterval(() => {
        if (!existsSync(at('stopped')) || readdirSync(at('stopped')).length === 0) return
        clearInterval(look)
        child.kill('SIGINT')
      }, 5)
    })
    expect(code).toBe(1)
    expect(err).toMatch(/gromatic: CANCELLED: /)
    expect(existsSync(at('stopped', 'captions.json'))).toBe(false)
  })

  it('gives the same proposals on the same boxes written as COCO, and draws a subset by its seed', async () => {
    mkdirSync(at('coco'))
    const truth = JSON.parse(readFileSync(at('scenes', 'annotations.json'), 'utf8'))
    for (const row of truth.annotations) for (const key of ['caption', 'attributes', 'referring']) delete row[key]
    writeFileSync(at('coco', 'instances.json'), JSON.stringify(truth))
    const args = ['--data', at('coco', 'instances.json'), '--format', 'coco', '--images', 'scenes']
    const synthetic = await measured(['proposals', '--data', 'scenes', '--out', 'report'])
    const coco = await measured(['proposals', ...args])
    expect(coco.measures).toEqual(synthetic.measures)
    const some = await measured(['proposals', ...args, '--limit', '3', '--seed', '5'])
    expect(some.images).toBe(3)
    expect(await measured(['proposals', ...args, '--limit', '3', '--seed', '5'])).toMatchObject({
      measures: some.measures,
    })
  })

  const python = process.env.GROMATIC_PYTHON
  it.skipIf(python === undefined)('agrees with pycocotools on the boxes it kept (GROMATIC_PYTHON)', async () => {
    const { measures } = await measured(['proposals', '--data', 'scenes', '--out', 'report'])
    const kept = lines(keptFile(at('report'))).map((line) => JSON.parse(line))
    const results = kept.flatMap(({ image, row }) =>
      row.proposals.map(([x, y, w, h, score]: number[]) => ({
        image_id: image,
        category_id: 1,
        bbox: [x, y, w, h],
        score,
      })),
    )
    writeFileSync(at('results.json'), JSON.stringify(results))
    const judge = `
import sys
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
truth = COCO(sys.argv[1])
judge = COCOeval(truth, truth.loadRes(sys.argv[2]), 'bbox')
judge.params.useCats = 0
judge.evaluate(); judge.accumulate(); judge.summarize()
print(*judge.stats)`
    const said = execFileSync(python!, ['-c', judge, at('scenes', 'annotations.json'), at('results.json')], {
      encoding: 'utf8',
    })
    const stats = said.trim().split('\n').at(-1)!.split(' ').map(Number)
    const { ap, ap50, ap75, apSmall, apMedium, apLarge, ar1, ar10, ar100, arSmall, arMedium, arLarge } = measures
    const ours = [ap, ap50, ap75, apSmall, apMedium, apLarge, ar1, ar10, ar100, arSmall, arMedium, arLarge]
    for (const [i, value] of ours.entries()) expect(value ?? -1, `stats[${i}]`).toBeCloseTo(stats[i]!, 12)
  })

  it('passes over pictures that are not there, by name, and refuses data without any', async () => {
    mkdirSync(at('holes'))
    for (const name of readdirSync(at('scenes'))) {
      if (!name.startsWith('scene000')) copyFileSync(at('scenes', name), at('holes', name))
    }
    const { skipped, images } = await measured(['proposals', '--data', 'holes'])
    expect(images).toBe(times(4, 100) - 1)
    expect(skipped).toEqual([expect.objectContaining({ fileName: expect.stringMatching(/^scene000/) })])
    mkdirSync(at('none'))
    copyFileSync(at('scenes', 'annotations.json'), at('none', 'annotations.json'))
    const { code, err } = await cli(['proposals', '--data', 'none'])
    expect(code).toBe(1)
    expect(err).toMatch(/^gromatic: NO_IMAGES: /m)
  })

  it.each([
    { args: ['proposals'], code: 2, says: /USAGE: .*--data/ },
    { args: ['proposals', '--data', 'scenes', '--format', 'tiff'], code: 2, says: /USAGE: .*synthetic, coco/ },
    { args: ['everything', '--data', 'scenes'], code: 2, says: /USAGE: / },
    { args: ['proposals', '--data', 'nowhere'], code: 1, says: /NOT_FOUND: There is no file or folder/ },
    { args: ['refer', '--data', 'coco/instances.json', '--format', 'coco'], code: 1, says: /NO_IMAGES: .*refer/ },
  ])('says what is wrong with $args', async ({ args, code, says }) => {
    const run = await cli(args)
    expect(run.code, run.err).toBe(code)
    expect(run.err).toMatch(says)
  })
})
