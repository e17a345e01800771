/** `project create`, `export`, `call`: projects without a window. */
import { resolve } from 'node:path'
import { type Command, Option } from 'commander'
import { api, type CallName } from '../contract/api.ts'
import { AppError } from '../contract/errors.ts'
import { isOwnExport } from '../services/transfer.ts'
import { invoke } from '../transport/serve.ts'
import { type Context, withServices } from './context.ts'

export function addProjectCommands(program: Command): void {
  const project = program.command('project').description('make a project')
  project
    .command('create')
    .argument('<file>', 'the project file to make, NAME.gromatic')
    .requiredOption('--images <dir>', 'the folder of images')
    .description('a new project over a folder of images')
    .addHelpText('after', '\nExample:\n  gromatic project create street.gromatic --images ~/photos/street')
    .action((file: string, options: { images: string }, command: Command) =>
      withServices(command, (context) => create(context, file, options.images)),
    )

  program
    .command('export')
    .requiredOption('--project <file>', 'the project')
    .requiredOption('--out <path>', 'the file to write')
    .addOption(new Option('--format <name>', 'the format').choices(['coco']).default('coco'))
    .addOption(
      new Option('--status <which>', 'accepted regions, or undecided proposals too')
        .choices(['accepted', 'all'])
        .default('accepted'),
    )
    .option('--copy-images', 'lay the images out beside the file')
    .option('--overwrite', 'replace a file that is there (an earlier export of ours is replaced without this)')
    .description('write a project in a format that other programs read')
    .addHelpText('after', '\nExample:\n  gromatic export --project street.gromatic --format coco --out street.json')
    .action((options: ExportOptions, command: Command) =>
      withServices(command, (context) => exportProject(context, options)),
    )

  program
    .command('call')
    .argument('<name>', 'a call of the application’s contract')
    .argument('[json]', 'its input', '{}')
    .option('--project <file>', 'the project to open first')
    .description('any call of the application, for scripts')
    .addHelpText(
      'after',
      `
Examples:
  gromatic call annotations.list '{"imageId":1}' --project p.gromatic
  gromatic call annotations.decide '{"ids":[7],"decision":"accept"}' --project p.gromatic
  gromatic call grounding.ask '{"imageId":1,"question":"What is here?"}' --project p.gromatic

Calls:
  ${Object.entries(api)
    .map(([name, { kind }]) => `${name} (${kind})`)
    .join('\n  ')}`,
    )
    .action((name: string, json: string, options: { project?: string }, command: Command) =>
      withServices(command, (context) => call(context, name, json, options.project)),
    )
}

/** Opens a project for a command; nothing else is started. */
export async function openProject({ services }: Context, file: string): Promise<void> {
  await services.client.call('project.open', { path: resolve(file) })
}

async function create(context: Context, file: string, images: string): Promise<void> {
  const { client } = context.services
  await client.call('project.create', { path: resolve(file), imagesDir: resolve(images) })
  const report = await scan(context)
  const project = await client.call('project.current', {})
  const skipped = report.skipped.length === 0 ? '' : `, ${report.skipped.length} skipped`
  context.print({ project, report }, `${project?.path}: ${project?.imageCount} images${skipped}`)
}

/** Reads the project's folder; files that are skipped are named on stderr with the reason. */
export async function scan({ services, progress, signal }: Context) {
  const report = await services.client.run('project.scan', {}, { onProgress: (at) => progress.show(at), signal })
  for (const { fileName, reason } of report.skipped) progress.note(`skipped ${fileName}: ${reason}`)
  return report
}

interface ExportOptions {
  project: string
  out: string
  format: 'coco'
  status: 'accepted' | 'all'
  copyImages?: boolean
  overwrite?: boolean
}

async function exportProject(context: Context, options: ExportOptions): Promise<void> {
  const { services, progress, signal } = context
  await openProject(context, options.project)
  const report = await services.client.run(
    'transfer.export',
    {
      format: options.format,
      path: resolve(options.out),
      status: options.status,
      copyImages: options.copyImages ?? false,
      overwrite: options.overwrite ?? (await isOwnExport(resolve(options.out))),
    },
    { onProgress: (at) => progress.show(at), signal },
  )
  for (const note of report.notes) progress.note(note)
  context.print(
    report,
    `${report.path}: ${report.images} images, ${report.annotations} regions, ${report.categories} classes`,
  )
}

async function call(context: Context, name: string, json: string, project: string | undefined): Promise<void> {
  const { services, progress, signal } = context
  if (!Object.hasOwn(api, name))
    throw new AppError('USAGE', `There is no call named "${name}". "gromatic call --help" lists them.`)
  let input: unknown
  try {
    input = JSON.parse(json)
  } catch (error) {
    throw new AppError('USAGE', `The input is not JSON: ${(error as Error).message}`)
  }
  if (project !== undefined) await openProject(context, project)
  const stop = services.client.on('engine.state', (state) => state.progress !== null && progress.show(state.progress))
  const onProgress = (value: unknown) => progress.show(asProgress(value))
  const value = await invoke(services.client, name as CallName, input, { onProgress, signal })
  stop()
  context.print(value, JSON.stringify(value, null, 2))
}

/** Any job's progress as a line. */
function asProgress(value: unknown): { done: number; total: number | null; note: string } {
  const { done, total, note, text, kind } = value as Record<string, unknown>
  return {
    done: typeof done === 'number' ? done : 0,
    total: typeof total === 'number' ? total : null,
    note: String(note || text || kind || ''),
  }
}
