/** The command line as a script sees it: processes, exit codes, stdout and stderr, with a real model made here. */
import { spawn } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { cudaLibrary } from '../../native-models/inference/session.ts'
import { makeReferenceCheckpoint, referenceDir } from '../support/makeCheckpoint.ts'
import { writePicture } from './support.ts'

const main = new URL('../../electron/cli/main.ts', import.meta.url).pathname
// Each case starts processes; on a busy machine they take their time.
vi.setConfig({ testTimeout: 600_000, hookTimeout: 600_000 })

let root: string
let model: string
let photos: string
const at = (...parts: string[]) => join(root, ...parts)

interface Run {
  code: number | null
  out: string
  err: string
}
function cli(
  args: string[],
  options: {
    onChild?: (child: ReturnType<typeof spawn>, out: () => string) => void
    env?: Record<string, string>
  } = {},
): Promise<Run> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [main, ...args], {
      cwd: root,
      env: { ...process.env, GROMATIC_HOME: at('home'), ...options.env },
    })
    let out = ''
    let err = ''
    child.stdout.on('data', (text) => {
      out += text
    })
    child.stderr.on('data', (text) => {
      err += text
    })
    options.onChild?.(child, () => out)
    child.on('exit', (code) => setTimeout(() => resolve({ code, out, err }), 20))
  })
}
const json = async (args: string[]) => {
  const { code, out, err } = await cli([...args, '--json'])
  expect(code, err).toBe(0)
  expect(out.trimEnd().split('\n')).toHaveLength(1)
  return JSON.parse(out)
}

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'gromatic-cli-'))
  await makeReferenceCheckpoint('no-region-passes', at('checkpoint'), { shards: 2 })
  photos = at('photos')
  mkdirSync(join(photos, 'more'), { recursive: true })
  await writePicture(join(photos, 'a b.png'), 200, 100)
  await writePicture(join(photos, 'more', 'ünï.jpg'), 90, 60, 6)
  writeFileSync(join(photos, 'broken.jpg'), 'no')
  model = at('engine')
  const converted = await cli(['models', 'convert', at('checkpoint'), '--out', model])
  expect(converted.code, converted.err).toBe(0)
})
afterAll(() => rmSync(root, { recursive: true, force: true }))

describe('usage', () => {
  it('helps on every command, with an example', async () => {
    const names = [
      [],
      ['models'],
      ['models', 'convert'],
      ['models', 'verify'],
      ['models', 'list'],
      ['trace'],
      ['ask'],
      ['annotate'],
      ['project', 'create'],
      ['export'],
      ['call'],
      ['serve'],
    ]
    const runs = await Promise.all(names.map((name) => cli([...name, '--help'])))
    for (const [i, { code, out, err }] of runs.entries()) {
      expect(code, names[i]!.join(' ')).toBe(0)
      expect(out).toContain('Usage: gromatic')
      if (names[i]!.join() !== 'models') expect(out, names[i]!.join(' ')).toContain('Example')
      expect(err).toBe('')
    }
  })

  it('exits with 2 and one line for wrong usage', async () => {
    const wrong = [
      ['nonsense'],
      ['models'],
      ['models', 'convert'],
      ['annotate', photos],
      ['annotate', '--out', 'x.json'],
      ['ask'],
      ['annotate', photos, '--out', 'x', '--project', 'y'],
      ['annotate', photos, '--out', 'x', '--task', 'ground'],
      ['annotate', photos, '--out', 'x', '--task', 'fly'],
      ['annotate', photos, '--out', 'x', '--min-score', '2'],
      ['ask', 'x.png', 'y', '--box', '1,2,3'],
      ['ask', 'x.png', 'y', '--box', '1,2,0,4'],
      ['serve', '--port', 'x'],
      ['call', 'no.such', '{}'],
      ['call', 'app.info', '{'],
      ['models', 'convert', 'x', '--out', 'y', '--llm', 'int3'],
    ]
    const runs = await Promise.all(wrong.map((args) => cli(args)))
    for (const [i, { code, out, err }] of runs.entries()) {
      expect(code, wrong[i]!.join(' ')).toBe(2)
      expect(err, wrong[i]!.join(' ')).toMatch(/^gromatic: USAGE: [^\n]+\n$/)
      expect(out).toBe('')
    }
  })

  it('exits with 1, one line and no stack when something fails', async () => {
    const fails: [string[], RegExp][] = [
      [
        ['ask', 'none.png', 'what?', '--model', model],
        /^gromatic: (NOT_FOUND|IMAGE_UNREADABLE): [^\n]*none\.png[^\n]*\n$/,
      ],
      [
        ['ask', join(photos, 'broken.jpg'), 'what?', '--model', model],
        /^gromatic: IMAGE_UNREADABLE: [^\n]*broken\.jpg[^\n]*\n$/,
      ],
      [
        ['ask', join(photos, 'a b.png'), 'what?', '--model', 'no-model'],
        /^gromatic: NOT_FOUND: [^\n]*no-model[^\n]*\n$/,
      ],
      [
        ['ask', join(photos, 'a b.png'), 'what?', '--model', photos],
        /^gromatic: MODEL_INVALID: [^\n]*manifest[^\n]*\n$/,
      ],
      [['project', 'create', 'p.gromatic', '--images', 'nowhere'], /^gromatic: NOT_FOUND: [^\n]*nowhere[^\n]*\n$/],
      [['annotate', 'nowhere', '--out', 'c.json', '--model', model], /^gromatic: NOT_FOUND: [^\n]*nowhere[^\n]*\n$/],
      [
        ['export', '--project', 'none.gromatic', '--out', 'c.json'],
        /^gromatic: NOT_FOUND: [^\n]*none\.gromatic[^\n]*\n$/,
      ],
      [
        ['export', '--project', join(photos, 'broken.jpg'), '--out', 'c.json'],
        /^gromatic: PROJECT_INVALID: [^\n]*broken\.jpg[^\n]*\n$/,
      ],
      [['models', 'verify', photos], /^gromatic: MODEL_INVALID: [^\n]+\n$/],
      [['call', 'images.list', '{}'], /^gromatic: NO_PROJECT: [^\n]+\n$/],
    ]
    for (const [args, line] of fails) {
      const { code, err } = await cli(args)
      expect(err, args.join(' ')).toMatch(line)
      expect(code).toBe(1)
    }
    const { err } = await cli(['call', 'images.list', '{}', '--verbose'])
    expect(err).toContain('.ts:')
  })
})

describe('a machine that does not give what is wanted', () => {
  it('is told of in one line where the home folder cannot be made', async () => {
    const run = await cli(['models', 'list'], { env: { GROMATIC_HOME: join(photos, 'broken.jpg') } })
    expect(run).toMatchObject({ code: 1, out: '' })
    expect(run.err).toMatch(/^gromatic: IO_FAILED: [^\n]*broken\.jpg'\n$/)
  })

  it.skipIf(process.platform !== 'linux' || existsSync(cudaLibrary()))('warns, and goes on', async () => {
    const run = await cli(['ask', join(photos, 'a b.png'), 'What?', '--model', model, '--json'], {
      env: { GROMATIC_PROVIDER: 'cuda' },
    })
    expect(run.code, run.err).toBe(0)
    expect(run.err).toMatch(/^warn: cuda: refused; its libraries are not installed/m)
  })
})

describe('models', () => {
  it('converts, verifies, names what is damaged, and leaves no folder of what cannot be converted', async () => {
    expect(await json(['models', 'verify', model])).toMatchObject({ ok: true, problems: [] })
    const again = await cli(['models', 'convert', at('checkpoint'), '--out', model])
    expect(again).toMatchObject({ code: 1, err: expect.stringContaining('ALREADY_EXISTS') })

    await makeReferenceCheckpoint('no-region-passes', at('cut'), { shards: 2 })
    const shard = readdirSync(at('cut')).find((name) => name.includes('00002') && name.endsWith('.safetensors'))!
    truncateSync(at('cut', shard), 5_000)
    const cut = await cli(['models', 'convert', at('cut'), '--out', at('cut-engine')])
    expect(cut.code).toBe(1)
    expect(cut.err).toMatch(/gromatic: CHECKPOINT_(TRUNCATED|INVALID): /)
    expect(cut.err).toContain(shard)
    expect(readdirSync(root).filter((name) => name.includes('cut-engine'))).toEqual([])

    mkdirSync(at('foreign'))
    writeFileSync(at('foreign', 'config.json'), '{"model_type":"llama"}')
    const foreign = await cli(['models', 'convert', at('foreign'), '--out', at('foreign-engine')])
    expect(foreign.code).toBe(1)
    expect(foreign.err).toMatch(/^gromatic: (CHECKPOINT_FOREIGN|CONFIG_INVALID|NOT_FOUND|CHECKPOINT_INVALID): /m)
    expect(existsSync(at('foreign-engine'))).toBe(false)
  })

  it('traces a case as the authors’ code computed it', async () => {
    const expected = JSON.parse(readFileSync(join(referenceDir, 'no-region-passes', 'expected.json'), 'utf8'))
    const image = expected.images?.[0] ?? Object.values(expected.images ?? expected)[0]
    const [wanted] = Array.isArray(image.cases) ? image.cases : Object.values(image.cases)
    const boxes = (wanted.refer_boxes_cxcywh ?? []).flatMap((box: number[]) => ['--box', box.join(',')])
    const file = join(referenceDir, 'images', 'image0.png')
    const args = [
      'trace',
      file,
      '--model',
      model,
      '--query',
      wanted.query,
      ...boxes,
      '--order',
      wanted.order,
      '--max-new-tokens',
      String(wanted.output_ids.length),
    ]
    const run = await cli([...args, '--out', 'case.json', '--tensors', 'case.safetensors'])
    expect(run.code, run.err).toBe(0)
    const traced = JSON.parse(readFileSync(at('case.json'), 'utf8'))
    expect(traced.input_ids).toEqual(wanted.input_ids)
    expect(traced.output_ids).toEqual(wanted.output_ids)
    expect(traced.output_text).toBe(wanted.output_text)
    expect(existsSync(at('case.safetensors'))).toBe(true)
  })
})

describe('ask', () => {
  it('answers in the shape that scripts expect', async () => {
    const answer = await json([
      'ask',
      join(photos, 'a b.png'),
      'What is here?',
      '--model',
      model,
      '--box',
      '10,10,50,40',
    ])
    expect(Object.keys(answer)).toEqual(['text', 'spans', 'regions'])
    expect(answer.regions.length).toBeGreaterThan(0)
    for (const region of answer.regions) expect(Object.keys(region)).toEqual(['x', 'y', 'w', 'h', 'score'])
    for (const span of answer.spans) {
      expect(Object.keys(span)).toEqual(['text', 'start', 'end', 'boxes'])
      expect([...answer.text].slice(span.start, span.end).join('')).toBe(span.text)
    }
  })

  it('answers several questions, the later ones over what the first has made', async () => {
    const image = join(photos, 'a b.png')
    const run = await cli(['ask', image, 'What is here?', 'How many?', '--model', model, '--json', '--verbose'])
    expect(run.code, run.err).toBe(0)
    const answers = JSON.parse(run.out)
    expect(answers).toHaveLength(2)
    expect(answers[1].regions).toEqual(answers[0].regions)
    const prompts = [...run.err.matchAll(/prompt: (\d+) tokens reused, (\d+) computed/g)].map(([, a, b]) =>
      [a, b].map(Number),
    )
    expect(prompts).toHaveLength(2)
    expect(prompts[0]![0]).toBe(0)
    // the words that every grounded question begins with were read with the first prompt
    const begun = [...run.err.matchAll(/answer: (\d+) tokens of the question reused, \d+ computed, first token after/g)]
    expect(begun).toHaveLength(2)
    expect(prompts[1]).toEqual([prompts[0]![1]! - Number(begun[1]![1]), 0])
  })

  it('refuses a box outside the image', async () => {
    const outside = await cli(['ask', join(photos, 'a b.png'), 'What?', '--model', model, '--box', '900,10,50,40'])
    expect(outside).toMatchObject({ code: 1, err: expect.stringContaining('200 x 100') })
  })
})

describe('annotate', () => {
  it('writes COCO without a project, and names what it skips', async () => {
    const run = await cli(['annotate', photos, '--model', model, '--out', 'out/coco.json'])
    expect(run.code, run.err).toBe(0)
    expect(run.err).toContain('skipped broken.jpg: ')
    const coco = JSON.parse(readFileSync(at('out', 'coco.json'), 'utf8'))
    expect(
      coco.images.map((image: { file_name: string; width: number; height: number }) => [
        image.file_name,
        image.width,
        image.height,
      ]),
    ).toEqual([
      ['a b.png', 200, 100],
      ['more/ünï.jpg', 60, 90],
    ])
    expect(coco.annotations.length).toBeGreaterThan(0)
    for (const [i, { id, bbox, image_id }] of coco.annotations.entries()) {
      const image = coco.images.find((known: { id: number }) => known.id === image_id)
      expect(id).toBe(i + 1)
      expect(bbox[0] >= 0 && bbox[1] >= 0 && bbox[2] > 0 && bbox[3] > 0).toBe(true)
      expect(bbox[0] + bbox[2] <= image.width + 1e-6 && bbox[1] + bbox[3] <= image.height + 1e-6).toBe(true)
    }
    // An export of ours may be written again, and comes out the same; another program's file is not touched unasked.
    const before = readFileSync(at('out', 'coco.json'), 'utf8')
    expect((await cli(['annotate', photos, '--model', model, '--out', 'out/coco.json'])).code).toBe(0)
    expect(readFileSync(at('out', 'coco.json'), 'utf8')).toBe(before)
    writeFileSync(at('out', 'coco.json'), '{"info":{"contributor":"someone else"}}')
    expect((await cli(['annotate', photos, '--model', model, '--out', 'out/coco.json'])).err).toContain(
      'ALREADY_EXISTS',
    )
    expect(readFileSync(at('out', 'coco.json'), 'utf8')).toContain('someone else')
  })

  it.each([
    { task: 'describe', into: 'file' },
    { task: 'caption', into: 'project' },
  ])('gives the same whether images are worked on one by one or side by side: $task', async ({ task, into }) => {
    const annotate = async (workers: string) => {
      const out = at(`${task}-${workers}.json`)
      const project = at(`${task}-${workers}.gromatic`)
      const place = into === 'file' ? ['--out', out] : ['--project', project]
      await json(['annotate', photos, '--model', model, ...place, '--task', task, '--workers', workers])
      if (into === 'project') await json(['export', '--project', project, '--out', out, '--status', 'all'])
      // Confidences of answers hang on how many rows a pass had, in their last digits.
      const exact = task !== 'describe'
      const { images, annotations, categories } = JSON.parse(readFileSync(out, 'utf8'), (key, value) =>
        exact || !key.endsWith('score') ? value : Number(value.toPrecision(3)),
      )
      return { images, annotations, categories }
    }
    const sideBySide = await annotate('2')
    expect(sideBySide.annotations.length).toBeGreaterThan(0)
    expect(sideBySide).toEqual(await annotate('0'))
  })

  it('says what the model failed with where it fails with every image', async () => {
    const huge = at('huge')
    cpSync(model, huge, { recursive: true })
    const weights = join(huge, 'decoder.onnx.data')
    writeFileSync(weights, Buffer.alloc(statSync(weights).size, 0x7f)) // 3.4e38 each: no product is finite
    const run = await cli(['annotate', photos, '--model', huge, '--out', 'huge.json'])
    expect(run.code).toBe(1)
    expect(run.err).toMatch(/^gromatic: ENGINE_FAULT: a b\.png: .*not finite/m)
    expect(existsSync(at('huge.json'))).toBe(false)
  })

  it('says so when there is nothing to read, and writes nothing', async () => {
    const run = await cli(['annotate', join(photos, 'broken.jpg'), '--model', model, '--out', 'none/coco.json'])
    expect(run.code).toBe(1)
    expect(run.err).toMatch(/skipped .*broken\.jpg.*\n(.*\n)*gromatic: NO_IMAGES: [^\n]+\n$/)
    expect(existsSync(at('none')) ? readdirSync(at('none')) : []).toEqual([])
  })

  it('stores proposals in a project, goes on where it stopped, and exports them', async () => {
    const first = await json(['annotate', photos, '--model', model, '--project', 'p.gromatic'])
    expect(first).toMatchObject({ images: 2, already: 0 })
    expect(first.skipped).toHaveLength(1)
    expect(await json(['annotate', photos, '--model', model, '--project', 'p.gromatic'])).toMatchObject({
      images: 0,
      already: 2,
    })
    const rows = await json(['call', 'annotations.list', '{"imageId":1}', '--project', 'p.gromatic'])
    expect(rows[0]).toMatchObject({ status: 'proposed', provenance: 'model' })
    await json(['call', 'annotations.decide', `{"ids":[${rows[0].id}],"decision":"accept"}`, '--project', 'p.gromatic'])
    expect(await json(['export', '--project', 'p.gromatic', '--format', 'coco', '--out', 'p.json'])).toMatchObject({
      annotations: 1,
    })
    expect(
      (await json(['export', '--project', 'p.gromatic', '--out', 'p.json', '--overwrite', '--status', 'all']))
        .annotations,
    ).toBe(first.regions)
    expect(await json(['call', 'history.undo', '{}', '--project', 'p.gromatic'])).toMatchObject({
      label: expect.stringContaining('Accept'),
    })
  })

  it('asks of an image what it was not asked yet, whatever the task', async () => {
    const annotate = (...task: string[]) =>
      json(['annotate', photos, '--model', model, '--project', 'tasks.gromatic', '--task', ...task])
    const questions = async () => {
      const messages = await json(['call', 'messages.list', '{"imageId":1}', '--project', 'tasks.gromatic'])
      return messages.filter(({ role }: { role: string }) => role === 'user').map(({ text }: { text: string }) => text)
    }
    for (const [done, already] of [
      [2, 0],
      [0, 2],
    ]) {
      expect(await annotate('describe')).toMatchObject({ images: done, already })
      expect(await annotate('ground', '--phrase', 'circle')).toMatchObject({ images: done, already })
      expect(await annotate('caption')).toMatchObject({ images: done, already })
    }
    expect(await annotate('ground', '--phrase', 'circle', '--phrase', 'star')).toMatchObject({ images: 2, already: 0 })
    expect(await questions()).toEqual([expect.stringContaining('description'), 'circle', 'star'])
  })

  it.runIf(process.platform === 'linux')('loses nothing when an engine process is killed', async () => {
    const annotate = (name: string, onChild?: (child: ReturnType<typeof spawn>) => void) => {
      const args = ['annotate', photos, '--model', model, '--workers', '2', '--out', `${name}.json`, '--verbose']
      return cli(args, onChild ? { onChild } : {})
    }
    const written = (name: string) => {
      const { images, annotations } = JSON.parse(readFileSync(at(`${name}.json`), 'utf8'))
      return { images, annotations }
    }
    await annotate('whole')
    let killed = 0
    const run = await annotate('killed', (child) =>
      child.stderr?.on('data', (text) => {
        if (killed > 0 || !String(text).includes('prompt:')) return
        const children = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').trim().split(' ')
        for (const pid of children) process.kill(Number(pid), 'SIGKILL')
        killed = children.length
      }),
    )
    expect(killed).toBe(2)
    expect(run.code, run.err).toBe(0)
    expect(written('killed')).toEqual(written('whole'))
    expect(run.err).toContain('stopped (signal SIGKILL)')
  })

  it('stops at Ctrl-C without a trace', async () => {
    const run = await cli(['annotate', photos, '--model', model, '--out', 'stopped/coco.json', '--task', 'caption'], {
      onChild: (child) => child.stderr?.once('data', () => child.kill('SIGINT')),
    })
    expect(run.code).toBe(1)
    expect(run.err).toMatch(/gromatic: CANCELLED: [^\n]+\n$/)
    expect(existsSync(at('stopped')) ? readdirSync(at('stopped')) : []).toEqual([])
  })
})

describe('serve', () => {
  it('prints the address first and nothing before it, answers, and stops at Ctrl-C', async () => {
    let told: Promise<unknown> = Promise.resolve()
    const project = at('served.gromatic')
    const run = await cli(['serve', '--json', '--project', project, '--images', photos], {
      onChild: (child, out) => {
        told = new Promise((resolve, reject) => {
          child.stdout?.on('data', async () => {
            try {
              const { url } = JSON.parse(out())
              const [base, token] = url.split('/#token=')
              const headers = { authorization: `Bearer ${token}` }
              const call = async (name: string) =>
                (await fetch(`${base}/call/${name}`, { method: 'POST', headers })).json()
              await call('project.scan') // joins the one that opening began
              resolve(await call('project.current'))
            } catch (error) {
              reject(error as Error)
            } finally {
              child.kill('SIGINT')
            }
          })
        })
      },
    })
    expect(await told).toMatchObject({ path: project, imageCount: 2, readOnly: false })
    expect(run.code).toBe(0)
    expect(run.out).toMatch(/^\{"url":"http:\/\/127\.0\.0\.1:\d+\/#token=[A-Za-z0-9_-]{43}"\}\n$/)
    expect(existsSync(`${project}-wal`)).toBe(false)
  })

  it('names a busy port and a project that is not there', async () => {
    const other = createServer()
    const port = await new Promise<number>((resolve) =>
      other.listen(0, '127.0.0.1', () => resolve((other.address() as { port: number }).port)),
    )
    const busy = await cli(['serve', '--port', String(port)])
    other.close()
    expect(busy).toMatchObject({ code: 1, out: '', err: expect.stringMatching(/^gromatic: PORT_BUSY: [^\n]+\n$/) })
    expect(busy.err).toContain(String(port))
    expect(await cli(['serve', '--project', 'none.gromatic'])).toMatchObject({
      code: 1,
      out: '',
      err: expect.stringContaining('NOT_FOUND'),
    })
  })
})
