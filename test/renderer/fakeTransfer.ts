/** Imports over the fake services: one made-up file whose plan answers the choices as the real importer's does. */
import type { Client, ImportPlan, Output, ParsedInput, Progress } from '../../electron/contract/api.ts'
import { AppError } from '../../electron/contract/errors.ts'

export interface FakeFile {
  /** Rows that cannot be taken. */
  bad?: number
  /** Images that the project lacks. */
  missing?: number
  /** Boxes of people on the one image that gets a new box. */
  standing?: number
  classes?: readonly string[]
}

const FORMATS: Output<'transfer.formats'> = [
  {
    id: 'coco',
    name: 'COCO instances',
    shape: 'file',
    extension: '.json',
    keeps: 'Boxes and classes.',
    loses: 'The talk.',
  },
  { id: 'yolo', name: 'YOLO', shape: 'folder', extension: '', keeps: 'Boxes and classes.', loses: 'Captions.' },
  { id: 'csv', name: 'CSV', shape: 'file', extension: '.csv', keeps: 'Boxes, classes, captions.', loses: 'Polygons.' },
]

type Input = ParsedInput<'transfer.preview'>
interface RunOptions {
  onProgress?: (progress: Progress) => void
  signal?: AbortSignal
}

function planFor(file: FakeFile, input: Input): ImportPlan {
  const { bad = 0, missing = 0, standing = 0, classes = ['circle'] } = file
  const alone = input.conflicts === 'skip' && standing > 0
  const refusal =
    bad > 0 && !input.skipBad
      ? `${bad} rows cannot be taken`
      : missing > 0 && input.missingImages === 'refuse' && !input.skipBad
        ? `${missing} images are not in the project`
        : standing > 0 && input.conflicts === 'ask'
          ? '1 image has boxes already'
          : null
  return {
    format: input.format === 'auto' ? 'coco' : input.format,
    images: {
      inFile: 1 + missing,
      matched: 1,
      coming: 0,
      missing,
      added: 0,
      missingExamples: ['elsewhere.jpg'].slice(0, missing),
    },
    categories: classes.map((name) => {
      const choice = input.categories[name]
      const action = choice?.action ?? 'create'
      return {
        name,
        annotations: action === 'skip' ? 0 : 1,
        action,
        into: action === 'skip' ? null : (choice?.into ?? name),
      }
    }),
    annotations: { inFile: 1, toAdd: alone ? 0 : 1, alreadyThere: 0, leftOut: alone ? 1 : 0, toReplace: 0 },
    messages: { inFile: 0, toAdd: 0 },
    conflicts: {
      images: standing > 0 && !alone ? 1 : 0,
      annotations: 1,
      humanAnnotations: standing,
      examples: ['a.jpg'],
    },
    problems: {
      count: bad,
      first: Array.from({ length: bad }, (_, i) => ({ where: `annotations[${i}]`, reason: 'NaN' })),
    },
    notes: [],
    refusal,
  }
}

/** The client with imports of `file` from the path `/data/labels.json`; one box comes in on the first image. */
export function withTransfer(base: Client, file: FakeFile, steps = 1): { client: Client; asked: Input[] } {
  const asked: Input[] = []
  const read = async (input: Input, { onProgress, signal }: RunOptions) => {
    asked.push(input)
    for (let done = 0; done < steps; done++) {
      onProgress?.({ done, total: steps, note: 'Reading' })
      await new Promise((resolve) => setTimeout(resolve, 1))
      if (signal?.aborted) throw new AppError('CANCELLED', 'Cancelled.')
    }
    return planFor(file, input)
  }
  const write = async (input: Input, options: RunOptions): Promise<Output<'transfer.import'>> => {
    const plan = await read(input, options)
    if (plan.refusal !== null) throw new AppError('INVALID_INPUT', `${plan.refusal}. Nothing was imported.`)
    const [first] = (await base.call('images.list', {})).items
    const { revision } = await base.call('annotations.create', { imageId: first?.id ?? 0, bboxXywh: [1, 2, 30, 40] })
    return { plan, seq: revision.seq, copied: 0 }
  }
  const client = {
    ...base,
    call: (name: string, input: { path?: string }) => {
      if (name === 'transfer.formats') return Promise.resolve(FORMATS)
      if (name !== 'transfer.sniff') return base.call(name as never, input as never)
      if (input.path === '/data/labels.json')
        return Promise.resolve({ isZip: false, candidates: [{ format: 'coco', sureness: 0.9 }] })
      if (input.path === '/data') return Promise.resolve({ isZip: false, candidates: [] })
      return Promise.reject(new AppError('NOT_FOUND', `There is no ${input.path}.`))
    },
    run: (name: string, input: Input, options: RunOptions = {}) => {
      if (name === 'transfer.preview') return read(input, options)
      if (name === 'transfer.import') return write(input, options)
      return base.run(name as never, input as never, options as never)
    },
  } as unknown as Client
  return { client, asked }
}
