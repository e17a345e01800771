/** `project create`, `call`: projects without a window. */
import { resolve } from 'node:path'
import type { Command } from 'commander'
import { api, type CallName } from '../contract/api.ts'
import { AppError } from '../contract/errors.ts'
import { invoke } from '../transport/serve.ts'
import { type Context, withServices } from './context.ts'
import { addExportCommand } from './exportCommand.ts'
import { openProject, scan } from './openProject.ts'

export { openProject, scan }

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

  addExportCommand(program)

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

async function create(context: Context, file: string, images: string): Promise<void> {
  const { client } = context.services
  await client.call('project.create', { path: resolve(file), imagesDir: resolve(images) })
  const report = await scan(context)
  const project = await client.call('project.current', {})
  const skipped = report.skipped.length === 0 ? '' : `, ${report.skipped.length} skipped`
  context.print({ project, report }, `${project?.path}: ${project?.imageCount} images${skipped}`)
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
