/** `annotate`: the main job without a window, into a project or straight into a COCO file. */
import { type Command, Option } from 'commander'
import { AppError } from '../contract/errors.ts'
import { type AnnotateOptions, TASKS } from './annotateOptions.ts'
import { annotateProject } from './annotateProject.ts'
import { annotateToCoco } from './annotateToCoco.ts'
import { collect, integerIn, parseScore } from './arguments.ts'
import { type Context, withServices } from './context.ts'

export function addAnnotateCommand(program: Command): void {
  program
    .command('annotate')
    .argument('[path...]', 'images, or folders of images')
    .option(
      '--project <file>',
      'store proposals in this project; it is made when it is not there, and resumed when it is',
    )
    .option('--out <coco.json>', 'write proposals to this file; no project is needed')
    .option('--model <model>', 'demo, an engine folder, or an installed name', 'demo')
    .addOption(
      new Option(
        '--task <task>',
        'propose: regions with short captions; describe: a description, its phrases become regions; caption: regions with long captions; ground: every region of each --phrase',
      )
        .choices(TASKS)
        .default('propose'),
    )
    .option('--phrase <phrase>', 'what to ground; may be given several times', collect)
    .option('--min-score <score>', 'leave out regions below this confidence', parseScore)
    .option(
      '--workers <count>',
      'engine processes side by side; by default one a core for small models where there is memory, one for large ones. 0: image after image, nothing ahead',
      integerIn(0, 256),
    )
    .option('--overwrite', 'replace an --out file that is there (an earlier export of ours is replaced without this)')
    .description('regions and captions for many images')
    .addHelpText(
      'after',
      `
Examples:
  gromatic annotate photos --out coco.json
  gromatic annotate photos --project photos.gromatic
  gromatic annotate a.jpg b.jpg --task ground --phrase "traffic light" --phrase car --out lights.json`,
    )
    .action((paths: string[], options: AnnotateOptions, command: Command) => {
      checkUsage(paths, options)
      return withServices(command, (context) => annotate(context, paths, options))
    })
}

function checkUsage(paths: string[], options: AnnotateOptions): void {
  if ((options.project === undefined) === (options.out === undefined)) {
    throw new AppError('USAGE', 'Say where to: either --project FILE or --out coco.json.')
  }
  if (options.out !== undefined && paths.length === 0) throw new AppError('USAGE', 'Name at least one image or folder.')
  if (options.task === 'ground' && (options.phrase ?? []).length === 0)
    throw new AppError('USAGE', '--task ground needs --phrase.')
  if (options.task !== 'ground' && (options.phrase ?? []).length > 0)
    throw new AppError('USAGE', '--phrase belongs to --task ground.')
}

async function annotate(context: Context, paths: string[], options: AnnotateOptions): Promise<void> {
  if (options.out !== undefined) await annotateToCoco(context, paths, { ...options, out: options.out })
  else await annotateProject(context, paths, { ...options, project: options.project ?? '' })
}
