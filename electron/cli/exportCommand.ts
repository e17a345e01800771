/** `export`: a project, or a part of it, as files that other programs read. */
import { resolve } from 'node:path'
import { type Command, InvalidArgumentError, Option } from 'commander'

import { FormatName } from '../contract/api.ts'
import { isOwnExport } from '../services/transfer.ts'
import { collect, parseScore } from './arguments.ts'
import { type Context, withServices } from './context.ts'
import { openProject } from './openProject.ts'

interface ExportOptions {
  project: string
  out: string
  format: FormatName
  status: 'accepted' | 'all'
  copyImages?: boolean
  keepNames?: boolean
  polygons?: boolean
  proposals?: boolean
  name?: string
  class?: string[]
  doneOnly?: boolean
  withBoxesOnly?: boolean
  minScore?: number
  split?: Record<string, number>
  seed: string
  overwrite?: boolean
}

/** `train=8,val=1,test=1` */
function parseSplit(text: string): Record<string, number> {
  const entries = text.split(',').map((part) => {
    const [name = '', share = ''] = part.split('=')
    const number = Number(share)
    if (!/^[a-z0-9_-]{1,40}$/i.test(name) || share.trim() === '' || !(number >= 0) || !Number.isFinite(number)) {
      throw new InvalidArgumentError('A split is names and shares: train=8,val=1,test=1.')
    }
    return [name, number] as const
  })
  return Object.fromEntries(entries)
}

export function addExportCommand(program: Command): void {
  program
    .command('export')
    .requiredOption('--project <file>', 'the project')
    .requiredOption('--out <path>', 'the file or folder to write (see "formats"), or a .zip of it')
    .addOption(new Option('--format <name>', 'the format').choices([...FormatName.options]).default('coco'))
    .addOption(
      new Option('--status <which>', 'accepted regions, or undecided proposals too')
        .choices(['accepted', 'all'])
        .default('accepted'),
    )
    .option('--copy-images', 'lay the images out beside it')
    .option('--keep-names', 'copied images keep their folders and names')
    .option('--polygons', 'COCO: boxes without a polygon get one of their corners')
    .option('--proposals', 'undecided proposals in a COCO results file beside it')
    .option('--name <part>', 'only images whose name has this in it')
    .option('--class <name>', 'only regions of this class (repeatable)', collect)
    .option('--done-only', 'only images that are done')
    .option('--with-boxes-only', 'only images with a region')
    .option('--min-score <score>', 'leave out what the model was less sure of', parseScore)
    .option('--split <shares>', 'parts by the hash of each image: train=8,val=1,test=1', parseSplit)
    .option('--seed <text>', 'another division of the same shares', 'gromatic')
    .option('--overwrite', 'replace a file that is there (an earlier export of ours is replaced without this)')
    .description('write a project in a format that other programs read')
    .addHelpText(
      'after',
      `
Examples:
  gromatic export --project street.gromatic --format coco --out street.json
  gromatic export --project street.gromatic --format yolo --out street-yolo --copy-images --split train=8,val=2
  gromatic export --project street.gromatic --format voc --class car --out cars.zip`,
    )
    .action((options: ExportOptions, command: Command) =>
      withServices(command, (context) => exportProject(context, options)),
    )
}

async function exportProject(context: Context, options: ExportOptions): Promise<void> {
  const { services, progress, signal } = context
  await openProject(context, options.project)
  const { name, doneOnly, withBoxesOnly, minScore, split } = options
  const path = resolve(options.out)
  const report = await services.client.run(
    'transfer.export',
    {
      format: options.format,
      path,
      status: options.status,
      copyImages: options.copyImages ?? false,
      keepNames: options.keepNames ?? false,
      polygons: options.polygons ?? false,
      proposals: options.proposals ?? false,
      filter: {
        ...(name === undefined ? {} : { fileName: name }),
        ...(options.class === undefined ? {} : { categories: options.class }),
        ...(doneOnly === undefined ? {} : { doneOnly }),
        ...(withBoxesOnly === undefined ? {} : { withBoxesOnly }),
        ...(minScore === undefined ? {} : { minScore }),
      },
      ...(split === undefined ? {} : { split: { shares: split, seed: options.seed } }),
      overwrite: options.overwrite ?? (await isOwnExport(path, Object.keys(split ?? {}))),
    },
    { onProgress: (at) => progress.show(at), signal },
  )
  for (const note of report.notes) progress.note(note)
  context.print(
    report,
    `${(report.files ?? [report.path]).join('\n')}: ${report.images} images, ${report.annotations} regions, ${report.categories} classes`,
  )
}
