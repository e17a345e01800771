/** `annotate --project`: what was asked, for every image that lacks it. Stopping loses nothing; the next run goes on from there. */
import { existsSync, statSync } from 'node:fs'
import { relative, resolve, sep } from 'node:path'
import type { Output } from '../contract/api.ts'
import { AppError, toWireError } from '../contract/errors.ts'
import { type AnnotateOptions, isOfOneImage } from './annotateOptions.ts'
import { taskOf } from './annotateStages.ts'
import { AnnotateEngines } from './annotateWorkers.ts'
import type { Context } from './context.ts'
import { openProject, scan } from './projectCommands.ts'

type ImageSummary = Output<'images.get'>

/** Images that go through all stages of a task before the next ones do: what the engines remember of them is still there. */
const BATCH = 16

export async function annotateProject(
  context: Context,
  paths: string[],
  options: AnnotateOptions & { project: string },
): Promise<void> {
  const { services, progress, signal, print } = context
  const { client } = services
  await openOrCreate(context, paths, options.project)
  const project = await client.call('project.current', {})
  if (project === null) throw new AppError('NO_PROJECT', 'No project is open.')
  if (project.readOnly) throw new AppError('READ_ONLY', project.warning ?? `${project.path} is open for reading only.`)
  const report = await scan(context)
  const images = (await allImages(context)).filter(within(paths, project.imagesDir))
  const { stages, isDone } = taskOf(context, options)
  const wanted: ImageSummary[] = []
  for (const image of images) if (image.status === 'ready' && !(await isDone(image))) wanted.push(image)
  const failed = new Map<number, string>()
  const engines = new AnnotateEngines(context, options)
  const batchSize = stages.length === 1 ? wanted.length : BATCH
  let regions = 0
  let done = 0
  for (let first = 0; first < wanted.length; first += batchSize) {
    const batch = wanted.slice(first, first + batchSize)
    for (const [place, stage] of stages.entries()) {
      let begun = 0
      for (const [index, image] of batch.entries()) {
        if (signal.aborted) throw stopped(done, wanted.length)
        if (failed.has(image.id)) continue
        await engines.ready()
        const note = `${first + index + 1} of ${wanted.length}: ${image.fileName}`
        progress.show({ done, total: wanted.length, note })
        try {
          for (begun = Math.max(begun, index); begun < Math.min(batch.length, index + 1 + engines.ahead); begun++) {
            // What goes wrong here is told when the image's turn comes.
            if (engines.ahead > 0 && !failed.has(batch[begun]!.id)) await stage.begin(batch[begun]!).catch(() => {})
          }
          regions += await stage.run(image)
        } catch (error) {
          const { code, message } = toWireError(error)
          if (code === 'CANCELLED' && signal.aborted) throw stopped(done, wanted.length)
          if (!isOfOneImage(code, services.engine)) throw error
          failed.set(image.id, message)
          progress.note(`skipped ${image.fileName}: ${message}`)
        }
        if (place === stages.length - 1) done++
      }
    }
  }
  const already = images.filter(({ status }) => status === 'ready').length - wanted.length
  const skipped = [
    ...report.skipped,
    ...wanted.flatMap(({ id, fileName }) => (failed.has(id) ? [{ fileName, reason: failed.get(id)! }] : [])),
  ]
  const value = { project: project.path, images: wanted.length, already, regions, skipped }
  print(
    value,
    `${project.path}: ${regions} regions on ${wanted.length} images${already === 0 ? '' : `, ${already} were done before`}`,
  )
}

function stopped(done: number, of: number): AppError {
  return new AppError('CANCELLED', `Stopped after ${done} of ${of} images; the next run goes on from there.`)
}

async function openOrCreate(context: Context, paths: string[], file: string): Promise<void> {
  const path = resolve(file)
  if (existsSync(path)) return openProject(context, path)
  const [folder, ...more] = paths
  if (folder === undefined || more.length > 0 || !existsSync(folder) || !statSync(folder).isDirectory()) {
    throw new AppError('NOT_FOUND', `There is no project ${path}; name one folder of images to make it.`)
  }
  await context.services.client.call('project.create', { path, imagesDir: resolve(folder) })
}

async function allImages({ services }: Context): Promise<ImageSummary[]> {
  const images: ImageSummary[] = []
  while (true) {
    const { total, items } = await services.client.call('images.list', { offset: images.length, limit: 5000 })
    images.push(...items)
    if (items.length === 0 || images.length >= total) return images
  }
}

/** Images that the paths mean; all of them when none is given. */
function within(paths: string[], imagesDir: string): (image: ImageSummary) => boolean {
  const places = paths.map((path) => relative(imagesDir, resolve(path)).split(sep).join('/'))
  return ({ fileName }) =>
    places.length === 0 ||
    places.some((place) => place === '' || fileName === place || fileName.startsWith(`${place}/`))
}
