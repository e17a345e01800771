/** `import`: files of other programs into a project, all or nothing, with a report. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join, resolve } from 'node:path'
import { type Command, InvalidArgumentError, Option } from 'commander'

import { FormatName, type ImportPlan, type Input } from '../contract/api.ts'
import { AppError } from '../contract/errors.ts'
import { type Context, withServices } from './context.ts'
import { openProject, projectPath, scan } from './openProject.ts'

type Choice = { action: 'merge' | 'create' | 'skip'; into?: string }

interface ImportOptions {
  project: string
  format: FormatName | 'auto'
  images?: string
  copyImages?: boolean
  dryRun?: boolean
  skipBad?: boolean
  conflicts: 'ask' | 'add' | 'skip' | 'replace'
  missing: 'refuse' | 'skip' | 'add'
  match: 'auto' | 'name' | 'hash' | 'id'
  class?: Record<string, Choice>
  status?: 'accepted' | 'proposed'
  instances?: string
}

/** `car=vehicle` merges or renames, `car=` leaves the class out. */
function parseClass(text: string, previous: Record<string, Choice> = {}): Record<string, Choice> {
  const at = text.indexOf('=')
  if (at <= 0) throw new InvalidArgumentError('A class is OLD=NEW, or OLD= to leave it out.')
  const into = text.slice(at + 1).trim()
  const choice: Choice = into === '' ? { action: 'skip' } : { action: 'merge', into }
  return Object.fromEntries([...Object.entries(previous), [text.slice(0, at), choice]])
}

export function addImportCommand(program: Command): void {
  program
    .command('import')
    .argument('<path>', 'a file, a folder or a zip')
    .requiredOption('--project <file>', 'the project; made over --images when it is not there')
    .addOption(
      new Option('--format <name>', 'the format')
        .choices(['auto', ...FormatName.options])
        .default('auto', 'what it looks like'),
    )
    .option('--images <dir>', 'where its images lie: those that the project lacks are copied to its folder')
    .option('--copy-images', 'the images lie in the imported folder or zip itself')
    .option('--dry-run', 'say what would be done, and do nothing')
    .option('--skip-bad', 'leave bad rows out instead of refusing the file')
    .addOption(
      new Option(
        '--conflicts <what>',
        'images that have regions already: add beside, skip the image, replace earlier imports',
      )
        .choices(['ask', 'add', 'skip', 'replace'])
        .default('ask', 'refuse and say so'),
    )
    .addOption(
      new Option('--missing <what>', 'images that the project lacks: skip them, or add them as missing files')
        .choices(['refuse', 'skip', 'add'])
        .default('refuse'),
    )
    .addOption(
      new Option('--match <how>', 'how images are found').choices(['auto', 'name', 'hash', 'id']).default('auto'),
    )
    .option('--class <old=new>', 'another name for a class, OLD= leaves it out (repeatable)', parseClass)
    .option(
      '--instances <file>',
      'of COCO results: the COCO file they were made for, or "project" for this project’s own numbers',
    )
    .addOption(new Option('--status <which>', 'how regions come in').choices(['accepted', 'proposed']))
    .description('read annotations of other programs into a project, all or nothing')
    .addHelpText(
      'after',
      `
Examples:
  gromatic import instances_val.json --project street.gromatic --dry-run
  gromatic import instances_val.json --project street.gromatic --images ~/photos/street
  gromatic import roboflow.zip --project street.gromatic --copy-images --conflicts add
  gromatic import results.json --project street.gromatic --instances instances_val.json
  gromatic import labels.csv --project street.gromatic --class "automobile=car" --class "unknown="`,
    )
    .action((path: string, options: ImportOptions, command: Command) =>
      withServices(command, (context) => importInto(context, path, options)),
    )
}

/** What an import would do; a project that was made for this alone is gone afterwards. */
async function tryOut({ services, progress, signal }: Context, input: Input<'transfer.import'>, trial: string | null) {
  try {
    return await services.client.run('transfer.preview', input, { onProgress: (at) => progress.show(at), signal })
  } finally {
    if (trial !== null) {
      await services.client.call('project.close', {})
      rmSync(trial, { recursive: true, force: true })
    }
  }
}

/** Which options would let a refused import go ahead. */
function hint(
  { problems, images, conflicts }: ImportPlan,
  { skipBad, missing, conflicts: choice, copyImages }: ImportOptions,
): string {
  if (problems.count > 0 && !skipBad) return ' --skip-bad leaves bad rows out.'
  if (images.missing > 0 && missing === 'refuse' && !skipBad)
    return ` ${copyImages ? '' : '--images DIR or --copy-images brings them, '}--missing skip leaves them out, --missing add notes them as missing.`
  if (conflicts.images > 0 && choice === 'ask') return ' --conflicts add, skip or replace.'
  return ''
}

const numbersOf = (instances: string): string => (instances === 'project' ? instances : resolve(instances))

async function importInto(context: Context, path: string, options: ImportOptions): Promise<void> {
  const { services, progress, signal } = context
  const { client } = services
  const project = projectPath(options.project)
  const made = !existsSync(project)
  const trial = made && options.dryRun === true ? mkdtempSync(join(tmpdir(), 'gromatic-trial-')) : null
  if (made) {
    if (options.images === undefined)
      throw new AppError('NOT_FOUND', `There is no project ${project}. Give --images to make it over a folder.`)
    const at = trial === null ? project : join(trial, basename(project))
    await client.call('project.create', { path: at, imagesDir: resolve(options.images) })
    await scan(context)
  } else await openProject(context, project)

  const input: Input<'transfer.import'> = {
    path: resolve(path),
    format: options.format,
    match: options.match,
    missingImages: options.missing,
    conflicts: options.conflicts,
    categories: options.class ?? {},
    skipBad: options.skipBad ?? false,
    imagesDir: options.images === undefined || made ? null : resolve(options.images),
    copyImages: options.copyImages ?? false,
    ...(options.status === undefined ? {} : { status: options.status }),
    ...(options.instances === undefined ? {} : { instances: numbersOf(options.instances) }),
  }
  const run = { onProgress: (at: { done: number; total: number | null; note: string }) => progress.show(at), signal }
  const plan = options.dryRun === true ? await tryOut(context, input, trial) : null
  if (plan !== null) {
    tell(context, plan)
    const outcome =
      plan.refusal === null ? ' Nothing was written.' : `\nIt would be refused: ${plan.refusal}.${hint(plan, options)}`
    context.print({ plan, seq: null, copied: 0 }, `${summary(plan)}${outcome}`)
    return
  }
  const result = await client.run('transfer.import', input, run).catch(async (error: unknown) => {
    // a refusal comes with its rows
    if ((error as { code?: string }).code === 'INVALID_INPUT' && !signal.aborted) {
      await client.run('transfer.preview', input, { signal }).then(
        (refused) => {
          tell(context, refused)
          const advice = hint(refused, options)
          if (advice !== '') progress.note(advice.trim())
        },
        () => undefined,
      )
    }
    if (made) {
      // nothing was imported, so there is no project either
      await client.call('project.close', {})
      rmSync(project, { force: true })
    }
    throw error
  })
  tell(context, result.plan)
  const copied = result.copied === 0 ? '' : ` ${result.copied} images were copied.`
  context.print(result, `${summary(result.plan)}${copied}${result.seq === null ? ' There was nothing to add.' : ''}`)
}

/** Bad rows and oddities, on stderr. */
function tell({ progress }: Context, { problems, notes, conflicts }: ImportPlan): void {
  for (const { where, reason } of problems.first) progress.note(`${where}: ${reason}`)
  if (problems.count > problems.first.length) progress.note(`… and ${problems.count - problems.first.length} more.`)
  for (const note of notes) progress.note(note)
  if (conflicts.images > 0) {
    const have = conflicts.images === 1 ? '1 image has' : `${conflicts.images} images have`
    const more = conflicts.images > 5 ? ', …' : ''
    progress.note(
      `${have} regions already (${conflicts.humanAnnotations} by people; these stay): ${conflicts.examples.slice(0, 5).join(', ')}${more}`,
    )
  }
}

function summary({ format, images, annotations, messages, categories, problems }: ImportPlan): string {
  const parts = [
    `${annotations.toAdd} of ${annotations.inFile} regions`,
    `${images.matched + images.added + images.coming} of ${images.inFile} images`,
    ...(images.coming > 0 ? [`${images.coming} of them to be copied`] : []),
    `${categories.filter(({ action }) => action === 'create').length} new classes`,
    ...(messages.inFile > 0 ? [`${messages.toAdd} sentences`] : []),
    ...(annotations.alreadyThere > 0 ? [`${annotations.alreadyThere} there already`] : []),
    ...(annotations.leftOut > 0 ? [`${annotations.leftOut} left out`] : []),
    ...(annotations.toReplace > 0 ? [`${annotations.toReplace} replaced`] : []),
    ...(problems.count > 0 ? [`${problems.count} bad rows`] : []),
  ]
  return `${format}: ${parts.join(', ')}.`
}
