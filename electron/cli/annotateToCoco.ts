/** `annotate --out`: images through the model and, in order, into the file; nothing is kept but the names of classes. */
import { resolve } from 'node:path'
import { AppError, toWireError } from '../contract/errors.ts'
import type { RunOptions } from '../engine/engineHost.ts'
import { answerContent, locatedContent } from '../services/answers.ts'
import { type BboxXywh, toPixels, unitScore } from '../services/boxes.ts'
import { categoryFromCaption } from '../services/categoryFromCaption.ts'
import { commonRoot, type FoundImage, imageFiles } from '../services/imageFiles.ts'
import { type CocoItem, isOwnExport, writeCoco } from '../services/transfer.ts'
import { type AnnotateOptions, DESCRIBE, isOfModel, isOfOneImage } from './annotateOptions.ts'
import { AnnotateEngines } from './annotateWorkers.ts'
import type { Context } from './context.ts'
import { inOrder } from './inOrder.ts'

interface Region {
  bboxXywh: BboxXywh
  score: number
  caption: string | null
}
type Image = Extract<FoundImage, { kind: 'image' }>

export async function annotateToCoco(
  context: Context,
  paths: string[],
  options: AnnotateOptions & { out: string },
): Promise<void> {
  const { progress, signal, print } = context
  const out = resolve(options.out)
  const overwrite = options.overwrite ?? (await isOwnExport(out))
  const root = await commonRoot(paths)
  const categories = new Set<string>()
  let done = 0
  const skipped: { fileName: string; reason: string }[] = []
  const skip = (fileName: string, reason: string) => {
    skipped.push({ fileName, reason })
    progress.note(`skipped ${fileName}: ${reason}`)
  }

  /** The first image that the model failed with: the reason, where no image is left. */
  let fault: AppError | null = null
  const engines = new AnnotateEngines(context, options)
  async function start(found: FoundImage): Promise<Region[]> {
    if (found.kind === 'skipped') return []
    await engines.ready()
    return regionsOf(context, found, options)
  }

  async function* items(): AsyncGenerator<CocoItem> {
    const files = imageFiles(paths, root, signal)
    for await (const { item: found, result } of inOrder(files, () => engines.ahead, start)) {
      if (signal.aborted) throw new AppError('CANCELLED', 'Stopped; nothing was written.')
      if (found.kind === 'skipped') {
        skip(found.fileName, found.reason)
        continue
      }
      progress.show({ done, total: null, note: `${done + 1}: ${found.fileName}` })
      const regions = await result.catch((error: unknown) => {
        const { code, message } = toWireError(error)
        if (!isOfOneImage(code, context.services.engine)) throw error
        if (isOfModel(code)) fault ??= new AppError(code, `${found.fileName}: ${message}`)
        skip(found.fileName, message)
        return null
      })
      if (regions === null) continue
      done++
      yield { image: found, annotations: regions.map((region) => withCategory(region, categories)) }
    }
    if (done === 0) {
      if (fault !== null) throw fault
      const why = skipped.length === 0 ? '' : ` (${skipped.length} file${skipped.length === 1 ? '' : 's'} skipped)`
      throw new AppError('NO_IMAGES', `There is no readable image in ${paths.join(', ')}${why}.`)
    }
  }

  // What goes wrong with the images is told as it is, not as a file that could not be written.
  let failure: unknown = null
  async function* watched(): AsyncGenerator<CocoItem> {
    try {
      yield* items()
    } catch (error) {
      failure = error
      throw error
    }
  }

  const report = await writeCoco(
    out,
    { name: 'Proposals of a Groma model', items: watched() },
    {
      status: 'all',
      overwrite,
      signal,
    },
  ).catch((error: unknown) => {
    throw failure ?? error
  })
  const left = skipped.length === 0 ? '' : `, ${skipped.length} file${skipped.length === 1 ? '' : 's'} skipped`
  print(
    { ...report, skipped },
    `${report.path}: ${report.images} images, ${report.annotations} regions, ${report.categories} classes${left}`,
  )
}

async function regionsOf({ services, signal }: Context, image: Image, options: AnnotateOptions): Promise<Region[]> {
  const { workers } = services
  const how: RunOptions = { signal, priority: 'background' } // tried once more after a crash
  const engineImage = { path: image.path, key: image.path }
  const minScore = options.minScore ?? 0
  const kept = (regions: Region[]) => regions.filter((region) => region.score >= minScore)
  switch (options.task) {
    case 'propose':
    case 'caption': {
      const brief = options.task === 'propose'
      const { regions } = await workers.run(
        { kind: 'propose', image: engineImage, captions: brief, ...threshold(options.minScore) },
        how,
      )
      const wanted = regions.filter(({ score }) => score >= minScore)
      const captions =
        brief || wanted.length === 0
          ? wanted.map(({ caption }) => caption)
          : (
              await workers.run(
                {
                  kind: 'caption',
                  image: engineImage,
                  boxesCxcywh: wanted.map(({ boxCxcywh }) => boxCxcywh),
                  detail: 'detailed',
                },
                how,
              )
            ).captions
      return wanted.flatMap(({ boxCxcywh, score }, i) => {
        const bboxXywh = toPixels(boxCxcywh, image)
        return bboxXywh === null ? [] : [{ bboxXywh, score: unitScore(score), caption: captions[i] || null }]
      })
    }
    case 'describe': {
      const answer = await workers.run(
        { kind: 'ask', image: engineImage, question: DESCRIBE, grounded: true, boxesCxcywh: [] },
        how,
      )
      return kept(answerContent(answer, image).spans.flatMap(regionsOfSpan))
    }
    case 'ground': {
      const found: Region[] = []
      for (const phrase of options.phrase ?? []) {
        const answer = await workers.run({ kind: 'locate', image: engineImage, phrase, all: true }, how)
        found.push(...locatedContent(answer, phrase, image).spans.flatMap(regionsOfSpan))
      }
      return kept(found)
    }
    default:
      return options.task satisfies never
  }
}

const threshold = (minScore: number | undefined) => (minScore === undefined ? {} : { scoreThreshold: minScore })

const regionsOfSpan = (span: { text: string; boxes: { bboxXywh: BboxXywh; score: number }[] }): Region[] =>
  span.boxes.map(({ bboxXywh, score }) => ({ bboxXywh, score, caption: span.text === '' ? null : span.text }))

function withCategory(region: Region, categories: Set<string>) {
  const { bboxXywh, score, caption } = region
  const categoryName = (caption === null ? null : categoryFromCaption(caption, [...categories])) ?? 'object'
  categories.add(categoryName)
  return {
    bboxXywh,
    caption,
    categoryName,
    status: 'proposed' as const,
    provenance: 'model' as const,
    modelScore: score,
  }
}
