/** `annotate --project`: proposals for every image that has none yet. Stopping loses nothing; the next run goes on from there. */
import { existsSync, statSync } from 'node:fs'
import { relative, resolve, sep } from 'node:path'
import type { Output } from '../contract/api.ts'
import { AppError, toWireError } from '../contract/errors.ts'
import { type AnnotateOptions, DESCRIBE, needModel, SKIPPED_CODES } from './annotateOptions.ts'
import type { Context } from './context.ts'
import { openProject, scan } from './projectCommands.ts'

type ImageSummary = Output<'images.get'>

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
  const wanted = images.filter(
    (image) => image.status === 'ready' && (options.task !== 'propose' || image.proposedAt === null),
  )
  const skipped = [...report.skipped]
  let regions = 0
  for (const [index, image] of wanted.entries()) {
    if (signal.aborted)
      throw new AppError(
        'CANCELLED',
        `Stopped after ${index} of ${wanted.length} images; the next run goes on from there.`,
      )
    await needModel(context, options.model)
    progress.show({ done: index, total: wanted.length, note: `${index + 1} of ${wanted.length}: ${image.fileName}` })
    try {
      regions += await annotateImage(context, image, options)
    } catch (error) {
      const { code, message } = toWireError(error)
      if (!SKIPPED_CODES.includes(code)) throw error
      skipped.push({ fileName: image.fileName, reason: message })
      progress.note(`skipped ${image.fileName}: ${message}`)
    }
  }
  const already = images.length - wanted.length
  const value = { project: project.path, images: wanted.length, already, regions, skipped }
  print(
    value,
    `${project.path}: ${regions} regions on ${wanted.length} images${already === 0 ? '' : `, ${already} were done before`}`,
  )
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

async function annotateImage(
  { services, signal }: Context,
  image: ImageSummary,
  options: AnnotateOptions,
): Promise<number> {
  const { client } = services
  const imageId = image.id
  const minScore = options.minScore
  switch (options.task) {
    case 'propose': {
      const input = { imageId, captions: true, ...(minScore === undefined ? {} : { minScore }) }
      return (await client.run('grounding.propose', input, { signal })).proposed
    }
    case 'caption': {
      if (image.proposedAt === null) {
        const input = { imageId, captions: false, ...(minScore === undefined ? {} : { minScore }) }
        await client.run('grounding.propose', input, { signal })
      }
      const rows = await client.call('annotations.list', { imageId })
      const annotationIds = rows.filter((row) => row.caption === null && row.status !== 'rejected').map(({ id }) => id)
      if (annotationIds.length > 0)
        await client.run('grounding.caption', { annotationIds, detail: 'detailed' }, { signal })
      return annotationIds.length
    }
    case 'describe': {
      const { answer } = await client.run('grounding.ask', { imageId, question: DESCRIBE }, { signal })
      const revision =
        answer.spans.length === 0 ? null : await client.call('grounding.addAnswer', { messageId: answer.id })
      return revision?.diff.annotations.length ?? 0
    }
    case 'ground': {
      let found = 0
      for (const phrase of options.phrase ?? []) {
        const { revision } = await client.run('grounding.locate', { imageId, phrase, all: true }, { signal })
        found += revision?.diff.annotations.length ?? 0
      }
      return found
    }
    default:
      return options.task satisfies never
  }
}
